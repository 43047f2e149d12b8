--- Stands in for a runtime: replaces this process by the real runtime for every command but exec.
-- @module ctrexec.command.runtime
local core = require "ctrexec.core"
local late = require "ctrexec.lib.late"
local options = require "ctrexec.command.options"
local readers = late "ctrexec.lib.reader" -- an exec does not need it

local runtime = {}

-- The folders that are searched for the real runtime, instead of the caller's PATH.
local FOLDERS = { "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin" }

local ENOENT = core.errno.ENOENT
local HEAD = 4096 -- bytes of a program that are looked at
local PLAIN = { runc = true, crun = true }
-- The variable that counts how often a runtime has started ctrexec again, and its bound. One of the runtime's hooks may
-- start a runtime again, so a few times are allowed.
local COUNT, MAX_COUNT = "CTREXEC_FRONT", 4

-- Returns two booleans: whether the next word may be another option or the command, and whether it may be the value of
-- the option `word`.
local function followers(word)
  local name, value = word:match "^%-%-?([^=]*)(.*)$"
  if name == "" or value ~= "" then return true, false end
  local entry = options.find(options.global, name)
  -- A runtime may know more options, and crun takes long ones cut short (--roo for --root).
  if not entry or entry.name == "rootless" then return true, true end -- a switch for runsc
  if entry.name == "help" or entry.name == "version" then return false, false end
  return entry.type == "bool", entry.type ~= "bool"
end

-- Whether some runtime could read the command line as an exec. Such a line must not get past the policies, so ctrexec
-- keeps it, and its parser refuses it where its meaning is in doubt.
local function may_be_exec(argv)
  local reached = { true } -- where the options may go on or end
  for i, word in ipairs(argv) do
    if reached[i] and word == "exec" then return true end
    if reached[i] and word:find "^%-." then
      local alone, with_value = followers(word)
      reached[i + 1], reached[i + 2] = reached[i + 1] or alone, reached[i + 2] or with_value
    end
  end
  return false
end

-- The first page of a plain file; "" where the file cannot be read.
local function head_of(path)
  local fd <close> = core.file.open(path, { read = true, nonblock = true, nofollow = true })
  local status = fd and core.file.stat(fd)
  return status and status.type == "file" and core.fd.read(fd, HEAD) or ""
end

-- Whether a file begins as ctrexec's script, which requires "ctrexec.command", or as its launcher, which has a note
-- (scripts/ctrexec.c).
local function is_ours(head)
  return head:find("^#!.*[\"']ctrexec%.command[\"']") or head:find("^\127ELF.*ctrexec\0command\0")
end

-- Whether a file, named by its resolved path, is ctrexec: the running program or another copy of it.
local function is_self(path, name)
  local status = core.file.stat(path)
  if not status or status.type ~= "file" then return false end
  local base = path:match "[^/]*$"
  if base == "ctrexec" or base == "ctrexec.lua" then return true end
  for _, own in ipairs { name, "/proc/self/exe" } do
    local about = core.file.stat(own)
    if about and about.ino == status.ino and about.dev == status.dev then return true end
  end
  return is_ours(head_of(path))
end

-- Whether a program that was found is ctrexec itself, or a script that names ctrexec's path.
local function leads_back(path, name)
  if is_self(path, name) then return true end
  local head = head_of(path)
  if not head:find "^#!" then return false end
  for line in head:gmatch "[^\n]+" do
    for word in line:match "^[^#]*":gmatch "/[%w/._+-]+" do
      local real = core.file.realpath(word)
      if real and is_self(real, name) then return true end
    end
  end
end

-- Finds the first program of this name that does not lead back to ctrexec. Its owner and mode are checked later: an
-- untrusted program is then an error, and the search does not pass it over.
local function find(name, own)
  local passed
  for _, folder in ipairs(FOLDERS) do
    local path = folder .. "/" .. name
    local real, _, errno = core.file.realpath(path)
    if real and leads_back(real, own) then
      passed = path
    elseif real or errno ~= ENOENT then
      return path
    end
  end
  return nil, ("no %s in %s%s"):format(name, table.concat(FOLDERS, ", "), passed
    and (": %s is ctrexec itself"):format(passed) or "")
end

-- The path of the real runtime. Its owner and mode are checked as a policy's are, because it runs with the rights of
-- the engine.
local function real_runtime(argv, name, site)
  if site.fault then return nil, site.fault end
  local path, message = site.settings.runtime
  if not path then path, message = find(name, argv[0]) end
  if not path then return nil, message end
  local reader <close> = readers.new()
  local real
  real, message = reader:program(path)
  if not real then return nil, message end
  if is_self(real, argv[0]) then return nil, path .. " is ctrexec itself" end
  return real
end

-- A runtime other than plain runc or crun, a script or one that looks for another runtime in PATH, could start ctrexec
-- again without end. Such a runtime gets a variable that counts this; plain runc and crun do not.
local function count_of(path)
  if head_of(path):find "^\127ELF" and PLAIN[path:match "[^/]*$"] then return nil end
  local count = (tonumber((os.getenv(COUNT) or ""):match "^%d$") or 0) + 1
  if count > MAX_COUNT then return nil, ("%s starts ctrexec again and again (%s)"):format(path, COUNT) end
  return ("%s=%d"):format(COUNT, count)
end

--- Runs the real runtime in place of this process, with the same arguments, environment and descriptors, unless the
-- command is exec. The real runtime is `runtime` of the site's configuration, else the first program of this name in
-- the system's folders that is not ctrexec.
-- @tparam {string,...} argv at index 0 the path by which ctrexec was called
-- @tparam string name of the runtime that ctrexec stands for
-- @tparam table site of `ctrexec.command.open`
-- @treturn[1] boolean true: the command is exec, or a runtime with other options could read it as exec
-- @treturn[2] nil
-- @treturn[2] string why the real runtime cannot be run: it is missing, not trusted, or ctrexec itself, or the
-- configuration that would name it cannot be used
-- @see execve(2)
function runtime.hand_on(argv, name, site)
  if may_be_exec(argv) then return true end
  local path, message = real_runtime(argv, name, site)
  local count, _
  if path then count, message = count_of(path) end
  if not message then
    _, message = core.program.replace(path, table.move(argv, 0, #argv, 1, {}), count)
  end
  return nil, "the real runtime cannot be run: " .. message
end

return runtime
