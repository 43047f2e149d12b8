--- The containers that the comparison runs in: each is made at its first use and removed by `variants.remove_all`.
-- Each has /report (tests/helpers/report.c), and files that cannot be executed, for the failures of an exec.

local containers = require "tests.lib.containers"
local lfs = require "lfs"
local tool = require "tests.lib.tool"

local variants = {}

local CAPABILITIES = { "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SETGID",
  "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT" }

local function namespaces_without(config, ...)
  local dropped, kept = {}, {}
  for _, kind in ipairs { ... } do
    dropped[kind] = true
  end
  for _, namespace in ipairs(config.linux.namespaces) do
    if not dropped[namespace.type] then
      kept[#kept + 1] = namespace
    end
  end
  config.linux.namespaces = kept
end

--- Takes the options out of the mounts that give files to group 5, for containers in which that group is not mapped.
function variants.drop_terminal_group(config)
  for _, mount in ipairs(config.mounts) do
    for index = #(mount.options or {}), 1, -1 do
      if mount.options[index] == "gid=5" then
        table.remove(mount.options, index)
      end
    end
  end
end

local function set_capabilities(config, sets)
  for _, set in ipairs(sets) do
    config.process.capabilities[set] = CAPABILITIES
  end
end

-- A profile with errno values, an argument rule, an architecture list and a call that no kernel has. /report prints
-- which calls it refuses.
local function seccomp()
  return {
    defaultAction = "SCMP_ACT_ALLOW",
    architectures = { "SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM" },
    syscalls = {
      { names = { "keyctl", "add_key", "request_key" }, action = "SCMP_ACT_ERRNO", errnoRet = 38 },
      { names = { "ioprio_get" }, action = "SCMP_ACT_ERRNO" },
      { names = { "sched_getattr", "no_such_call" }, action = "SCMP_ACT_ERRNO", errnoRet = 95 },
      { names = { "personality" }, action = "SCMP_ACT_ERRNO",
        args = { { index = 0, value = 8, op = "SCMP_CMP_EQ" } } },
    },
  }
end

-- Runs shell text in the container's cgroup of version 2; %s in it is the pid of the init.
local function in_cgroup(ct, text)
  tool.sh("cd %s && " .. text:format(ct.init), ct.cgroup)
end

-- What each adds to the fixture's container: config (before the start), flags of `run`, created, after (the start),
-- world (makes one of tests/lib/world.lua: who starts it, and execs into it).
local definitions = {
  plain = {},

  seccomp = {
    config = function (config)
      config.linux.seccomp = seccomp()
    end,
  },

  -- With no_new_privs a filter may be loaded last; without, before the capabilities are dropped.
  seccomp_nnp = {
    config = function (config)
      config.linux.seccomp = seccomp()
      config.process.noNewPrivileges = true
    end,
  },

  userns = {
    config = function (config, ct)
      table.insert(config.linux.namespaces, { type = "user" })
      config.linux.uidMappings = { { containerID = 0, hostID = 100000, size = 65536 } }
      config.linux.gidMappings = { { containerID = 0, hostID = 200000, size = 65536 } }
      tool.sh("chown -R -h 100000:200000 %s", ct.rootfs)
      set_capabilities(config, { "bounding", "effective", "permitted" })
    end,
  },

  cgroupns = {
    config = function (config)
      namespaces_without(config, "cgroup")
      table.insert(config.linux.namespaces, { type = "cgroup" })
    end,
  },

  host_pid = {
    config = function (config)
      namespaces_without(config, "pid")
    end,
  },

  host_net = {
    config = function (config)
      namespaces_without(config, "network", "ipc", "uts")
      config.hostname = nil
    end,
  },

  readonly = {
    config = function (config)
      config.root.readonly = true
    end,
  },

  no_new_privs = {
    config = function (config)
      config.process.noNewPrivileges = true
    end,
  },

  user = {
    config = function (config)
      config.process.user = { uid = 1000, gid = 1001, additionalGids = { 4, 7 }, umask = 23 }
      config.process.cwd = "/work"
      config.process.env = { "PATH=/bin", "A=1", "B=2", "A=3", "EMPTY=" }
    end,
  },

  oom = {
    config = function (config)
      config.process.oomScoreAdj = 500
    end,
  },

  rlimits = {
    config = function (config)
      config.process.rlimits = {
        { type = "RLIMIT_CORE", soft = 0, hard = 1024 },
        { type = "RLIMIT_NPROC", soft = 500, hard = 600 },
        { type = "RLIMIT_STACK", soft = 4194304, hard = 8388608 },
      }
    end,
  },

  ambient = {
    config = function (config)
      set_capabilities(config, { "bounding", "effective", "permitted", "inheritable", "ambient" })
      config.process.user = { uid = 1000, gid = 1000 }
    end,
  },

  no_capabilities = {
    config = function (config)
      config.process.capabilities = nil
    end,
  },

  keyring = { flags = { "--no-new-keyring" } },

  personality = {
    config = function (config)
      config.linux.personality = { domain = "LINUX32" }
    end,
  },

  created = { created = true },

  paused = {
    after = function (ct)
      assert(ct:run_runtime "pause")
    end,
  },

  stopped = {
    after = function (ct)
      assert(ct:run_runtime("kill", "KILL"))
      tool.eventually(function ()
        local stat = tool.read("/proc/" .. ct.init .. "/stat")
        return not stat or stat:match "^.*%) (%a)" == "Z"
      end, "the end of the stopped container's init")
    end,
  },

  -- A container with cgroups below its own, for --cgroup.
  cgroups = {
    after = function (ct)
      local wildcard = tool.view() == "v2" and "/sys/fs/cgroup/" or "/sys/fs/cgroup/*/"
      local name = containers.cgroup_name(ct)
      tool.sh(("for d in %s%s; do mkdir \"$d/sub\" \"$d/sub/deep\" || exit; done"):format(wildcard, name))
      -- A new v1 cpuset has no processor until it is given some.
      os.execute(("cd /sys/fs/cgroup/cpuset/%s 2>/dev/null && for d in sub sub/deep; do " ..
        "cat cpuset.cpus >$d/cpuset.cpus; cat cpuset.mems >$d/cpuset.mems; done"):format(name))
    end,
  },

  -- Version 2: the init has moved to another cgroup, and the container's own is removed.
  moved = {
    config = function (config)
      config.linux.cgroupsPath = config.linux.cgroupsPath .. "/own"
    end,
    after = function (ct)
      in_cgroup(ct, "mkdir other && echo %s >other/cgroup.procs && rmdir own")
    end,
  },

  -- Version 2: its init has moved to a cgroup below its own, which has domain controllers on and so takes no process.
  busy = {
    config = function (config)
      config.linux.cgroupsPath = config.linux.cgroupsPath .. "/own"
    end,
    after = function (ct)
      in_cgroup(ct, "mkdir own/init && echo %s >own/init/cgroup.procs && " ..
        "read first rest <../cgroup.controllers && echo +$first >../cgroup.subtree_control && " ..
        "echo +$first >cgroup.subtree_control && echo +$first >own/cgroup.subtree_control")
    end,
  },
}

local report = tool.build .. "/tests/report"
local scratch
local running, worlds = {}, {}

-- Adds the files whose execution fails.
local function add_programs(rootfs)
  local function add(path, data, mode)
    tool.write(rootfs .. path, data, mode)
  end
  tool.sh("cp %s %s", report, rootfs .. "/report")
  assert(lfs.link("../report", rootfs .. "/bin/report", true))
  add("/noexec", "", "0644")
  add("/bin/noexecprog", "", "0644")
  add("/badinterpreter", "#!/no/such/interpreter\n", "0755")
  add("/noshebang", "echo no interpreter line\n", "0755")
  add("/empty", "", "0755")
  add("/script", "#!/bin/sh\necho script \"$@\"\nexit 3\n", "0755")
  add("/owneronly", "#!/bin/sh\necho ran\n", "0700")
  assert(lfs.mkdir(rootfs .. "/directory"))
  assert(lfs.mkdir(rootfs .. "/bin/directoryprog"))
  assert(lfs.mkdir(rootfs .. "/rootonly"))
  add("/rootonly/true", "#!/bin/true\n", "0755")
  tool.sh("chmod 0700 %s", rootfs .. "/rootonly")
  assert(lfs.link("loop", rootfs .. "/loop", true))
  assert(lfs.link("/bin", rootfs .. "/linktobin", true))
end

local function cgroup_directory(ct)
  local base = tool.view() == "v2" and "/sys/fs/cgroup/" or "/sys/fs/cgroup/unified/"
  return base .. containers.cgroup_name(ct)
end

--- Why containers of that runtime cannot be compared here, or nil.
function variants.missing(runtime)
  if not lfs.attributes(report) then
    return report .. " is not built: make test-helpers"
  end
  return containers.missing(runtime)
end

--- An empty directory for a run.
function variants.directory(name)
  scratch = scratch or tool.folder()
  local path = scratch .. "/" .. name
  tool.remove(path)
  assert(lfs.mkdir(path))
  return path
end

--- Adds a variant.
function variants.define(name, definition)
  definitions[name] = definition
end

--- The container of that variant and runtime.
function variants.get(name, runtime)
  local key = runtime .. " " .. name
  if running[key] then
    return running[key]
  end
  local definition = assert(definitions[name], "no such variant: " .. name)
  local world = definition.world and definition.world()
  worlds[#worlds + 1] = world
  local ct = containers.new {
    runtime = world and world:runtime(runtime) or runtime, flags = definition.flags, created = definition.created,
    rootfs = function (rootfs, ct)
      add_programs(rootfs)
      if world then
        world:own(ct.dir)
      end
    end,
    config = function (config, ct)
      config.process.noNewPrivileges = false
      if definition.config then
        definition.config(config, ct)
      end
    end,
  }
  running[key] = ct
  ct.world = world
  ct.init, ct.cgroup = tostring(ct.pid), cgroup_directory(ct)
  if definition.after then
    definition.after(ct)
  end
  return ct
end

--- Runs ctrexec as the rows of the comparison do.
-- @tparam string words its arguments, as shell words
-- @tparam[opt] table options `program`: shell words in its place; `before`: shell words in front of it; `directory`:
-- where it runs
-- @treturn integer exit status
-- @treturn string standard output
-- @treturn string standard error; only the message where an exec failed with a single error line
function variants.run(words, options)
  options = options or {}
  local result = tool.run(("exec %s \"$@\" %s"):format(options.before or "", words), { clean = true,
    directory = options.directory or variants.directory "run", words = options.program or tool.ctrexec() })
  return result.code, result.stdout,
    result.stderr:match '^time="[^"\n]*" level=error msg="exec failed: ([^\n]*)"\n$' or result.stderr
end

--- The same for an exec into a container of `variants.get`; `words` begin behind "exec".
-- @tparam table ct
-- @tparam string words
-- @tparam[opt] table options of `variants.run`; `root`: another than the container's
function variants.exec(ct, words, options)
  local root = options and options.root or ct.root
  return variants.run(("--root %s exec %s"):format(tool.quote(root), words), options)
end

function variants.remove_all()
  for key, ct in pairs(running) do
    ct:run_runtime "resume"
    assert(ct:remove())
    running[key] = nil
  end
  while #worlds > 0 do
    table.remove(worlds):close()
  end
  if scratch then
    tool.remove(scratch)
    scratch = nil
  end
end

return variants
