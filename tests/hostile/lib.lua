-- Helpers of the cases: containers that attack, the command line under test, and programs of the host.

local containers = require "tests.lib.containers"
local core = require "ctrexec.core"
local fixture = require "ctrexec.busted"
local tool = require "tests.lib.tool"

local lib = {}
local methods = {}
local class = { __index = methods }

-- The capabilities that docker gives a container by default.
lib.CAPABILITIES = { "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW",
  "CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL",
  "CAP_AUDIT_WRITE" }

--- The pid of a process of the host: a container that sees the host's /proc finds it there.
lib.PID = tostring(core.process.ids().pid)

-- Seconds: no machine takes longer for an event that is certain to come.
local PATIENCE = 120

--- How often a race is tried that the attacker mostly wins, but seldom on a busy machine.
lib.TRIES = 500

lib.read, lib.write, lib.quote, lib.exists = tool.read, tool.write, tool.quote, tool.exists

function lib.new(self)
  self.containers, self.pids = {}, {}
  return setmetatable(self, class)
end

--- How often to try an attack that depends on chance. With its protection off it is tried far more often, so that it
-- also works on a busy machine; the case stops when it has worked once.
function methods:tries(count)
  return self.without == "" and count or 20 * count
end

--- Ends the case: the attack cannot be made on this machine.
function methods.cannot(_, why)
  error({ cannot = why }, 0)
end

function methods:close()
  for _, pid in ipairs(self.pids) do lib.host("kill -9 %s 2>/dev/null", tostring(pid)) end
  for _, ct in ipairs(self.containers) do
    ct:run_runtime "resume"
    ct:remove()
  end
end

local function capabilities_of(more)
  local list = table.move(lib.CAPABILITIES, 1, #lib.CAPABILITIES, 1, {})
  return table.move(more or {}, 1, #(more or {}), #list + 1, list)
end

--- A container whose first process is the attack (`attack` MODE ARGUMENT..., "sleep" by default).
-- options: `attack`: array, `caps`: capabilities besides docker's, `config`, `rootfs`, `flags` as the fixture has them
function methods:container(options)
  options = options or {}
  local ct = fixture.container {
    args = options.attack and { "/attack", table.unpack(options.attack) } or nil,
    flags = options.flags,
    rootfs = function (rootfs, ct)
      assert(os.execute(("cp build-hostile/attack %s/attack"):format(rootfs)))
      if options.rootfs then options.rootfs(rootfs, ct) end
    end,
    config = function (config, ct)
      local list = capabilities_of(options.caps)
      config.process.noNewPrivileges = options.no_new_privs or false
      for _, set in ipairs { "bounding", "effective", "permitted" } do config.process.capabilities[set] = list end
      -- Limits, so that an attack out of control does not harm the machine.
      config.linux.resources = { pids = { limit = 64 }, memory = { limit = 256 << 20 } }
      if options.config then options.config(config, ct) end
    end,
  }
  self.containers[#self.containers + 1] = ct
  local state = require "cjson".decode(tool.read(ct.root .. "/" .. ct.id .. "/state.json")
    or tool.read(ct.root .. "/" .. ct.id .. "/status"))
  ct.pid = math.tointeger(state.init_process_pid or state.pid)
  ct.cgroup = containers.cgroup_name(ct)
  if options.attack then self:log(ct, "ready") end
  return ct
end

--- The output of the attack so far.
function methods.said(_, ct)
  return tool.read(ct.rootfs .. "/log") or ""
end

local function await(ask, what)
  return tool.eventually(ask, what, PATIENCE)
end
lib.await = await

--- Waits until the attack's output matches the pattern, and returns all of it.
function methods:log(ct, pattern)
  return await(function ()
    local said = self:said(ct)
    local why = said:match "cannot: ([^\n]*)"
    if why then self:cannot(why) end
    return said:find(pattern) and said
  end, pattern)
end

--- Runs another attack program in the container, in the background.
function methods.attack(_, ct, ...)
  return assert(ct:open():spawn { args = { "/attack", ... }, stdout = "null", stderr = "null", stdin = "null" })
end

--- The command line under test, as shell words; it is run in the top folder of the repository.
function methods:program(ct)
  return ("lua5.4 tests/hostile/command.lua %s %s --root %s"):format(self.build, tool.quote(self.without),
    tool.quote(ct.root))
end

--- Starts a mode of the attack program outside the container and waits until it is ready.
function methods:background(...)
  local folder = tool.folder()
  local out = folder .. "/output"
  local pid = tool.line(("build-hostile/attack %s >%s 2>&1 </dev/null & echo $!"):format(tool.quote_all { ... }, out))
  self.pids[#self.pids + 1] = math.tointeger(tonumber(pid))
  await(function () return (tool.read(out) or ""):find "ready" end, out)
  tool.remove(folder)
end

--- Runs the command line with a deadline. Returns its status (124: it did not come back), standard output and standard
-- error.
function methods:command(ct, words, options)
  local stdin = options and options.stdin and "<" .. options.stdin or ""
  local result = tool.run(("exec %s %s %s"):format(self:program(ct), tool.quote_all(words), stdin),
    { deadline = PATIENCE, may_hang = true })
  return result.code, result.stdout, result.stderr
end

--- Runs a command of the host.
function lib.host(format, ...)
  return os.execute(tool.text(format, ...))
end

--- Makes a device node outside the container. Where the file system allows none, the case cannot be made, and has not
-- failed.
function methods:device(path, kind, major, minor)
  if not lib.host("mknod -m 666 %s " .. ("%s %d %d"):format(kind, major, minor), path) then
    self:cannot "no device node can be made in the temporary folder"
  end
  local file = io.open(path, "r+")
  if not file then self:cannot "device nodes cannot be opened in the temporary folder" end
  file:close()
end

--- A container that has mounted a file system which takes every request and answers none.
function lib.silent(t, path)
  if not lib.exists "/dev/fuse" then t:cannot "no /dev/fuse" end
  return t:container {
    attack = { "silent-fs", path }, caps = { "CAP_SYS_ADMIN" },
    config = function (config)
      config.linux.devices = { { path = "/dev/fuse", type = "c", major = 10, minor = 229, fileMode = 438 } }
      config.linux.resources.devices = { { allow = true, access = "rwm" } }
    end,
  }
end

--- Runs shell text in the container's mount and process namespaces, with all privileges.
function lib.inside(ct, text)
  assert(lib.host("nsenter -t %s -m -p /bin/busybox sh -ec %s", tostring(ct.pid), text))
end

return lib
