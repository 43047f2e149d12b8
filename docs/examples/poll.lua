-- Commands without an event loop of somebody else's, by poll(2): lua5.4 poll.lua CONTAINER [ROOT]
local core = require "ctrexec.core"
local ctrexec = require "ctrexec"

local web = assert(ctrexec.open(arg[1], { root = arg[2] }))

local running = {}
for _, seconds in ipairs { "0.3", "0.1", "0.2" } do
  running[#running + 1] = assert(web:spawn { "sh", "-c", ("sleep %s; exit 0"):format(seconds) })
end

while #running > 0 do
  local entries = {}
  for index, process in ipairs(running) do entries[index] = { fd = process:fd(), read = true } end
  local events = assert(core.poll.wait(entries))
  for index = #running, 1, -1 do
    if events[index].read then
      local process = table.remove(running, index)
      print(process:wait().code)
      process:close()
    end
  end
end
web:close()
