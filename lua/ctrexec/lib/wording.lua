--- The words of messages, where engines and people know them from runc: a program of Go.
--
-- Only a refusal loads this.
-- @module ctrexec.lib.wording
local wording = {}

local ESCAPES = { ["\a"] = "\\a", ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t",
  ["\v"] = "\\v", ['"'] = '\\"', ["\\"] = "\\\\" }

--- A text as %q of Go's fmt shows it, so that a name stays one word on one line whatever is in it.
-- @tparam string text
-- @treturn string with double quotes around it
function wording.quote(text)
  local pattern = utf8.len(text) and '[%c"\\]' or '[%c"\\\128-\255]'
  return '"' .. text:gsub(pattern, function(char)
    return ESCAPES[char] or ("\\x%02x"):format(char:byte())
  end) .. '"'
end

--- The system's reason in a core error message, in the spelling of Go's errno table.
-- @tparam string message "CALL: Reason", or only "Reason"
-- @treturn string "reason"
-- @see strerror(3)
function wording.reason(message)
  return ((message:match ".*: (.*)$" or message):gsub("^%u", string.lower))
end

--- A core error message with that reason.
-- @tparam string message "CALL: Reason"
-- @treturn string "CALL: reason"
function wording.reworded(message)
  return (message:match "^.*: " or "") .. wording.reason(message)
end

return wording
