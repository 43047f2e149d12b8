--- Who asks for an exec: what /proc says of the process that called ctrexec and of those above it.
--
-- An engine stands between a person and ctrexec, so the uid is often the engine's. The login uid (pam_loginuid(8)) is
-- inherited and survives su and sudo, but is not set where no login was.
-- @module ctrexec.policy.caller
local core = require "ctrexec.core"

local caller = {}

-- (uid_t) -1: no login.
local NO_LOGIN = 4294967295
local MAX_ANCESTRY = 32

-- Programs that stand between an engine's user and the runtime, by the name in /proc/PID/stat (15 bytes at most).
local ENGINES = {
  conmon = "podman", podman = "podman", crio = "cri-o", ["containerd-shim"] = "containerd", containerd = "containerd",
  dockerd = "docker", docker = "docker", kubelet = "kubernetes", nerdctl = "containerd", ctr = "containerd",
  buildkitd = "buildkit",
}
-- dockerd and kubelet speak to containerd, whose shim is nearer: the more telling name of the chain wins.
local RANK = { containerd = 1, podman = 2, ["cri-o"] = 2, buildkit = 2, docker = 3, kubernetes = 4 }

local function engine_of(ancestry)
  local found
  for _, ancestor in ipairs(ancestry) do
    local name = ancestor.name
    local engine = ENGINES[name] or name:find "^containerd%-shim" and "containerd" or name:find "^conmon" and "podman"
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
    local stat = core.pidfd.stat(pid)
    if not stat then break end
    chain[#chain + 1] = { pid = pid, name = stat.comm, uid = uid_of(pid) }
    pid = stat.ppid
  end
  return chain
end

local function user_name(uid, passwd)
  local entry = passwd and require "ctrexec.users".user_by_id(passwd, uid)
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

--- Who the caller is.
-- @tparam[opt] integer pid the calling process, by default the parent of this one
-- @treturn table `uid`, `gid`; `user` (name on the host), `login_uid`, `login_user` (nil without a login); `pid`;
-- `terminal` (boolean: the session has a controlling terminal)
function caller.identity(pid)
  local ids = core.pidfd.ids()
  local passwd = read_passwd()
  local own = core.pidfd.stat(ids.pid)
  local login = ids.login_uid
  if login == NO_LOGIN or login == -1 then login = nil end
  return {
    uid = ids.uid, gid = ids.gid, user = user_name(ids.uid, passwd),
    login_uid = login, login_user = login and user_name(login, passwd),
    pid = pid or ids.ppid, terminal = own ~= nil and own.tty ~= 0,
  }
end

--- What stands behind the caller; costs several times as much to find out.
-- @tparam[opt] integer pid the calling process, by default the parent of this one
-- @treturn table `ancestry` (`{pid=, name=, uid=}` from the caller up; the uid is the real one); `sudo_user`; `engine`
-- ("docker", "podman", "containerd", "cri-o", "kubernetes", "buildkit" or nil)
function caller.origin(pid)
  local ancestry = ancestry_of(pid or core.pidfd.ids().ppid)
  return { ancestry = ancestry, sudo_user = sudo_user(ancestry), engine = engine_of(ancestry) }
end

--- Both in one table.
-- @tparam[opt] integer pid the calling process, by default the parent of this one
-- @treturn table fields of `identity` and `origin`
function caller.describe(pid)
  local result = caller.identity(pid)
  for name, value in pairs(caller.origin(pid)) do result[name] = value end
  return result
end

return caller
