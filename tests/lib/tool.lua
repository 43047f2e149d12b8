--- Helpers of all tests, with or without a container: files, folders, shell text with a deadline, and waiting.

local core = require "ctrexec.core"
local lfs = require "lfs"

local tool = {}

--- Seconds: the longest wait for an event that must come, and the longest run of a test's command. Nothing takes nearly
-- so long unless it hangs.
tool.DEADLINE = 20

tool.repository = lfs.currentdir()

tool.build = tool.repository .. "/build"

--- Quotes a word for the shell.
function tool.quote(text)
  return "'" .. tostring(text):gsub("'", "'\\''") .. "'"
end

function tool.quote_all(words)
  local quoted = {}
  for i, word in ipairs(words) do
    quoted[i] = tool.quote(word)
  end
  return table.concat(quoted, " ")
end

--- Shell text with each `%s` replaced by a quoted word.
function tool.text(format, ...)
  local words = { ... }
  for i, word in ipairs(words) do
    words[i] = tool.quote(word)
  end
  return format:format(table.unpack(words))
end

--- The whole of a file, or nil where it cannot be read.
function tool.read(path)
  local file = io.open(path, "rb")
  if not file then
    return nil
  end
  local data = file:read "a"
  file:close()
  return data
end

--- Writes a file, in place of an old one.
-- @tparam[opt] string mode as chmod(1) takes it
function tool.write(path, data, mode)
  local file = assert(io.open(path, "wb"))
  assert(file:write(data))
  assert(file:close())
  if mode then
    tool.sh("chmod %s %s", mode, path)
  end
end

--- Whether a path exists, also as a broken link.
function tool.exists(path)
  return lfs.symlinkattributes(path, "mode") ~= nil
end

local function random()
  local file <close> = assert(io.open("/dev/urandom", "rb"))
  return (string.unpack("I4", file:read(4)))
end

--- A name that no other process uses, for folders and cgroups, which the whole machine shares.
function tool.unique_name()
  return ("ctrexec-%08x"):format(random())
end

--- A user that no other process runs as: the kernel counts processes against a limit for each user of the machine.
function tool.unique_uid()
  return 1000000 + random() % 1000000000
end

--- A new temporary folder. Its owner alone may write to it; all users may read it, for the root of a user namespace.
-- @tparam[opt] string parent the folder to make it in, instead of $TMPDIR
function tool.folder(parent)
  local path = ("%s/%s"):format(parent or os.getenv "TMPDIR" or "/tmp", tool.unique_name())
  assert(lfs.mkdir(path))
  if lfs.attributes(path, "permissions") ~= "rwxr-xr-x" then
    tool.sh("chmod 755 %s", path)
  end
  return path
end

--- Removes a file, or a folder with all its files except those on another file system.
function tool.remove(path)
  if not os.remove(path) then
    tool.sh("rm -rf --one-file-system %s", path)
  end
end

