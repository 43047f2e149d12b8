--- Stands in for a runtime: replaces this process by the real runtime for every command but exec.
-- @module ctrexec.command.runtime
local core = require "ctrexec.core"
local late = require "ctrexec.lib.late"
local options = require "ctrexec.command.options"
local switches = require "ctrexec.command.readers"
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

-- The switches by which a runtime shows something in place of running the command. The last value of a switch counts
-- for runtimes that use Go's flag package: they take `--help --help=false exec` for an exec. crun, which uses getopt,
-- shows its help at once; ctrexec then keeps a line that crun would not have run.
local SHOWS = { help = true, h = true, version = true, v = true }

-- Whether an option may stand alone, and whether it may take the next word as its value.
local function extent_of(name, value)
  if value then return true, false end
  local row = options.find(options.global, name)
  -- A runtime may know more options, and crun takes long ones cut short (--roo for --root).
  if not row or row.name == "rootless" then return true, true end -- a switch for runsc
  return row.type == "bool", row.type ~= "bool"
end

-- The switches of `SHOWS` that are on, as a sorted text, after one more option. Nil when its value is no boolean, which
-- every runtime refuses.
local function shown_after(shown, name, value)
  if not SHOWS[name] then return shown end
  local on = switches.bool(value or "true")
  if on == nil then return nil end
  local set = {}
  for other in shown:gmatch "%a+" do set[other] = true end
  set[name] = on or nil
  local names = {}
  for other in pairs(set) do names[#names + 1] = other end
  table.sort(names)
  return table.concat(names, " ")
end

--- Whether some runtime could read a command line as an exec. Such a line must not get past the policies, so ctrexec
-- keeps it, and its parser refuses it where its meaning is in doubt.
--
-- All readings of the line are followed at once: `readings[i]` has, as keys, what is shown in those in which the
-- options go on or end at word i.
-- @tparam {string,...} argv
-- @treturn boolean
function runtime.may_be_exec(argv)
  local readings = { { [""] = true } }
  local function reach(i, shown)
    readings[i] = readings[i] or {}
    readings[i][shown] = true
  end
  for i, word in ipairs(argv) do
    local here = readings[i] or {}
    if here[""] and word == "exec" then return true end
    local name, equals, value = word:match "^%-%-?([^=]*)(=?)(.*)$"
    if name and word ~= "-" then
      value = equals == "=" and value or nil
      for shown in pairs(here) do
        local alone, with_value = extent_of(name, value)
        local after = shown_after(shown, name, value)
        if alone and after then reach(i + 1, after) end
        if with_value then reach(i + 2, shown) end
      end
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
  if runtime.may_be_exec(argv) then return true end
  local path, message = real_runtime(argv, name, site)
  local count, _
  if path then count, message = count_of(path) end
  if not message then
    _, message = core.program.replace(path, table.move(argv, 0, #argv, 1, {}), count)
  end
  return nil, "the real runtime cannot be run: " .. message
end

return runtime
