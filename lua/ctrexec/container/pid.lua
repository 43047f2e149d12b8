--- A container without state: any process, as /proc shows it.
-- @module ctrexec.container.pid
-- @see proc(5)
local pid = {}

local core = require "ctrexec.core"
local cgroups = require "ctrexec.container.cgroups"
local kernel = require "ctrexec.lib.kernel"

local PROC_LIMIT = 1 << 20
-- What a process sees instead of an id that its user namespace does not map: user_namespaces(7).
local OVERFLOW_ID = 65534
local DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

local NAMESPACES = { mnt = "mount", net = "network" }
-- The limits by their titles in /proc/PID/limits.
local LIMITS = {
  ["Max cpu time"] = "RLIMIT_CPU", ["Max file size"] = "RLIMIT_FSIZE", ["Max data size"] = "RLIMIT_DATA",
  ["Max stack size"] = "RLIMIT_STACK", ["Max core file size"] = "RLIMIT_CORE", ["Max resident set"] = "RLIMIT_RSS",
  ["Max processes"] = "RLIMIT_NPROC", ["Max open files"] = "RLIMIT_NOFILE", ["Max locked memory"] = "RLIMIT_MEMLOCK",
  ["Max address space"] = "RLIMIT_AS", ["Max file locks"] = "RLIMIT_LOCKS",
  ["Max pending signals"] = "RLIMIT_SIGPENDING", ["Max msgqueue size"] = "RLIMIT_MSGQUEUE",
  ["Max nice priority"] = "RLIMIT_NICE", ["Max realtime priority"] = "RLIMIT_RTPRIO",
  ["Max realtime timeout"] = "RLIMIT_RTTIME",
}

-- The text of a file of /proc/PID; "" where an older kernel does not have it, or ctrexec has no right to read it.
local function contents(number, name)
  local fd <close> = core.file.open(("/proc/%d/%s"):format(number, name))
  return fd and core.file.read_all(fd, PROC_LIMIT) or ""
end

local function status_fields(text)
  local fields = {}
  for name, value in text:gmatch "([^:\n]+):[ \t]*([^\n]*)" do fields[name] = value end
  return fields
end

local function integers(text)
  local list = {}
  for digits in text:gmatch "%d+" do list[#list + 1] = math.tointeger(tonumber(digits)) end
  return list
end

--- The mappings of a user namespace, from the text of uid_map or gid_map.
-- @tparam string text
-- @treturn {table,...} OCI mappings
-- @see user_namespaces(7)
function pid.mappings(text)
  local numbers, mappings = integers(text), {}
  for index = 1, #numbers - 2, 3 do
    mappings[#mappings + 1] = { containerID = numbers[index], hostID = numbers[index + 1], size = numbers[index + 2] }
  end
  return mappings
end

--- An id as the process itself sees it; nil for one that is not mapped.
-- @tparam integer id as ctrexec sees it
-- @tparam {table,...} mappings
-- @treturn ?integer
function pid.inside(id, mappings)
  for _, mapping in ipairs(mappings) do
    local offset = id - mapping.hostID
    if offset >= 0 and offset < mapping.size then return mapping.containerID + offset end
  end
end

--- The limits of a process as OCI rlimits, from the text of limits.
-- @tparam string text
-- @treturn {table,...}
-- @see getrlimit(2)
function pid.rlimits(text)
  local function value(word)
    return word == "unlimited" and kernel.RLIM_INFINITY or math.tointeger(tonumber(word))
  end
  local limits = {}
  for line in text:gmatch "[^\n]+" do
    local name, soft, hard = line:match "^(Max [%a ]-)  +(%w+) +(%w+)"
    if LIMITS[name] then limits[#limits + 1] = { type = LIMITS[name], soft = value(soft), hard = value(hard) } end
  end
  return limits
end

local function capabilities(number)
  local masks, sets = core.capability.of(number), {}
  if not masks then return nil end
  for _, set in ipairs(kernel.capability_sets) do
    sets[set] = core.capability.names(masks[set])
  end
  return sets
end

local function user_of(fields, uids, gids)
  local user = {
    uid = pid.inside(integers(fields.Uid)[2], uids) or OVERFLOW_ID,
    gid = pid.inside(integers(fields.Gid)[2], gids) or OVERFLOW_ID,
    additionalGids = {},
  }
  for _, gid in ipairs(integers(fields.Groups)) do
    user.additionalGids[#user.additionalGids + 1] = pid.inside(gid, gids)
  end
  return user
end

local function namespaces(number)
  local _, differing = core.namespace.differing(number)
  local list = {}
  for name in pairs(type(differing) == "table" and differing or {}) do
    list[#list + 1] = { type = NAMESPACES[name] or name }
  end
  table.sort(list, function(a, b) return a.type < b.type end)
  return list
end

--- The root directory of a process. After chroot(2) it is not the root of the mount namespace.
-- @tparam integer number the pid
-- @tparam boolean foreign whether its mount namespace differs from the caller's
-- @treturn[1] ?fd nil where it is the caller's own root
-- @treturn[2] nil
-- @treturn[2] string message
function pid.root(number, foreign)
  local path = ("/proc/%d/root"):format(number)
  if not foreign and core.file.realpath(path) == "/" then return nil end
  local root, message = core.file.open(path, { path = true, directory = true })
  return root, message
end

--- Reads what /proc says of a process. The caller holds its pidfd and asks afterwards whether it still lives.
--
-- The seccomp profile of a process cannot be read, so a command in such a container has none.
-- @tparam integer number the pid
-- @treturn table the fields of a container; its `configuration` describes the process as it is, without its command and
-- its environment; nil when there is no such process
function pid.read(number)
  local fields = status_fields(contents(number, "status"))
  if not (fields.Uid and fields.Gid and fields.Groups) then return nil end
  local uids, gids = pid.mappings(contents(number, "uid_map")), pid.mappings(contents(number, "gid_map"))
  local profile = contents(number, "attr/current"):match "^([^%z\n]+) %(%a+%)"
  local own = namespaces(number)
  local has_userns = false
  for _, namespace in ipairs(own) do has_userns = has_userns or namespace.type == "user" end
  local settings = {
    no_new_keyring = false,
    umask = tonumber(fields.Umask or "", 8),
    oom_score_adj = math.tointeger(tonumber(contents(number, "oom_score_adj"))),
    rlimits = pid.rlimits(contents(number, "limits")),
    apparmor_profile = profile,
    no_new_privileges = fields.NoNewPrivs == "1",
    capabilities = capabilities(number),
    uid_mappings = has_userns and uids or nil,
    gid_mappings = has_userns and gids or nil,
    rootless_euid = false,
    rootless_cgroups = core.process.ids().euid ~= 0,
    namespaces = own,
  }
  return {
    runtime = "pid",
    pid = number,
    cgroup_paths = cgroups.of(number),
    labels = {},
    annotations = {},
    systemd = false,
    rootless = core.process.ids().euid ~= 0,
    settings = settings,
    configuration = {
      ociVersion = "1.0.2",
      process = {
        args = {}, cwd = "/", env = { DEFAULT_PATH }, terminal = false, user = user_of(fields, uids, gids),
        capabilities = settings.capabilities, rlimits = settings.rlimits, noNewPrivileges = settings.no_new_privileges,
        oomScoreAdj = settings.oom_score_adj, apparmorProfile = profile,
      },
      linux = { namespaces = own, uidMappings = settings.uid_mappings, gidMappings = settings.gid_mappings },
    },
  }
end

return pid
