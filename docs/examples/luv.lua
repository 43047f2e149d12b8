-- Commands under the event loop of luv (Debian: lua-luv): lua5.4 luv.lua CONTAINER [ROOT]
local uv = require "luv"
local core = require "ctrexec.core"
local ctrexec = require "ctrexec"

local web = assert(ctrexec.open(arg[1], { root = arg[2] }))

-- Calls `act` each time that the descriptor can be read, until it returns false.
local function watch(fd, act)
  local poll = uv.new_poll(fd)
  poll:start("r", function(problem)
    assert(not problem, problem)
    if act() == false then poll:close() end
  end)
end

-- Calls `done(status, output)` when the command has ended.
local function run(spec, done)
  spec.stdout = "pipe"
  local process = assert(web:spawn(spec))
  local output = {}
  local function ended()
    done(process:wait(), table.concat(output))
    process:close()
    return false
  end
  watch(process.stdout:fd(), function()
    output[#output + 1] = assert(core.fd.read(process.stdout, 65536))
    if output[#output] ~= "" then return true end
    watch(process:fd(), ended)
    return false
  end)
end

for _, seconds in ipairs { "0.3", "0.1", "0.2" } do
  run({ "sh", "-c", ("sleep %s; echo slept %s"):format(seconds, seconds) }, function(status, output)
    print(status.code, (output:gsub("\n$", "")))
  end)
end

uv.run()
web:close()
