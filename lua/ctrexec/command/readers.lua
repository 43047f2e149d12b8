--- Turns the texts of options into values, one function for each type of option.
-- @module ctrexec.command.readers
local readers = {}

-- The words that Go's strconv.ParseBool knows, and crun's "no".
local BOOL = {
  ["1"] = true, t = true, T = true, ["true"] = true, TRUE = true, True = true,
  ["0"] = false, f = false, F = false, ["false"] = false, FALSE = false, False = false, no = false,
}
local BASE = { x = 16, o = 8, b = 2 }
local UNIT = { [""] = 1, s = 1, m = 60, h = 3600, d = 86400 }
local MAX_DIGITS = 15 -- fewer than wrap a Lua integer round in any base

--- Reads the value of a switch.
-- @tparam string text
-- @treturn ?boolean nil for another word
function readers.bool(text)
  return BOOL[text]
end

--- Reads a whole number as Go's strconv.ParseInt does: to base 10 for a repeated option, else to the base that its
-- prefix names.
-- @tparam string text
-- @tparam table row of the option: `list`; `min`, the least value
-- @treturn[1] integer
-- @treturn[2] nil
-- @treturn[2] string "syntax" or "range"
function readers.int(text, row)
  local sign, digits = text:match "^([+-]?)(%w+)$"
  local base = 10
  if digits and not row.list and digits:find "^0%w" then
    local prefix = BASE[digits:sub(2, 2):lower()]
    base, digits = prefix or 8, digits:sub(prefix and 3 or 2)
  end
  local value = digits and tonumber(digits, base)
  if not value then return nil, "syntax" end
  if #digits:gsub("^0+", "") > MAX_DIGITS then return nil, "range" end
  if sign == "-" then value = -value end
  if row.min and value < row.min then return nil, "range" end
  return value
end

--- Reads a duration as timeout(1) does: 5, 1.5s, 2m, 1h, 1d.
-- @tparam string text
-- @treturn ?number seconds; nil for no duration
function readers.duration(text)
  local number, unit = text:match "^(%d*%.?%d*)([smhd]?)$"
  number = tonumber(number)
  return number and number * UNIT[unit]
end

--- Reads a number greater than 0.
-- @tparam string text
-- @treturn ?number nil for any other text
function readers.number(text)
  local value = text:find "^%d*%.?%d*$" and tonumber(text)
  return value and value > 0 and value or nil
end

return readers
