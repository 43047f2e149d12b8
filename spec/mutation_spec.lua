-- Whatever a state file, a configuration, a process object or the container itself holds, ctrexec returns a usable
-- result, or nil, a message and a documented code. It never raises a Lua error and never loops for ever.
--
-- SEED=N repeats a run, ITERATIONS=N says how many rounds each property gets, ROUND=N makes it that one only.
local cjson = require "cjson"
local config = require "ctrexec.site.config"
local container = require "ctrexec.container"
local core = require "ctrexec.core"
local failure = require "ctrexec.exec.failure"
local json = require "ctrexec.lib.json"
local kernel = require "ctrexec.lib.kernel"
local listener = require "ctrexec.exec.listener"
local mutate = require "tests.fuzz.mutate"
local pid = require "ctrexec.container.pid"
local plan = require "ctrexec.exec.plan"
local process = require "ctrexec.oci.process"
local support = require "spec.container.support"
local users = require "ctrexec.oci.users"
local validate = require "ctrexec.oci.validate"
local tool = require "tests.lib.tool"

local function setting(name)
  return math.tointeger(tonumber(os.getenv(name) or ""))
end

local SEED = setting "SEED" or os.time()
local ITERATIONS = setting "ITERATIONS" or 400
local ROUND = setting "ROUND"
-- Instructions of the Lua machine: far more than any round needs, and run in some seconds.
local MAX_INSTRUCTIONS = 50000000

local CONTAINER_CODES = { bad_state = true, untrusted = true }
local PROCESS_CODES = { bad_state = true, untrusted = true, invalid = true }
local PLAN_CODES = { invalid = true, stopped = true, system = true }
local CONFIG_CODES = { untrusted = true, invalid = true, system = true }

-- Checks a refusal: its message is one line in ctrexec's own words, short enough for a person to read.
local function refused(message, code, codes)
  assert(type(message) == "string" and message ~= "", "no message")
  assert(codes[code], ("code %s: %s"):format(code, message))
end

-- Calls a function; when it runs for too long it ends as if it had raised an error.
local function limited(f, ...)
  local thread = coroutine.running()
  debug.sethook(thread, function() error("runs for too long", 2) end, "", MAX_INSTRUCTIONS)
  local results = table.pack(xpcall(f, debug.traceback, ...))
  debug.sethook(thread)
  return table.unpack(results, 1, results.n)
end

local function report(name, round, why, shown)
  return ("%s: SEED=%d ROUND=%d\n%s\n%s"):format(name, SEED, round, why, (shown or ""):sub(1, 3000))
end

-- Calls `step` for each round; it returns whether there was a result. `shown()` returns the mutated input. More than
-- one round in fifty must have a result, and more than one in fifty a refusal: rounds that all fail at the same check
-- prove nothing about the code behind it.
local function rounds(name, step, shown)
  local counts = { [true] = 0, [false] = 0 }
  for round = ROUND or 1, ROUND or ITERATIONS do
    math.randomseed(SEED, round)
    local ok, result = limited(step)
    if not ok then error(report(name, round, result, shown()), 0) end
    counts[result] = counts[result] + 1
  end
  print(("%s: %d rounds, %d results, %d refusals"):format(name, counts[true] + counts[false], counts[true],
    counts[false]))
  if ITERATIONS >= 100 and not ROUND then
    local least = ITERATIONS // 50
    assert(counts[true] > least and counts[false] > least, ("%s: SEED=%d: all rounds end alike"):format(name, SEED))
  end
end

local function as_json(value)
  local ok, text = pcall(cjson.encode, value)
  return ok and text or tostring(value)
end

local function read_json(path)
  return cjson.decode(tool.read(path))
end

-- A filter that allows every call, in the form in which crun keeps a compiled profile.
local ALLOW = string.pack("<I2BBI4", 6, 0, 0, 0x7fff0000)

-- Keeps only the last system calls of a profile, which are the ones with arguments: hundreds would take too long.
local function shorten(tree)
  local seccomp = (tree.config or tree.linux or {}).seccomp
  local calls = seccomp and seccomp.syscalls or {}
  if #calls > 8 then seccomp.syscalls = table.move(calls, #calls - 7, #calls, 1, {}) end
