--- Who asks for an exec: what /proc says of the process that called ctrexec and of those above it.
--
-- An engine stands between a person and ctrexec, so the uid is often the engine's. The login uid (pam_loginuid(8)) is
-- inherited and survives su and sudo, but is not set where no login was.
-- @module ctrexec.policy.caller
local core = require "ctrexec.core"
local late = require "ctrexec.lib.late"
local users = late "ctrexec.oci.users" -- only the names of a caller need it

local caller = {}

local MAX_ANCESTRY = 32

-- Programs that stand between an engine's user and the runtime, by the name in /proc/PID/stat (15 bytes at most).
local ENGINES = {
  conmon = "podman", podman = "podman", crio = "cri-o", containerd = "containerd",
  dockerd = "docker", docker = "docker", kubelet = "kubernetes", nerdctl = "containerd", ctr = "containerd",
  buildkitd = "buildkit",
}
-- The more telling name of the chain wins.
local RANK = { containerd = 1, podman = 2, ["cri-o"] = 2, buildkit = 2, docker = 3, kubernetes = 4 }

-- The shim is nobody's child; the namespace in its arguments tells whose containers it keeps.
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
  local entry = passwd and users.user_by_id(passwd, uid)
  return entry and entry.name
end

local function read_passwd()
  local file = io.open "/etc/passwd"
  if not file then return nil end
  local text = file:read(1024 * 1024)
  file:close()
  return text
end

-- sudo(8) runs the command as its child and is the ancestor that has SUDO_USER; the environment of ctrexec itself is
-- believed only if sudo is there.
local function sudo_user(ancestry)
  for _, ancestor in ipairs(ancestry) do
    if ancestor.name == "sudo" then return os.getenv "SUDO_USER" end
  end
end

local ENXIO = core.errno.ENXIO

-- Cheaper than looking into /proc, and as good where there is a /dev.
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

--- What the host calls the caller.
-- @treturn table `user` and `login_user`, where there is such a user
function caller.names()
  local ids, passwd = core.process.ids(), read_passwd()
  return { user = user_name(ids.uid, passwd), login_user = ids.login_uid and user_name(ids.login_uid, passwd) }
end

--- What stands behind the caller; costs several times as much to find out.
-- @tparam[opt] integer pid the calling process, by default the parent of this one
-- @treturn table `ancestry` (`{pid=, name=, uid=}` from the caller up; the uid is the real one); `sudo_user`; `engine`
-- ("docker", "podman", "containerd", "cri-o", "kubernetes", "buildkit" or nil)
function caller.origin(pid)
  local ancestry = ancestry_of(pid or core.process.ids().ppid)
  return { ancestry = ancestry, sudo_user = sudo_user(ancestry), engine = engine_of(ancestry) }
end

--- All in one table.
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
