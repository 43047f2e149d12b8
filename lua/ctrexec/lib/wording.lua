--- Words messages as runc does, which is written in Go: engines and people know its messages.
--
-- Only an exec that is refused loads this module.
-- @module ctrexec.lib.wording
local wording = {}

local ESCAPES = { ["\a"] = "\\a", ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t",
  ["\v"] = "\\v", ['"'] = '\\"', ["\\"] = "\\\\" }

-- The code points above ASCII that Go's strconv.IsPrint refuses, except unassigned ones: controls, blanks, format
-- characters (such as those that turn the direction of writing), private use.
local UNPRINTABLE = {
  { 0x80, 0xA0 }, { 0xAD, 0xAD }, { 0x600, 0x605 }, { 0x61C, 0x61C }, { 0x6DD, 0x6DD }, { 0x70F, 0x70F },
  { 0x1680, 0x1680 }, { 0x180E, 0x180E }, { 0x2000, 0x200F }, { 0x2028, 0x202F }, { 0x205F, 0x206F },
  { 0x3000, 0x3000 }, { 0xE000, 0xF8FF }, { 0xFEFF, 0xFEFF }, { 0xFFF9, 0xFFFB }, { 0xE0000, 0x10FFFF },
}

local function escape_byte(byte) return ESCAPES[byte] or ("\\x%02x"):format(byte:byte()) end

local function escape_rune(rune)
  local code = utf8.codepoint(rune)
  for _, range in ipairs(UNPRINTABLE) do
    if code >= range[1] and code <= range[2] then return (code > 0xFFFF and "\\U%08x" or "\\u%04x"):format(code) end
  end
end

local function escape_run(run)
  return (run:gsub('[%c"\\]', escape_byte):gsub("[\xC2-\xF4][\x80-\xBF]+", escape_rune))
end

--- Rewrites a text in which some bytes may not be valid UTF-8, as Go reads bytes.
-- @tparam string text
-- @tparam function valid returns the replacement of a run of valid UTF-8
-- @tparam function invalid returns the replacement of a byte between such runs
-- @treturn string
function wording.map_utf8(text, valid, invalid)
  local parts, position = {}, 1
  while position <= #text do
    local _, wrong = utf8.len(text, position)
    parts[#parts + 1] = valid(text:sub(position, (wrong or 0) - 1))
    if not wrong then break end
    parts[#parts + 1] = invalid(text:sub(wrong, wrong))
    position = wrong + 1
  end
  return table.concat(parts)
end

--- A text as %q of Go's fmt shows it, without the quotes around it: it stays on one line and cannot control a terminal.
-- @tparam string text
-- @treturn string
function wording.escape(text)
  return wording.map_utf8(text, escape_run, escape_byte)
end

--- A text as %q of Go's fmt shows it, so that a name stays one word on one line whatever is in it.
-- @tparam string text
-- @treturn string with double quotes around it
function wording.quote(text)
  return '"' .. wording.escape(text) .. '"'
end

--- The system's reason in a core error message, in the spelling of Go's errno table.
-- @tparam string message "CALL: Reason", or only "Reason"
-- @treturn string "reason"
-- @see strerror(3)
function wording.reason(message)
  return ((message:match ".*: (.*)$" or message):gsub("^%u", string.lower))
end

--- A core error message with the system's reason in the spelling of Go's errno table.
-- @tparam string message "CALL: Reason"
-- @treturn string "CALL: reason"
function wording.reworded(message)
  return (message:match "^.*: " or "") .. wording.reason(message)
end

-- How many letters must be changed, added, dropped or swapped with a neighbour to turn a into b.
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
