--- Runs the program under test and the runtimes it is compared with, each with a deadline and a clean environment.

local lfs = require "lfs"

local tool = {}

-- Seconds that a request may take: far more than any does.
local DEADLINE = 20

tool.repository = lfs.currentdir()

tool.build = tool.repository .. "/build"

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

function tool.read(path)
  local file = io.open(path, "rb")
  if not file then
    return nil
  end
  local data = file:read "a"
  file:close()
  return data
end

function tool.write(path, data)
  local file = assert(io.open(path, "wb"))
  assert(file:write(data))
  assert(file:close())
end

--- First line of a command's output, "" when there is none.
function tool.output(command)
  local pipe = assert(io.popen(command .. " 2>/dev/null </dev/null", "r"))
  local line = pipe:read "l"
  pipe:close()
  return line or ""
end

function tool.has(program)
  return tool.output("command -v " .. tool.quote(program)) ~= ""
end

--- The cgroup hierarchies as this process sees them: "v2", or "hybrid" for anything with v1 controllers.
function tool.view()
  return tool.output "stat -f -c %T /sys/fs/cgroup" == "cgroup2fs" and "v2" or "hybrid"
end

--- The command line of ctrexec, as shell words. `CTREXEC` names another program to test.
function tool.ctrexec()
  return os.getenv "CTREXEC" or "lua5.4 " .. tool.quote(tool.repository .. "/scripts/ctrexec.lua")
end

-- What the caller of the tests has in its environment must not matter; a sanitized build needs its options.
local function environment()
  local words = {
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ("LUA_PATH=%s/lua/?.lua;%s/lua/?/init.lua;;"):format(tool.repository, tool.repository),
    ("LUA_CPATH=%s/lua/?.so;;"):format(tool.build),
  }
  for _, name in ipairs { "ASAN_OPTIONS", "UBSAN_OPTIONS" } do
    words[#words + 1] = os.getenv(name) and name .. "=" .. os.getenv(name)
  end
  return tool.quote_all(words)
end

--- Runs shell text in a directory, in a session of its own so that no terminal of the developer is seen. Its standard
-- streams are the files stdin, stdout and stderr of options.files.
-- @treturn number exit status, as the shell gives it: 128+N for a signal
function tool.shell(text, options)
  local files = options.files
  tool.write(files .. "/stdin", options.stdin or "")
  local command = ("cd %s && setsid -w timeout -k 1 %d env -i %s sh -c %s sh %s <%s/stdin >%s/stdout 2>%s/stderr")
    :format(tool.quote(options.directory), options.deadline or DEADLINE, environment(), tool.quote(text),
      options.words or "", files, files, files)
  local start = os.time()
  local _, how, status = os.execute(command)
  if os.time() - start >= (options.deadline or DEADLINE) then
    error("ran past its deadline: " .. command, 0)
  end
  return how == "signal" and 128 + status or status
end

return tool
