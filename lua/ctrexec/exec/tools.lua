--- Lends files of the host to a command: `--tool PATH[:DEST]`.
--
-- A lent file is a read-only mount in a mount namespace that only the command has (core/enter/mounts.c). A process that
-- may mount could make it writable: the command, or another process of the container that joins that namespace. So
-- where the command or the container has CAP_SYS_ADMIN, the command gets a copy of the file.
-- @module ctrexec.exec.tools
local core = require "ctrexec.core"

local tools = {}

local COPY_LIMIT = 128 << 20

-- The names under which busybox(1) does its work. Asking it for its list would mean running a program of the host here.
local APPLETS = "[ ash awk base64 basename cat chmod chown cp cut date dd df diff dirname dmesg du echo egrep env expr "
  .. "false find free grep gunzip gzip head hexdump hostname id ifconfig ip kill killall less ln ls lsof md5sum mkdir "
  .. "mkfifo more mount mv nc netstat nproc nslookup od pgrep pidof ping printenv printf ps pwd readlink realpath rm "
  .. "rmdir route sed seq sh sha256sum sleep sort stat strings stty su sync tail tar tee telnet test time timeout top "
  .. "touch tr traceroute true tty umount uname uniq uptime vi watch wc wget which whoami xargs xxd yes zcat "

local function bad(text, what)
  return nil, ("tool %s: %s"):format(text, what), "invalid"
end

local function parse(text)
  local path, target = text:match "^(/[^:]*):?(.*)$"
  if not path then return bad(text, "expected PATH[:DEST], both absolute") end
  if target == "" then target = path end
  local vague = (target .. "/"):find "/%.%.?/" or target:find("//", 1, true)
  if target:sub(1, 1) ~= "/" or target:sub(-1) == "/" or vague then
    return bad(text, "the destination must be an absolute path without . and ..")
  end
  return path, target
end

local function may_mount(object)
  local bounding = object.capabilities and object.capabilities.bounding or {}
  for _, name in ipairs(bounding) do
    if name == "CAP_SYS_ADMIN" then return true end
  end
  return false
end

-- Decided by the capabilities that the container was made with. Those that its first process has now prove nothing: it
-- can have dropped CAP_SYS_ADMIN to look harmless, after another process got it.
local function container_may_mount(container)
  local config = container:config()
  return not config or may_mount(config.process or {})
end

local function open_copy(text, path, about)
  if about.type ~= "file" then
    return bad(text, "only a file can be lent where the command or the container has CAP_SYS_ADMIN")
  end
  if about.size > COPY_LIMIT then
    return bad(text, "too large to be copied, as it must be where the command or the container has CAP_SYS_ADMIN")
  end
  return core.file.open(path, { read = true })
end

local function one(text, copy)
  local path, target, code = parse(text)
  if not path then return nil, target, code end
  local about, message = core.file.stat(path)
  if not about then return bad(text, message) end
  if about.type ~= "file" and about.type ~= "directory" then return bad(text, "neither a file nor a directory") end
  local fd
  if copy then
    fd, message, code = open_copy(text, path, about)
  else
    fd, message = core.mount.clone(path)
  end
  if not fd then return nil, message, code == "invalid" and code or "system" end
  local busybox = path:match "[^/]*$" == "busybox"
  return { fd = fd, copy = copy, target = target, links = busybox and APPLETS:gsub(" ", "\n") or nil }
end

-- Adds the folders of the lent programs to PATH, so that the command finds them by their names.
local function extend_path(object, mounts)
  local path, at
  for index, variable in ipairs(object.env) do
    if variable:sub(1, 5) == "PATH=" then path, at = variable:sub(6), index end
  end
  for _, mount in ipairs(mounts) do
    local folder = mount.target:match "^(.*)/[^/]*$"
    folder = folder == "" and "/" or folder
    if not (":" .. (path or "") .. ":"):find(":" .. folder .. ":", 1, true) then
      path = (path or "") ~= "" and path .. ":" .. folder or folder
    end
  end
  if path then object.env[at or #object.env + 1] = "PATH=" .. path end
end

--- Closes the descriptors of lent trees.
-- @tparam ?{table,...} mounts from `open`
function tools.close(mounts)
  for _, mount in ipairs(mounts or {}) do mount.fd:close() end
end

--- Opens what is lent, and adds the folders of the programs to the command's PATH.
-- @tparam ?{string,...} list each "PATH[:DEST]"
-- @tparam table object the command's process object; its env may be changed
-- @tparam table container the container
-- @treturn[1] ?{table,...} mounts for `ctrexec.exec.plan`; nil when nothing is lent
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code "invalid" or "system"
function tools.open(list, object, container)
  if not list or #list == 0 then return nil end
  local mounts, copy = {}, may_mount(object) or container_may_mount(container)
  for _, text in ipairs(list) do
    local mount, message, code = one(text, copy)
    if not mount then
      tools.close(mounts)
      return nil, message, code
    end
    mounts[#mounts + 1] = mount
  end
  extend_path(object, mounts)
  return mounts
end

return tools
