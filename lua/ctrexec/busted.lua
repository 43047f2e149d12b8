--- For test suites: assertions about commands run in a container, and a throw-away busybox container to run them in.
--
--     local fixture = require "ctrexec.busted"
--     local ct = fixture.container { runtime = "runc" }
--     assert.exec_outputs(ct, { "echo", "hello" }, "hello")
--     ct:remove()
--
-- Loading the module registers these luassert assertions; each takes a fixture or what `ctrexec.open` returns, and an
-- argument list or any spec that `container:exec` takes. They return the result of `container:exec`.
--
-- - `assert.exec_ok(ct, argv)`: the command ran and exited with status 0.
-- - `assert.exec_outputs(ct, argv, expected)`: as `exec_ok`, and its standard output is `expected` (a final newline
--   does not count), or matches it when `expected` is `{ pattern = "a Lua pattern" }`.
-- - `assert.exec_denied(ct, argv[, reason])`: a policy refused it, for a reason that contains the given text.
--
-- Needs root, util-linux and coreutils (`timeout`), a static busybox, and runc or crun.
-- @module ctrexec.busted

if _VERSION ~= "Lua 5.4" then
  error(('ctrexec.busted needs Lua 5.4, not %s: start it with lua5.4 "$(command -v busted)"'):format(_VERSION), 0)
end

local cjson = require "cjson"
local fields = require "ctrexec.exec.fields"
local late = require "ctrexec.lib.late"
local lfs = require "lfs"
local luassert = require "luassert"
local say = require "say"
local schema = require "ctrexec.lib.schema"
local ctrexec = late "ctrexec" -- making and removing a container does not need it

local fixture = {}

-- Put before every command of a fixture: it ends the command in time, so that a broken runtime cannot hang the tests.
local DEADLINE = "timeout -k 1 30 "
local PREFIX = "ctrexec-fixture."

local function quote(text)
  return "'" .. tostring(text):gsub("'", "'\\''") .. "'"
end

local function quote_all(words)
  local quoted = {}
  for i, word in ipairs(words) do
    quoted[i] = quote(word)
  end
  return table.concat(quoted, " ")
end

local function read_file(path)
  local file, message = io.open(path, "rb")
  if not file then
    return nil, message
  end
  local data = file:read "a"
  file:close()
  return data
end

local function write_file(path, data)
  local file = assert(io.open(path, "wb"))
  assert(file:write(data))
  assert(file:close())
end

local function capture(command)
  local pipe = assert(io.popen(command .. " 2>/dev/null </dev/null", "r"))
  local output = pipe:read "a"
  pipe:close()
  return (output:gsub("\n$", ""))
end

-- Output goes through a file, because a process that runs on in a container would hold a pipe open.
local function run(command, log)
  local ok, how, status = os.execute(DEADLINE .. command .. " </dev/null >" .. quote(log) .. " 2>&1")
  if ok then
    return true
  end
  local output = (read_file(log) or ""):gsub("%s+$", "")
  return nil, ("%s (%s %d): %s"):format(command, how, status, output)
end

