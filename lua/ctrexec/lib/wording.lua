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

-- How many letters must be changed, added, dropped or swapped with a neighbour to make b of a.
local function distance(a, b)
  local before, previous = {}, {}
  for j = 0, #b do previous[j] = j end
  for i = 1, #a do
    local current = { [0] = i }
    for j = 1, #b do
      local cost = a:byte(i) == b:byte(j) and 0 or 1
      local best = math.min(previous[j] + 1, current[j - 1] + 1, previous[j - 1] + cost)
      local swapped = i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j)
      current[j] = swapped and math.min(best, before[j - 2] + 1) or best
    end
    before, previous = previous, current
  end
  return previous[#b]
end

--- The name that was most likely meant.
-- @tparam string word as typed
-- @tparam {string,...} names
-- @treturn ?string the nearest name: one that starts with the word, or differs from it in at most two letters and a
-- third of its length; nil when none does
function wording.nearest(word, names)
  local nearest, least = nil, math.min(2, (#word + 1) // 3) + 1
  for _, name in ipairs(names) do
    local changes = distance(word, name)
    if #word > 1 and name:sub(1, #word) == word then changes = 0.5 end
    if changes < least then nearest, least = name, changes end
  end
  return nearest
end

return wording
