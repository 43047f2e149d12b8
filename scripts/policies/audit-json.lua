-- Writes every event as one JSON line to a file. The audit sinks of config.lua do this better; use this as a model for
-- a trail in a format of your own.
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
    -- The buffer makes the line one write, so that lines of execs that run at the same time do not mix.
    file:setvbuf "full"
    assert(file:write(json(event), "\n"))
    assert(file:close())
  end,
}