--- All that comes from a descriptor until its end.
function tool.read_all(fd)
  local pieces = {}
  repeat
    local piece = assert(core.fd.read(fd, 65536))
    pieces[#pieces + 1] = piece
  until piece == ""
  return table.concat(pieces)
end

--- The pids of this process's children, zombies too, in order.
function tool.children()
  local own, found = core.process.ids().pid, {}
  for _, name in ipairs(core.file.list "/proc") do
    local pid = math.tointeger(tonumber(name))
    local stat = pid and core.process.stat(pid)
    if stat and stat.ppid == own then found[#found + 1] = pid end
  end
  table.sort(found)
  return found
end

--- The first line of a command's output, "" when there is none. The command may fail.
function tool.line(command)
  local pipe = assert(io.popen(command .. " 2>/dev/null </dev/null", "r"))
  local line = pipe:read "l"
  pipe:close()
  return line or ""
end

--- All output of a command, which must succeed.
function tool.output(command)
  local pipe = assert(io.popen(command, "r"))
  local output = pipe:read "a"
  assert(pipe:close(), command)
  return output
end

--- Runs shell text that must succeed, with each `%s` replaced by a quoted word.
function tool.sh(format, ...)
  local text = tool.text(format, ...)
  if not os.execute(("timeout -k 1 %d sh -c %s </dev/null"):format(tool.DEADLINE, tool.quote(text))) then
    error("failed: " .. text, 2)
  end
end

--- The variables by which a new interpreter finds the module under test, in any folder, as shell words.
function tool.lua_paths()
  return tool.text("LUA_PATH=%s LUA_CPATH=%s", ("%s/lua/?.lua;%s/lua/?/init.lua;;"):format(tool.repository,
    tool.repository), tool.build .. "/lua/?.so;;")
end

-- A small environment, so that the one of the tests' caller does not matter; a sanitized build needs its options.
local function environment()
  local words = { "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" }
  for _, name in ipairs { "ASAN_OPTIONS", "UBSAN_OPTIONS" } do
    words[#words + 1] = os.getenv(name) and name .. "=" .. os.getenv(name)
  end
  return tool.quote_all(words) .. " " .. tool.lua_paths()
end

--- Runs shell text to its end. Its streams are files, because a process that it leaves behind would hold a pipe open.
-- @tparam string text
-- @tparam[opt] table options `input`: text of standard input; `directory`: where it runs; `words`: shell words that
-- are its "$@"; `clean`: with a small environment of its own, and in a session of its own, so that no terminal of the
-- developer is seen; `files`: the folder for the files stdin, stdout and stderr, instead of one that is removed;
-- `deadline`: in seconds; `may_hang`: running into the deadline is no error but status 124
-- @treturn table `code`, 128 + N for a signal; `stdout`, `stderr`
function tool.run(text, options)
  options = options or {}
  local deadline, files = options.deadline or tool.DEADLINE, options.files or tool.folder()
  tool.write(files .. "/stdin", options.input or "")
  local command = ("%s timeout -k 1 %d %s sh -c %s sh %s <%s/stdin >%s/stdout 2>%s/stderr"):format(
    options.clean and "setsid -w" or "", deadline, options.clean and "env -i " .. environment() or "",
    tool.quote(text), options.words or "", files, files, files)
  if options.directory then
    command = ("cd %s && %s"):format(tool.quote(options.directory), command)
  end
  local began = core.clock.now()
  local _, how, status = os.execute(command)
  local hung = core.clock.now() - began >= deadline
  local result = { code = how == "signal" and 128 + status or status, stdout = tool.read(files .. "/stdout"),
    stderr = tool.read(files .. "/stderr") }
  if not options.files then
    for _, name in ipairs { "/stdin", "/stdout", "/stderr", "" } do
      assert(os.remove(files .. name))
    end
  end
  if hung and not options.may_hang then
    error(("ran past its deadline: %s\n%s%s"):format(command, result.stdout, result.stderr), 0)
  end
  return result
end

--- Calls `condition` until it returns a true value, and returns that; nil when none comes in time.
-- @tparam func condition
-- @tparam[opt] number seconds
function tool.within(condition, seconds)
  local deadline = core.clock.now() + (seconds or tool.DEADLINE)
  repeat
    local late = core.clock.now() > deadline -- the last look is after the deadline, however busy the machine is
    local value = condition()
    if value then
      return value
    end
    core.poll.wait({}, 5)
  until late
  return nil
end

--- As `within`, for an event that must come: raises an error that names the event when it does not.
-- @tparam func condition
-- @tparam[opt] string what
-- @tparam[opt] number seconds
function tool.eventually(condition, what, seconds)
  local value = tool.within(condition, seconds)
  if not value then
    error((what or "this") .. " never came true", 2)
  end
  return value
end

--- Waits until a descriptor is readable or at its end; a pidfd is when its process has ended.
function tool.await_readable(fd, what)
  if not core.poll.wait({ { fd = fd, read = true } }, tool.DEADLINE * 1000) then
    error((what or "that descriptor") .. " has nothing to read", 2)
  end
end

function tool.has(program)
  return tool.line("command -v " .. tool.quote(program)) ~= ""
end

--- Why a test that needs these programs cannot run here, or nil.
function tool.missing(...)
  for _, program in ipairs { ... } do
    if not tool.has(program) then
      return "needs " .. program
    end
  end
  return nil
end

--- The cgroup hierarchies as this process sees them: "v2", or "hybrid" for anything with v1 controllers.
function tool.view()
  return tool.line "stat -f -c %T /sys/fs/cgroup" == "cgroup2fs" and "v2" or "hybrid"
end

--- The runtime that most tests take in this view: crun wants pure v2, runc takes any.
function tool.runtime()
  return tool.view() == "v2" and "crun" or "runc"
end

--- The command line of ctrexec, as shell words. `CTREXEC` names another program to test.
function tool.ctrexec()
  return os.getenv "CTREXEC" or "lua5.4 " .. tool.quote(tool.repository .. "/scripts/ctrexec.lua")
end

return tool
