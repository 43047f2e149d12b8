-- Every event as one JSON line in a file of its own. The audit sinks of config.lua do this better; this is the pattern
-- for a trail of your own shape.
local PATH = "/var/log/ctrexec-exec.jsonl"

local function quote(text)
  return '"' .. text:gsub('[%c"\\\127]', function(char) return ("\\u%04x"):format(char:byte()) end) .. '"'
end

local function json(value)
  if type(value) == "string" then return quote(value) end
  if type(value) ~= "table" then return tostring(value) end
  local parts = {}
  if #value > 0 then
    for index, item in ipairs(value) do parts[index] = json(item) end
    return "[" .. table.concat(parts, ",") .. "]"
  end
  for name, item in pairs(value) do parts[#parts + 1] = quote(name) .. ":" .. json(item) end
  table.sort(parts)
  return "{" .. table.concat(parts, ",") .. "}"
end

return {
  name = "audit-json",
  audit = function(event)
    local file = assert(io.open(PATH, "a"))
    -- One write: the lines of execs that run at the same time stay whole.
    file:setvbuf "full"
    assert(file:write(json(event), "\n"))
    assert(file:close())
  end,
}
