--- What the specs of the bindings share: child processes, directories, and a count of open descriptors.
local core = require "ctrexec.core"

local support = {}

-- No test waits longer for a thing that must happen; no child outlives its test by more.
local DEADLINE = 20
support.sleep = "sleep " .. DEADLINE

support.errno = core.errno

function support.quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

--- Output of a shell command, which must succeed.
function support.output(command)
  local handle = assert(io.popen(command, "r"))
  local output = handle:read "a"
  assert(handle:close(), command)
  return output
end

--- Calls `condition` until it gives a true value and returns that; an error when it does not in time.
function support.eventually(condition)
  local deadline = core.clock.now() + DEADLINE
  repeat
    local value = condition()
    if value then
      return value
    end
    core.poll.wait({}, 5)
  until core.clock.now() > deadline
  error("this never came true", 2)
end

--- Runs `command` as our child, which keeps running as its last program: { pid, pidfd, and stdout as a Lua file }.
function support.child(command)
  local handle = assert(io.popen("echo $$; " .. command, "r"))
  local pid = math.tointeger(tonumber(handle:read "l"))
  return { pid = pid, pidfd = assert(core.pidfd.open(pid)), stdout = handle }
end

--- A child that sleeps until it is ended. `prefix` is a command that runs sleep in its place, as unshare does.
function support.sleeper(prefix)
  local child = support.child("exec " .. (prefix or "") .. " " .. support.sleep)
  support.eventually(function ()
    return core.process.stat(child.pid).comm == "sleep"
  end)
  return child
end

--- Ends and reaps a child.
function support.finish(child)
  core.pidfd.send_signal(child.pidfd, core.signal.numbers.KILL)
  core.pidfd.wait(child.pidfd)
  child.pidfd:close()
  child.stdout:close()
end

--- A new directory and a function that removes it with all in it.
function support.directory()
  local path = support.output("mktemp -d"):gsub("\n$", "")
  return path, function ()
    support.output("rm -rf " .. support.quote(path))
  end
end

--- How many descriptors this process has open.
function support.open_descriptors()
  collectgarbage()
  collectgarbage()
  return #core.file.list "/proc/self/fd"
end

-- A new interpreter must find the same module, from any directory.
local function environment()
  local cpath = package.cpath:gsub("%f[^\0;]%./", support.output("pwd"):gsub("\n", "") .. "/")
  return "export LUA_CPATH=" .. support.quote(cpath)
end

--- The shell command that runs a Lua program through the command `prefix`.
function support.lua_command(prefix, program)
  return ("%s; %s lua5.4 -e %s"):format(environment(), prefix, support.quote(program))
end

--- Output of a Lua program in a process of its own, started through the shell command `prefix`.
function support.lua(prefix, program)
  return support.output(support.lua_command(prefix, program))
end

--- The same in a mount namespace of its own, after the shell commands `setup`; nil, reason where none can be made.
function support.lua_in_mounts(setup, program)
  if not os.execute "unshare --mount true 2>/dev/null" then
    return nil, "no mount namespace can be made here (needs root)"
  end
  local script = ("set -e\n%s\nexec lua5.4 -e %s"):format(setup, support.quote(program))
  return support.output(("%s; unshare --mount --propagation private sh -c %s"):format(environment(),
    support.quote(script)))
end

return support