end

-- All containers of the fixtures, run by one live process, and the files that their state is in.
local function installed(scratch, living)
  local root, files = scratch .. "/root", {}
  for fixture, state in pairs(support.STATES) do
    local dir, bundle = support.install(fixture, root, fixture)
    support.adopt(dir, living)
    files[#files + 1] = { id = fixture, path = dir .. "/" .. state }
    local place = state == "state.json" and fixture ~= "youki" and bundle or dir
    files[#files + 1] = { id = fixture, path = place .. "/config.json" }
    if fixture == "youki" then files[#files + 1] = { id = fixture, path = dir .. "/youki_config.json" } end
    if state == "status" then
      tool.write(dir .. "/seccomp.bpf", ALLOW)
      files[#files + 1] = { id = fixture, path = dir .. "/seccomp.bpf" }
    end
  end
  table.sort(files, function(a, b) return a.id .. a.path < b.id .. b.path end)
  for _, file in ipairs(files) do file.text = tool.read(file.path) end
  return root, files
end

-- Fields that other containers have and the fixtures lack.
local function enrich(tree)
  local linux, own = tree.linux, tree.config
  if linux then
    linux.personality = { domain = "LINUX32", flags = {} }
    linux.memoryPolicy = { mode = "MPOL_BIND", nodes = "0-1,3", flags = { "MPOL_F_STATIC_NODES" } }
    linux.seccomp.flags, linux.seccomp.listenerPath = { "SECCOMP_FILTER_FLAG_LOG" }, "/run/agent"
    linux.seccomp.listenerMetadata = "meta"
    for name, value in pairs { scheduler = { policy = "SCHED_BATCH", nice = 1 }, oomScoreAdj = 5,
      ioPriority = { class = "IOPRIO_CLASS_BE", priority = 4 }, execCPUAffinity = { initial = "0", final = "0-1" } } do
      tree.process[name] = value
    end
  elseif own and own.namespaces then
    own.personality, own.umask, own.oom_score_adj = { domain = 8 }, 18, 5
    own.memory_policy = { mode = 2, flags = 49152, nodes = { 13, 0 } }
    own.exec_cpu_affinity = { Initial = { 3 }, Final = { 1, 0 } }
    own.scheduler, own.io_priority = { policy = "SCHED_BATCH", nice = 1 }, { class = "IOPRIO_CLASS_BE", priority = 4 }
    own.rlimits = { { type = 7, soft = 1, hard = 2 } }
    own.seccomp.listener_path, own.seccomp.listener_metadata = "/run/agent", "meta"
  end
end

local function mutated_file(file)
  if file.path:find "bpf$" or math.random(4) == 1 then return mutate.text(file.text) end
  local tree = cjson.decode(file.text)
  shorten(tree)
  if math.random(2) == 1 then enrich(tree) end
  mutate.tree(tree)
  return mutate.encode(tree)
end

local function check_plan(target)
  assert(#target.args > 0 and type(target.cwd) == "string" and type(target.env) == "table")
  assert(math.type(target.namespaces) == "integer" and math.type(target.uid) == "integer")
  local filter = target.seccomp
  assert(not filter or #filter > 0 and #filter % 8 == 0 and #filter <= 8 * 4096, "not a BPF program")
  for _, name in ipairs { "bounding", "effective", "permitted", "inheritable", "ambient" } do
    assert(math.type(target[name]) == "integer")
  end
end

-- Whether there is a plan for a process object.
local function has_plan(record, object, options)
  local target, message, code = plan.build(record, object, options)
  if not target then
    refused(message, code, PLAN_CODES)
    return false
  end
  plan.close(target)
  check_plan(target)
  return true
end

-- Makes the plan of a plain command in a container, and returns whether there is one.
local function to_plan(record)
  local object, warnings, code = process.build(record, { "true" })
  if not object then
    refused(warnings, code, PROCESS_CODES)
    return false
  end
  -- the cgroups of the fixtures are not on this machine
  return has_plan(record, object, { warnings = warnings, cgroup_paths = math.random(4) > 1 and {} or nil })
end

local function use(record)
  assert.is_table(record.labels)
  assert.is_table(record.settings)
  assert(({ created = true, running = true, paused = true, stopped = true })[record.status])
  for _, path in pairs(record.cgroup_paths) do assert.equal("/", path:sub(1, 1)) end
  local found, message, code = record:process()
  if not found then refused(message, code, CONTAINER_CODES) end
  local profile = record.settings.seccomp
  if profile then
    listener.state(record, 1, profile.listenerMetadata)
    if profile.listenerPath then core.fdpass.connect(profile.listenerPath .. "/none", 1) end
  end
  local planned = record.pidfd and to_plan(record)
  record:refresh()
  record:close()
  return planned or false
end

local selinux_enabled = validate.selinux_enabled

-- The labels of the fixtures are of machines that have it.
setup(function()
  validate.selinux_enabled = function() return true end
end)

teardown(function() validate.selinux_enabled = selinux_enabled end)

describe("a mutated container", function()
  it("is a record with a plan, or a clear refusal", function()
    local scratch, living = tool.folder(), support.process()
    finally(function()
      living.stop()
      tool.remove(scratch)
    end)
    local root, files = installed(scratch, living)
    local file, text
    rounds("containers", function()
      file = files[math.random(#files)]
      text = mutated_file(file)
      tool.write(file.path, text)
      local record, message, code = container.open(file.id, { root = root })
      local planned = false
      if record then
        planned = use(record)
      else
        refused(message, code, CONTAINER_CODES)
        assert.is_nil(message:find "%c")
      end
      tool.write(file.path, file.text)
      return planned
    end, function() return file.path .. "\n" .. text end)
  end)
end)

-- A process object that has every field, beside those that runtimes wrote.
local WHOLE = {
  terminal = true, consoleSize = { height = 24, width = 80 }, cwd = "/", args = { "sh", "-c", "true" },
  user = { uid = 1, gid = 2, umask = 18, additionalGids = { 3, 4 } }, env = { "PATH=/bin", "A=1" },
  capabilities = { bounding = { "CAP_CHOWN" }, effective = { "CAP_CHOWN" }, inheritable = { "CAP_KILL" },
    permitted = { "CAP_CHOWN", "CAP_KILL" }, ambient = { "CAP_KILL" } },
  rlimits = { { type = "RLIMIT_NOFILE", soft = 10, hard = 20 }, { type = "RLIMIT_CORE", soft = 0, hard = 2.0 ^ 64 } },
  apparmorProfile = "web", oomScoreAdj = 10, selinuxLabel = "", noNewPrivileges = true,
  scheduler = { policy = "SCHED_DEADLINE", nice = 1, flags = { "SCHED_FLAG_RESET_ON_FORK" }, runtime = 1, deadline = 2,
    period = 3 },
  ioPriority = { class = "IOPRIO_CLASS_BE", priority = 4 }, execCPUAffinity = { initial = "0-1", final = "0,2-3" },
}

local function processes()
  local list = { WHOLE }
  for _, name in ipairs { "bundle", "crun-1.27-v2-userns/web", "youki/web" } do
    list[#list + 1] = read_json(("%s/%s/config.json"):format(support.FIXTURES, name)).process
  end
  return list
end

local function check_process(object)
  assert(math.type(object.user.uid) == "integer" and math.type(object.user.gid) == "integer")
  assert(type(object.terminal) == "boolean" and type(object.noNewPrivileges) == "boolean")
  for _, name in ipairs { "args", "env" } do
    for _, text in ipairs(object[name]) do assert(type(text) == "string" and not text:find "\0") end
  end
  for _, limit in ipairs(object.rlimits or {}) do
    assert(math.type(limit.soft) == "integer" or limit.soft == kernel.RLIM_INFINITY)
  end
end

-- A container whose process is this one, for plans.
local function own_record(settings, defaults)
  local own = core.process.ids().pid
  return { id = "web", runtime = "runc", pid = own, pidfd = assert(core.pidfd.open(own)), cgroup_paths = {},
    settings = settings, process = function() return defaults end }
end

-- A mutated process object, as JSON gave it or as a program made it.
local function mutated_process(documents)
  local text = cjson.encode(documents[math.random(#documents)])
  if math.random(2) == 1 then
    return json.decode(mutate.json(text), "process.json")
  end
  local tree = cjson.decode(text)
  mutate.value(tree)
  return tree
end

describe("a mutated process object", function()
  it("is checked and planned, or refused", function()
    local documents, object = processes(), nil
    for _, document in ipairs(documents) do assert(process.validate(document)) end
    rounds("process objects", function()
      object = mutated_process(documents)
      local runtime = ({ "runc", "crun", "pid" })[math.random(3)]
      local ok, copy, warnings = process.validate(object or {}, { runtime = runtime })
      if not ok then
        refused(copy, warnings, { invalid = true })
        return false
      end
      check_process(copy)
      for _, warning in ipairs(warnings) do assert.is_string(warning.message) end
      local record = own_record {}
      local good = has_plan(record, copy, { warnings = warnings })
      record.pidfd:close()
      return good
    end, function() return as_json(object) end)
  end)
end)

-- The fields of the public spec that a program may set, besides those of the process object.
local SPECS = {
  { "true" },
  { "id", "-u", user = "33:34", cwd = "/tmp", env = { "A=1", B = "2" }, additional_gids = { 5, "6" },
    caps = { "CAP_CHOWN" }, no_new_privs = true, terminal = false },
  { args = { "id" }, user = { uid = 1, additionalGids = { 2 } }, env = { A = "1" },
    rlimits = { { type = "RLIMIT_CORE", soft = 1, hard = 2 } }, capabilities = { bounding = { "CAP_KILL" } } },
  { process = { args = { "id" }, cwd = "/", user = { uid = 1, gid = 2 }, env = { "A=1" } } },
}

describe("a mutated spec", function()
  it("is a process object, or is refused", function()
    local documents, spec, defaults = processes(), nil, nil
    rounds("specs", function()
      spec = mutate.copy(SPECS[math.random(#SPECS)])
      defaults = mutate.copy(documents[math.random(#documents)])
      if math.random(2) == 1 then mutate.value(spec) else mutate.value(defaults) end
      local settings = { capabilities = defaults.capabilities, rlimits = defaults.rlimits, umask = 18 }
      local runtime = ({ "runc", "crun", "youki", "pid" })[math.random(4)]
      local object, message, code = process.build({ runtime = runtime, settings = settings,
        process = function() return defaults end }, spec)
      if not object then
        refused(message, code, { invalid = true })
        return false
      end
      check_process(object)
      return true
    end, function() return as_json(spec) .. "\n" .. as_json(defaults) end)
  end)
end)

local CONFIG = {
  roots = { "/run/x" }, policy_directories = { "/etc/p" }, runtime = "/usr/sbin/runc", module_directory = "/etc/m",
  audit = { file = "/var/log/x", syslog = true, journald = false, required = false, redact = { "a(b)" },
    command = false },
  limits = { policy_time = 0.5, policy_memory = 1e6, exec_timeout = 60 },
}

-- A value as Lua source.
local function source(value)
  if type(value) == "string" then return ("%q"):format(value) end
  if value ~= value then return "(0/0)" end
  if type(value) == "number" then return ("%q"):format(value) end
  if type(value) ~= "table" then return tostring(value):gsub("[^%w]", "_") end
  local parts = {}
  for key, item in pairs(value) do
    if item == value then item = 0 end
    parts[#parts + 1] = ("[%s] = %s"):format(source(key), (source(item)))
  end
  table.sort(parts)
  return "{ " .. table.concat(parts, ", ") .. " }"
end

describe("a mutated configuration", function()
  it("is loaded, or is refused", function()
    local scratch = tool.folder()
    finally(function() tool.remove(scratch) end)
    local text
    rounds("configurations", function()
      local tree = mutate.copy(CONFIG)
      mutate.value(tree)
      text = "return " .. source(tree)
      if math.random(4) == 1 then text = mutate.text("return " .. source(CONFIG)) end
      tool.write(scratch .. "/config.lua", text)
      local settings, message, code = config.load(scratch)
      if not settings then
        refused(message, code, CONFIG_CODES)
        return false
      end
      assert(type(settings.roots) == "table" and settings.limits.policy_time > 0)
      return true
    end, function() return text end)
  end)
end)

describe("a mutated JSON text", function()
  it("is an object, or one line that says why not", function()
    local texts, text = {}, nil
    for index, object in ipairs(processes()) do texts[index] = cjson.encode(object) end
    rounds("texts", function()
      text = mutate.json(texts[math.random(#texts)])
      local tree, message = json.decode(text, "file.json", math.random(2) == 1)
      if tree then return true end
      assert(type(message) == "string" and not message:find "\n", message)
      return false
    end, function() return text end)
  end)
end)

-- Its pipe is in the reach of a container that may trace: any message can come that core/common/message.c lets pass.
describe("a forged report of the helper", function()
  local STEPS = { "plan", "oom_score_adj", "login_uid", "label", "key_label", "rlimit", "affinity", "tasks", "cgroup",
    "clone", "namespace", "become_root", "session", "keyring", "mount", "terminal", "scheduler", "close", "cwd",
    "cwd_outside", "no_new_privs", "seccomp", "bounding", "groups", "gid", "uid", "capabilities", "ambient", "read",
    "lookup", "exec" }
  local DETAILS = { "", "/bin/true", "open /dev/pts/ptmx", "%s%d", ("x"):rep(119), "\xff" }

  it("is told in words", function()
    local event
    local targets = {
      { args = { "true" }, cwd = "/", tasks = {}, task_paths = {} },
      { args = { "/bin/true" }, cwd = "/", tasks = {}, task_paths = { "/sys/fs/cgroup/cpu/x" }, cgroup_path = "/c",
        exec_label = "exec web", exec_attribute = "exec" },
    }
    rounds("reports", function()
      event = { event = "error", step = STEPS[math.random(#STEPS)], errno = math.random(0, 140), pid = 12,
        value = ({ 0, 1, 2, 3, 7, -1, 2147483647, -2147483648 })[math.random(8)],
        message = ({ "No such file or directory", "Permission denied", "Unknown error 4711", "" })[math.random(4)],
        detail = DETAILS[math.random(#DETAILS)] }
      local message, code = failure.describe(event, targets[math.random(2)], math.random(0, 1))
      assert(type(message) == "string" and type(code) == "string")
      return code == "system"
    end, function() return as_json(event) end)
  end)
end)

describe("a mutated text of the container or of /proc", function()
  local PASSWD = "root:x:0:0:root:/root:/bin/sh\nbin:x:1:1::/bin\nweb:x:1000:1000:Web,,,:/srv/web:/bin/false\n"
  local GROUP = "root:x:0:\nadm:x:4:web,bin\nweb:x:1000:web\n"
  local LIMITS = "Limit  Soft Limit  Hard Limit  Units\nMax cpu time              unlimited            unlimited    "
    .. "  seconds\nMax open files            1024                 4096                 files\n"
  local MAP = "         0     100000      65536\n     65536          7          1\n"

  it("is read as far as it goes", function()
    local text
    rounds("texts of a container", function()
      text = mutate.text(mutate.text(PASSWD))
      local entry = users.user(text, "web")
      assert(not entry or math.type(entry.uid) == "integer" and entry.name == "web")
      users.user_by_id(text, 1000)
      text = mutate.text(mutate.text(GROUP))
      for _, gid in ipairs(users.groups_of(text, "web", 1000)) do assert.equal("integer", math.type(gid)) end
      text = mutate.text(LIMITS)
      for _, limit in ipairs(pid.rlimits(text)) do assert.is_string(limit.type) end
      text = mutate.text(MAP)
      for _, mapping in ipairs(pid.mappings(text)) do assert.equal("integer", math.type(mapping.size)) end
      pid.inside(1000, pid.mappings(text))
      return entry ~= nil
    end, function() return text end)
  end)
end)