-- A process is identified by its pid together with its start time (field 22 of proc_pid_stat(5)).
local function process_identity(pid)
  local stat = read_file("/proc/" .. pid .. "/stat")
  if not stat then
    return nil
  end
  local words = {}
  for word in stat:match("^.*%) (.*)$"):gmatch "%S+" do
    words[#words + 1] = word
  end
  return stat:match "^%d+" .. " " .. words[20]
end

local function runtime_command(runtime, root)
  return quote(runtime) .. " --root " .. quote(root)
end

-- The init of a container as its runtime recorded it, in the form of process_identity.
local function init_identity(root, id)
  for _, entry in ipairs {
    { "/state.json", "init_process_pid", "init_process_start" }, { "/status", "pid", "process-start-time" },
  } do
    local data = read_file(root .. "/" .. id .. entry[1])
    local ok, state = pcall(cjson.decode, data or "")
    if ok and type(state) == "table" and state[entry[2]] then
      return ("%d %d"):format(state[entry[2]], state[entry[3]])
    end
  end
  return nil
end

-- Kills a container's init if it still lives: a runtime that sees other cgroup hierarchies than those in which the
-- container was made deletes the container without killing its init.
local function ensure_dead(identity)
  local pid = identity:match "^%d+"
  for _ = 1, 200 do
    local stat = read_file("/proc/" .. pid .. "/stat")
    if process_identity(pid) ~= identity or not stat or stat:find "%) Z " then
      return true
    end
    os.execute("kill -9 " .. pid .. " 2>/dev/null; sleep 0.02")
  end
  return nil, "process " .. pid .. " does not end"
end

local function delete_container(dir, runtime, id)
  local identity = init_identity(dir .. "/root", id)
  local ok, message = run(runtime_command(runtime, dir .. "/root") .. " delete -f " .. quote(id), dir .. "/delete.log")
  if identity then
    return ensure_dead(identity)
  end
  return ok, message
end

-- Removes every container of a scratch directory, their cgroups, and the directory.
local function dispose(dir, runtime)
  local root, failure = dir .. "/root", nil
  if lfs.attributes(root, "mode") == "directory" then
    for id in lfs.dir(root) do
      if id:sub(1, 1) ~= "." then
        local ok, message = delete_container(dir, runtime, id)
        failure = failure or not ok and message
      end
    end
  end
  -- The runtime does not find all cgroups of a container that was made with other hierarchies mounted: the rest of them
  -- is removed here.
  local cgroup = dir:match "[^/]+$"
  for _, base in ipairs { "/sys/fs/cgroup", "/sys/fs/cgroup/*" } do
    os.execute(("for d in %s/%s; do [ ! -d \"$d\" ] || find \"$d\" -depth -type d -exec rmdir {} + ; done 2>/dev/null")
      :format(base, cgroup))
  end
  if failure then
    return nil, failure
  end
  return run("rm -rf --one-file-system " .. quote(dir), "/dev/null")
end

local function scratch_base()
  return os.getenv "TMPDIR" or "/tmp"
end

-- Names the cgroup hierarchies and the pid namespace that this process sees. Only with the same hierarchies can it
-- remove all of a container, and only in the same pid namespace does it see whether a scratch directory's owner lives.
local function view_of_machine()
  return capture "stat -f -c %T /sys/fs/cgroup" .. "-" .. lfs.attributes("/proc/self/ns/pid", "ino")
end

--- Remove what killed test runs have left: scratch directories whose owner no longer lives, with their containers, if
-- they were made with the same cgroup hierarchies and in the same pid namespace. The first `fixture.container` of a
-- process does this before anything else.
function fixture.reap()
  local base, current_view = scratch_base(), view_of_machine()
  for name in lfs.dir(base) do
    local dir = base .. "/" .. name
    local owner = name:sub(1, #PREFIX) == PREFIX and read_file(dir .. "/owner")
    local pid, start_time, view, runtime = (owner or ""):match "^(%d+) (%d+) (%S+) ([^\n]+)\n$"
    if pid and view == current_view and process_identity(pid) ~= pid .. " " .. start_time then
      dispose(dir, runtime)
    end
  end
end

local container = {}
container.__index = container
container.__name = "ctrexec.fixture"

-- The busybox root file system: one program, a link per applet, and the few files that every image has.
local function make_rootfs(rootfs, busybox)
  for _, path in ipairs { "", "/bin", "/dev", "/etc", "/proc", "/root", "/sys", "/tmp", "/work" } do
    assert(lfs.mkdir(rootfs .. path))
  end
  assert(run("cp " .. quote(busybox) .. " " .. quote(rootfs .. "/bin/busybox"), "/dev/null"))
  for applet in capture(quote(busybox) .. " --list"):gmatch "%S+" do
    if applet ~= "busybox" then
      assert(lfs.link("busybox", rootfs .. "/bin/" .. applet, true))
    end
  end
  write_file(rootfs .. "/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000:Alice:/work:/bin/sh\n")
  write_file(rootfs .. "/etc/group", "root:x:0:\nadm:x:4:alice\nalice:x:1000:\n")
end

local function make_config(self, options)
  assert(run("sh -c " .. quote("cd " .. quote(self.bundle) .. " && " .. quote(self.runtime) .. " spec"),
    self.dir .. "/spec.log"))
  local config = cjson.decode(assert(read_file(self.bundle .. "/config.json")))
  local process = config.process
  process.terminal = false
  process.args = options.args or { "sleep", "1000000" }
  -- Ambient capabilities without inheritable ones only make the runtime warn; an open-file limit above what this
  -- process may grant would make it fail.
  process.capabilities.ambient = nil
  process.capabilities.inheritable = nil
  process.rlimits = nil
  config.root = { path = "rootfs", readonly = false }
  config.linux.resources = nil
  config.linux.cgroupsPath = "/" .. self.dir:match "[^/]+$"
  if options.config then
    options.config(config, self)
  end
  write_file(self.bundle .. "/config.json", cjson.encode(config))
end

local reaped = false

local OPTIONS = schema.object({
  runtime = schema.string, id = schema.string, busybox = schema.string, args = schema.array(schema.string),
  files = schema.map(schema.any), config = schema.func, rootfs = schema.func, flags = schema.array(schema.string),
  created = schema.boolean,
}, { unknown = "refuse" })

--- Make and start a container.
-- @tparam[opt] table options
--
-- - `runtime`: "runc" (the default), "crun", or a path of either;
-- - `id`: its name (default: "ct");
-- - `busybox`: path of a static busybox (default: the one on PATH);
-- - `args`: what its init runs (default: a long sleep);
-- - `files`: map of a path in the container to its content;
-- - `config`: function (config, ct) that may change the OCI configuration before the start;
-- - `rootfs`: function (path, ct) that may change the root file system before the start;
-- - `flags`: list of further arguments of `RUNTIME run`;
-- - `created`: true to stop after `RUNTIME create`.
-- @treturn table the fixture: `id`, `root`, `bundle`, `rootfs`, `runtime`, `pid` (of its init, on the host), `dir`
-- (scratch, removed with it), and the methods below
-- @raise when the container cannot be made, with what the runtime said; for an unknown option
function fixture.container(options)
  options = schema.demand(OPTIONS, options or {}, "fixture", 2)
  if not reaped then
    reaped = true
    fixture.reap()
  end
  local busybox = options.busybox or capture "command -v busybox"
  if busybox == "" then
    error("fixture: no busybox on PATH (Debian: busybox-static)", 2)
  end
  local self = setmetatable({ runtime = options.runtime or "runc", id = options.id or "ct" }, container)
  self.dir = capture("mktemp -d " .. quote(scratch_base() .. "/" .. PREFIX .. "XXXXXX"))
  if self.dir == "" then
    error("fixture: no scratch directory could be made in " .. scratch_base(), 2)
  end
  self.root, self.bundle = self.dir .. "/root", self.dir .. "/bundle"
  self.rootfs = self.bundle .. "/rootfs"
  write_file(self.dir .. "/owner", ("%s %s %s\n"):format(process_identity "self", view_of_machine(), self.runtime))
  local ok, message = pcall(function ()
    -- In a user namespace the container's root is another user of the host, who must reach the root file system.
    assert(run("chmod 0755 " .. quote(self.dir), "/dev/null"))
    assert(lfs.mkdir(self.root))
    assert(lfs.mkdir(self.bundle))
    make_rootfs(self.rootfs, busybox)
    for path, data in pairs(options.files or {}) do
      write_file(self.rootfs .. path, data)
    end
    if options.rootfs then
      options.rootfs(self.rootfs, self)
    end
    make_config(self, options)
    local command = options.created and "create" or "run --detach"
    assert(run(("%s %s %s --bundle %s %s"):format(runtime_command(self.runtime, self.root), command,
      quote_all(options.flags or {}), quote(self.bundle), quote(self.id)), self.dir .. "/start.log"))
    self.pid = math.tointeger((assert(init_identity(self.root, self.id)):match "^%d+"))
  end)
  if not ok then
    self:remove()
    error("fixture: " .. tostring(message), 2)
  end
  return self
end

--- Run another command of the runtime on the container: `ct:run_runtime("pause")`.
-- @tparam string command a subcommand that takes the id
-- @param ... further arguments, after the id
-- @treturn boolean|nil true, or nil and what went wrong
function container:run_runtime(command, ...)
  return run(("%s %s %s %s"):format(runtime_command(self.runtime, self.root), command, quote(self.id),
    quote_all { ... }), self.dir .. "/runtime.log")
end

--- The container as the public module opens it; opened at the first use.
-- @treturn table what `ctrexec.open` returns
-- @raise when it cannot be opened
function container:open()
  if not self.handle then
    self.handle = assert(ctrexec.open(self.id, { root = self.root }))
  end
  return self.handle
end

--- Run a command and wait for it: `container:exec` of the public module.
-- @tparam table spec an argument list, or any spec that the module takes
-- @treturn table|nil its result, or nil, message, code
function container:exec(spec)
  return self:open():exec(spec)
end

--- Start a command: `container:spawn` of the public module.
-- @tparam table spec an argument list, or any spec that the module takes
-- @treturn table|nil the process, or nil, message, code
function container:spawn(spec)
  return self:open():spawn(spec)
end

--- Kill and remove the container and its scratch directory. A second call does nothing.
-- @treturn boolean|nil true, or nil and what went wrong
function container:remove()
  if self.removed then
    return true
  end
  if self.handle and self.handle.close then
    self.handle:close()
  end
  local ok, message = dispose(self.dir, self.runtime)
  self.removed = ok or false
  return ok, message
end

container.__gc = container.remove
container.__close = container.remove

local function indent(text)
  if text == nil or text == "" then
    return " (empty)"
  end
  return "\n    " .. text:gsub("\n$", ""):gsub("\n", "\n    ")
end

local function describe_command(spec)
  local words = {}
  for i, word in ipairs(spec.args or spec.process and spec.process.args or spec) do
    word = tostring(word)
    words[i] = word:find "^[%w%p]+$" and not word:find "['\"`\\$*?;|&<>()]" and word or quote(word)
  end
  return table.concat(words, " ")
end

-- The message of a failed assertion: what a person needs to understand the failure without a second run.
local function describe(ct, spec, result, message, code)
  local lines = { ("container %s: %s"):format(ct.id or "?", describe_command(spec)) }
  if result then
    lines[2] = "  exit status: " .. tostring(result.code) .. (result.timed_out and " (ended by its timeout)" or "")
    lines[3] = "  stdout:" .. indent(result.stdout)
    lines[4] = "  stderr:" .. indent(result.stderr)
  else
    lines[2] = ("  not started (%s): %s"):format(tostring(code), tostring(message))
  end
  return table.concat(lines, "\n")
end

-- Runs the command of an assertion. `level` is the call level of the test, as luassert gives it to the assertion that
-- calls this function.
local function exec(state, arguments, level)
  local ct, spec = arguments[1], arguments[2]
  fields.demand(spec, "exec", { policies = true }, level + 2)
  local result, message, code = ct:exec(spec)
  rawset(state, "failure_message", describe(ct, spec, result, message, code))
  arguments.nofmt = { true, true, true }
  return result, message, code
end

local function exec_ok(state, arguments, level)
  local result = exec(state, arguments, level)
  return result ~= nil and result.code == 0, { result }
end

local function exec_outputs(state, arguments, level)
  local expected = arguments[3]
  if type(expected) ~= "string" and type((type(expected) == "table" and expected or {}).pattern) ~= "string" then
    error("exec_outputs: expected a string or { pattern = STRING } as its third argument, got a " .. type(expected), 0)
  end
  local result = exec(state, arguments, level)
  local output = result and result.stdout or ""
  local matches
  if type(expected) == "table" then
    matches = output:find(expected.pattern) ~= nil
    rawset(state, "failure_message", state.failure_message .. "\n  expected pattern: " .. expected.pattern)
  else
    matches = output:gsub("\n$", "") == expected:gsub("\n$", "")
    rawset(state, "failure_message", state.failure_message .. "\n  expected stdout:" .. indent(expected))
  end
  return result ~= nil and result.code == 0 and matches, { result }
end

local function exec_denied(state, arguments, level)
  local result, message, code = exec(state, arguments, level)
  local reason = arguments[3]
  if reason then
    rawset(state, "failure_message", state.failure_message .. "\n  expected reason: " .. reason)
  end
  local denied = result == nil and code == "denied"
  return denied and (not reason or tostring(message):find(reason, 1, true) ~= nil), { message }
end

local function register()
  for name, entry in pairs {
    exec_ok = { exec_ok, "expected the command to succeed", "expected the command to fail" },
    exec_outputs = { exec_outputs, "expected that output, and status 0", "expected another output, or failure" },
    exec_denied = { exec_denied, "expected a policy to deny the command", "expected no policy to deny the command" },
  } do
    local positive, negative = "assertion." .. name .. ".positive", "assertion." .. name .. ".negative"
    say:set(positive, entry[2])
    say:set(negative, entry[3])
    luassert:register("assertion", name, entry[1], positive, negative)
  end
end

register()

return fixture
