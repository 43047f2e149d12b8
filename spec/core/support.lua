--- Helpers of the specs of the bindings: child processes, new interpreters, and a count of open descriptors.
local core = require "ctrexec.core"
local tool = require "tests.lib.tool"

local support = {}

-- The longest life of a child whose test does not end it.
support.sleep = "sleep " .. tool.DEADLINE

support.errno = core.errno

--- Runs `command` as a child of this process: { pid, pidfd, and stdout as a Lua file }. The shell becomes its last
-- program.
function support.child(command)
  local handle = assert(io.popen("echo $$; " .. command, "r"))
  local pid = math.tointeger(tonumber(handle:read "l"))
  return { pid = pid, pidfd = assert(core.pidfd.open(pid)), stdout = handle }
end

--- A child that sleeps until it is ended. `prefix` is a command that executes sleep, as unshare(1) does.
function support.sleeper(prefix)
  local child = support.child("exec " .. (prefix or "") .. " " .. support.sleep)
  tool.eventually(function ()
    return core.process.stat(child.pid).comm == "sleep"
  end)
  return child
end

--- The two functions above for tests with one child each, which ends with its test.
-- @tparam table env the spec file's `_ENV`
-- @treturn func child(command)
-- @treturn func sleeper(prefix)
function support.children_of_test(env)
  local function ended_with_test(child)
    env.finally(function () support.finish(child) end)
    return child
  end
  return function (command) return ended_with_test(support.child(command)) end,
    function (prefix) return ended_with_test(support.sleeper(prefix)) end
end

--- Ends and reaps a child.
function support.finish(child)
  core.pidfd.send_signal(child.pidfd, core.signal.numbers.KILL)
  core.pidfd.wait(child.pidfd)
  child.pidfd:close()
  child.stdout:close()
end

--- How many descriptors this process has open.
function support.open_descriptors()
  collectgarbage()
  collectgarbage()
  return #core.file.list "/proc/self/fd"
end

--- How many descriptors a function leaves open, with those that the collector would close in the end.
function support.left_open(action)
  local before <const> = support.open_descriptors()
  collectgarbage "stop"
  local ok, problem = pcall(action)
  local count = #core.file.list "/proc/self/fd" - before
  collectgarbage "restart"
  if not ok then error(problem, 0) end
  return count
end

--- The shell command that runs a Lua program through the command `prefix`.
function support.lua_command(prefix, program)
  return ("export %s; %s lua5.4 -e %s"):format(tool.lua_paths(), prefix, tool.quote(program))
end

--- Output of a Lua program in a process of its own, started through the shell command `prefix`.
function support.lua(prefix, program)
  return tool.output(support.lua_command(prefix, program))
end

--- As the function above, in a new mount namespace and after the shell commands `setup`; nil and a reason where no such
-- namespace can be made.
function support.lua_in_mounts(setup, program)
  if not os.execute "unshare --mount true 2>/dev/null" then
    return nil, "no mount namespace can be made here (needs root)"
  end
  local script = ("set -e\n%s\nexec lua5.4 -e %s"):format(setup, tool.quote(program))
  return tool.output(("export %s; unshare --mount --propagation private sh -c %s"):format(tool.lua_paths(),
    tool.quote(script)))
end

return support
