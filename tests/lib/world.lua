--- Callers other than this machine's root, for runtimes and ctrexec alike: an unprivileged user with one id or with
-- subordinate ids, and root of that user's user namespace. The lines of passwd, subuid and subgid that they need are
-- only in mount namespaces of their own.

local tool = require "tests.lib.tool"

local world = {}

local methods = {}
local class = { __index = methods }

--- The user's id; its groups are this one and 777. Subordinate ids start at these.
world.UID = 12345
world.SUB_UID, world.SUB_GID, world.SUB_COUNT = 300000, 400000, 65536

-- The repository is bound into that mount namespace, because it may lie in a folder that only root can read.
local AS_USER = [[#!/bin/sh
# shellcheck disable=SC2016 # expanded by the inner shell
exec unshare --mount --propagation private -- sh -c '
  mount --rbind "$2" "$1/repository" || exit
  for file in passwd subuid subgid; do
    [ ! -e "$1/etc/$file" ] || mount --bind "$1/etc/$file" "/etc/$file" || exit
  done
  [ -z "$3" ] || echo $$ >"$3/cgroup.procs" || exit
  home=$1
  shift 3
  export XDG_RUNTIME_DIR="$home/run"
  export LUA_PATH="$home/repository/lua/?.lua;$home/repository/lua/?/init.lua;;"
  export LUA_CPATH="$home/repository/build/lua/?.so;;"
  exec setpriv --reuid @UID@ --regid @UID@ --groups @UID@,777 -- "$@"' sh @DIR@ @REPOSITORY@ @CGROUP@ "$@"
]]

local INSIDE = [[#!/bin/sh
export XDG_RUNTIME_DIR=@DIR@/run
export LUA_PATH="@DIR@/repository/lua/?.lua;@DIR@/repository/lua/?/init.lua;;"
export LUA_CPATH="@DIR@/repository/build/lua/?.so;;"
repository=@REPOSITORY@
case $PWD/ in
  "$repository"/*) folder=@DIR@/repository${PWD#"$repository"} ;;
  *) folder=$PWD ;;
esac
exec nsenter -t @HOLDER@ -U -m -S 0 -G 0 -- sh -c 'cd "$1" && shift && exec "$@"' sh "$folder" "$@"
]]

local function script(path, text, values)
  tool.write(path, (text:gsub("@(%u+)@", values)), "755")
end

local function succeeds(command)
  return os.execute(command .. " </dev/null >/dev/null 2>&1") == true
end

--- Why there can be no such callers here, or nil.
-- @tparam boolean subids with subordinate ids
function world.missing(subids)
  local try = ("timeout 10 setpriv --reuid %d --regid %d --clear-groups unshare -Ur true"):format(world.UID, world.UID)
  if not succeeds(try) then
    return "unprivileged users cannot make user namespaces here"
  end
  if subids and not (tool.has "newuidmap" and succeeds "test -e /etc/subuid -a -e /etc/subgid") then
    return "newuidmap is not installed (Debian: uidmap)"
  end
  return nil
end

-- A process that holds the user namespace (and the mounts) that "inside" enters, as podman's pause process does.
local function hold(self)
  tool.sh(("%s unshare --user --map-root-user --map-auto --mount sh -c 'echo $$ >%s/holder; exec sleep 3600' "
    .. ">/dev/null 2>&1 & until [ -s %s/holder ]; do sleep 0.02; done"):format(self.as, self.dir, self.dir))
  self.holder = tool.read(self.dir .. "/holder"):match "%d+"
end

--- Makes a caller.
-- @tparam table options `subids`: has subordinate ids; `inside`: is root of a user namespace with them;
-- `delegated`: is in a cgroup of version 2 that is the user's own
-- @treturn table `command(program)`, `runtime(name)`, `own(path)`, `close()`; `dir` (with the user's `run`), `cgroup`
function world.new(options)
  local dir = tool.folder()
  local self = setmetatable({ dir = dir, as = dir .. "/as" }, class)
  tool.sh(("cd %s && mkdir etc run repository && cp /etc/passwd etc/"):format(dir))
  tool.sh(("echo tester:x:%d:%d::%s:/bin/sh >>%s/etc/passwd"):format(world.UID, world.UID, dir, dir))
  if options.subids or options.inside then
    tool.write(dir .. "/etc/subuid", ("tester:%d:%d\n"):format(world.SUB_UID, world.SUB_COUNT))
    tool.write(dir .. "/etc/subgid", ("tester:%d:%d\n"):format(world.SUB_GID, world.SUB_COUNT))
  end
  self:own(dir .. "/run")
  if options.delegated then
    self.cgroup = ("/sys/fs/cgroup%s/%s"):format(tool.view() == "v2" and "" or "/unified", tool.unique_name())
    tool.sh("mkdir %s", self.cgroup)
    self:own(self.cgroup)
  end
  if options.inside then tool.sh("chown %s %s", world.UID, dir) end
  local values = { DIR = dir, UID = tostring(world.UID), REPOSITORY = tool.quote(tool.repository),
    CGROUP = tool.quote(self.cgroup or "") }
  script(self.as, AS_USER, values)
  if options.inside then
    hold(self)
    values.HOLDER = self.holder
    script(dir .. "/inside", INSIDE, values)
    self.as = dir .. "/inside"
  end
  return self
end

--- The command line, as shell words, that runs a program of the host as this caller.
function methods:command(program)
  local repository = tool.repository:gsub("%p", "%%%0")
  return self.as .. " " .. program:gsub(repository, self.dir .. "/repository")
end

--- A program that runs a runtime as this caller, for `fixture.container`.
function methods:runtime(name)
  local path = ("%s/%s"):format(self.dir, name)
  tool.write(path, ("#!/bin/sh\nexec %s %s \"$@\"\n"):format(self.as, name), "755")
  return path
end

--- Gives a directory and all in it to this caller.
function methods:own(path)
  tool.sh("chown -R -h %s:%s %s", world.UID, world.UID, path)
end

function methods:close()
  if self.holder then
    os.execute("kill " .. self.holder)
  end
  if self.cgroup then
    os.execute(("find %s -depth -type d -exec rmdir {} +"):format(self.cgroup))
  end
  tool.remove(self.dir)
end

return world
