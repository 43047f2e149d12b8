--- Who asks for an exec: what /proc says of the process that called ctrexec and of those above it.
--
-- Where an engine stands between a person and ctrexec, the uid is the engine's. The login uid (pam_loginuid(8)) is the
-- person's: processes inherit it, and su and sudo keep it. It is not set for processes that no login has started.
-- @module ctrexec.policy.caller
local core = require "ctrexec.core"
local late = require "ctrexec.lib.late"
local users = late "ctrexec.oci.users" -- only the caller's names need it

local caller = {}

local MAX_ANCESTRY = 32

-- Programs that stand between an engine's user and the runtime, by the name in /proc/PID/stat (15 bytes at most).
local ENGINES = {
  conmon = "podman", podman = "podman", crio = "cri-o", containerd = "containerd",
  dockerd = "docker", docker = "docker", kubelet = "kubernetes", nerdctl = "containerd", ctr = "containerd",
  buildkitd = "buildkit",
}
-- Of several engines among the ancestors the one with the highest rank counts: docker runs containerd.
local RANK = { containerd = 1, podman = 2, ["cri-o"] = 2, buildkit = 2, docker = 3, kubernetes = 4 }

-- containerd's shim has left its parent, so the engine is not among its ancestors: the namespace in the shim's
-- arguments tells which engine uses it.
local NAMESPACES = { moby = "docker", ["k8s.io"] = "kubernetes", buildkit = "buildkit" }

local function shims_engine(pid)
  local file = io.open(("/proc/%d/cmdline"):format(pid))
  if not file then return "containerd" end
  local namespace = (file:read "a" or ""):match "%z%-namespace%z([^%z]*)"
  file:close()
  return NAMESPACES[namespace] or "containerd"
end

local function engine_of(ancestry)
  local found
  for _, ancestor in ipairs(ancestry) do
    local name = ancestor.name
    local engine = ENGINES[name] or name:find "^conmon" and "podman"
      or name:find "^containerd%-shim" and shims_engine(ancestor.pid)
    if engine and (not found or RANK[engine] > RANK[found]) then found = engine end
  end
  return found
end

local function uid_of(pid)
  local file = io.open(("/proc/%d/status"):format(pid))
  if not file then return nil end
  local text = file:read "a"
  file:close()
  return text and math.tointeger(tonumber(text:match "\nUid:%s*(%d+)"))
end

local function ancestry_of(pid)
  local chain = {}
  while pid > 0 and #chain < MAX_ANCESTRY do
    local stat = core.process.stat(pid)
    if not stat then break end
    chain[#chain + 1] = { pid = pid, name = stat.comm, uid = uid_of(pid) }
    pid = stat.ppid
  end
  return chain
end

local function user_name(uid, passwd)
  local user = passwd and users.user_by_id(passwd, uid)
  return user and user.name
end

local function read_passwd()
  local file = io.open "/etc/passwd"
  if not file then return nil end
  local text = file:read(1024 * 1024)
  file:close()
  return text
end

-- SUDO_USER is in ctrexec's own environment, where any caller can set it. It is believed only where sudo(8) is among
-- the ancestors.
local function sudo_user(ancestry)
  for _, ancestor in ipairs(ancestry) do
    if ancestor.name == "sudo" then return os.getenv "SUDO_USER" end
  end
end

local ENXIO = core.errno.ENXIO

-- /dev/tty is asked first, because that is cheaper than /proc; /proc answers where /dev/tty cannot be opened.
local function has_terminal(pid)
  local terminal, _, errno = core.terminal.open_controlling()
  if terminal then terminal:close() end
  if terminal or errno == ENXIO then return terminal ~= nil end
  local own = core.process.stat(pid)
  return own ~= nil and own.tty ~= 0
end

--- Who the caller is.
-- @tparam[opt] integer pid the calling process, by default the parent of this one
-- @treturn table `uid`, `gid`, `login_uid` (nil without a login); `pid`; `terminal` (boolean: the session has a
-- controlling terminal)
function caller.identity(pid)
  local ids = core.process.ids()
  return { uid = ids.uid, gid = ids.gid, login_uid = ids.login_uid, pid = pid or ids.ppid,
    terminal = has_terminal(ids.pid) }
end

--- The names of the caller's user ids in the host's /etc/passwd.
-- @treturn table `user` and `login_user`; nil for an id without a name
function caller.names()
  local ids, passwd = core.process.ids(), read_passwd()
  return { user = user_name(ids.uid, passwd), login_user = ids.login_uid and user_name(ids.login_uid, passwd) }
end

--- The processes above the caller, and what they tell of the engine. This reads several files for each of them.
-- @tparam[opt] integer pid the calling process, by default the parent of this one
-- @treturn table `ancestry` (`{pid=, name=, uid=}` from the caller up; the uid is the real one); `sudo_user`; `engine`
-- ("docker", "podman", "containerd", "cri-o", "kubernetes", "buildkit" or nil)
function caller.origin(pid)
  local ancestry = ancestry_of(pid or core.process.ids().ppid)
  return { ancestry = ancestry, sudo_user = sudo_user(ancestry), engine = engine_of(ancestry) }
end

--- All that is known of the caller, in one table.
-- @tparam[opt] integer pid the calling process, by default the parent of this one
-- @treturn table fields of `identity`, `names` and `origin`
function caller.describe(pid)
  local result = caller.identity(pid)
  for _, part in ipairs { caller.names(), caller.origin(pid) } do
    for name, value in pairs(part) do result[name] = value end
  end
  return result
end

return caller
