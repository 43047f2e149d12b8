--- Runs inside the sandbox process (core/sandbox.c): compiles the policies and answers the parent's requests.
--
-- It gets the policies' sources and the functions of the sandbox, and nothing else of ctrexec. The parent does not
-- trust its replies: it checks every process object in them as it checks user input.
-- @module ctrexec.policy.worker
local argument, host = ...

-- Locals, so that this code does not depend on globals or library tables that a policy could reach.
local rawget, rawset, next, type, pcall, select = rawget, rawset, next, type, pcall, select
local error, tostring, ipairs, setmetatable, getmetatable = error, tostring, ipairs, setmetatable, getmetatable
local load, math_type = load, math.type
local format, sub, find, gsub, byte = string.format, string.sub, string.find, string.gsub, string.byte

local MAX_REASON, MAX_WARNINGS = 4096, 100
local DENIED = setmetatable({}, { __metatable = false, __newindex = function() error("deny: read only", 2) end })

-- The policy that is running: its denial, its warnings, its globals.
local current

local pristine = { string = string, table = table, math = math, utf8 = utf8, coroutine = coroutine, io = io, os = os }

-- All policies share these metatables, so they are locked: a policy that changes `getmetatable("").__index` would
-- change the strings of the next policy.
local string_metatable = getmetatable ""
string_metatable.__metatable = false
getmetatable(io.stdout).__metatable = false

-- A reason ends up in one log line.
local function one_line(text)
  text = #text > MAX_REASON and sub(text, 1, MAX_REASON) .. "..." or text
  return (gsub(text, "%c", function(char) return format("\\x%02x", byte(char)) end))
end

-- Only strings and numbers are shown: tostring on a thrown table would call the policy's own __tostring.
local function message_of(failure)
  local kind = type(failure)
  if kind == "string" or kind == "number" then return one_line(tostring(failure)) end
  return "the error is a " .. kind .. ", not a message"
end

local function warning(text, level)
  local list = current.warnings
  if #list < MAX_WARNINGS then
    list[#list + 1] = { policy = current.name, message = one_line(text), level = level or "warning" }
  end
end

-- A denial counts as soon as `deny` is called: a forgotten `return`, or a pcall around it, must not let the exec
-- through.
local function deny(reason)
  if current.denial == nil then
    current.denial = type(reason) == "string" and reason ~= "" and one_line(reason) or "no reason given"
  end
  return DENIED
end

-- True while a policy waits for an answer. When it is still true after the policy has ended, the policy broke off its
-- question, and the answer would reach the next policy.
local asking = false

-- Whether the files are still being loaded; and the first job, where a question during the loading had to wait for it.
local loading, first_job = true, nil

local function ask(what)
  asking = true
  -- The parent answers only after it has sent a job; the wait for that job does not count as the policy's time.
  if loading and not first_job then
    current.exceeded = host.finish()
    first_job = host.receive()
    host.begin(current.index)
  end
  host.send { need = what }
  local answer = host.receive()
  asking = false
  return answer
end

-- The view of a request that policies get: the chunk of `ctrexec.policy.view`.
local view = load(argument.view, "=view", "b")(ask)

-- The globals of a policy.

-- A finalizer (__gc) could run while another policy runs, and count as that policy's.
local function safe_setmetatable(object, metatable)
  if type(metatable) == "table" and rawget(metatable, "__gc") ~= nil then
    error("__gc is not available to a policy", 2)
  end
  return setmetatable(object, metatable)
end

local COLLECT = { count = true, collect = true, step = true }
local function safe_collectgarbage(option, ...)
  option = option or "collect"
  if not COLLECT[option] then error(format("collectgarbage %q is not available to a policy", tostring(option)), 2) end
  return collectgarbage(option, ...)
end

-- load, loadfile and dofile of a policy. They take source only, because a binary chunk can crash the interpreter, and
-- run it with the policy's own globals where no environment is given.
local function loader(globals)
  local function checked_load(chunk, name, _, ...)
    if select("#", ...) > 0 then return load(chunk, name, "t", (...)) end
    return load(chunk, name, "t", globals)
  end
  local function checked_loadfile(path, _, ...)
    local file, problem = io.open(path)
    if not file then return nil, problem end
    local text = file:read "a"
    file:close()
    if not text then return nil, "cannot read " .. path end
    return checked_load(text, "@" .. path, "t", ...)
  end
  local function checked_dofile(path)
    local chunk, problem = checked_loadfile(path)
    if not chunk then error(problem, 2) end
    return chunk()
  end
  return checked_load, checked_loadfile, checked_dofile
end

local function no_exit()
  error("os.exit is not available to a policy", 2)
end

local function copy(source)
  local result = {}
  for name, value in next, source do result[name] = value end
  return result
end

local function requirer(globals, folder)
  local loaded = {}
  return function(name)
    if type(name) ~= "string" then error("require: a module's name is expected", 2) end
    if pristine[name] then return globals[name] end
    if loaded[name] == nil then
      local answer = ask("module:" .. folder .. ":" .. name)
      if type(answer) ~= "table" or not answer.source then
        error(format("module %q not found%s", name, answer and answer.problem and ": " .. answer.problem or ""), 2)
      end
      local chunk, problem = load(answer.source, "@" .. answer.path, "t", globals)
      if not chunk then error(problem, 2) end
      local value = chunk(name)
      loaded[name] = value == nil and true or value
    end
    return loaded[name]
  end
end

local BASE = { "assert", "error", "getmetatable", "ipairs", "next", "pairs", "pcall", "rawequal", "rawget", "rawlen",
  "rawset", "select", "tonumber", "tostring", "type", "xpcall", "_VERSION" }
local base = {}
for _, name in ipairs(BASE) do base[name] = _G[name] end

local function print_as_debug(...)
  local words = table.pack(...)
  for index = 1, words.n do words[index] = tostring(words[index]) end
  warning(table.concat(words, "\t"), "debug")
end

-- Each policy gets copies of the libraries, so that its changes to them do not reach other policies.
local function new_globals(policy)
  local globals = copy(base)
  for name, library in next, pristine do globals[name] = copy(library) end
  globals._G, globals.os.exit, policy.strings = globals, no_exit, globals.string
  globals.deny, globals.print, globals.setmetatable = deny, print_as_debug, safe_setmetatable
  globals.warn = function(text) warning(type(text) == "string" and text or message_of(text)) end
  globals.collectgarbage = safe_collectgarbage
  globals.load, globals.loadfile, globals.dofile = loader(globals)
  globals.require = requirer(globals, policy.folder or "")
  return globals
end

local stdin, stdout = io.stdin, io.stdout

local function enter(policy)
  current = policy
  string_metatable.__index = policy.strings
  host.begin(policy.index)
end

-- Also undoes what a policy may have set for the whole Lua state: default files and locale.
local function leave()
  local exceeded = host.finish() or current.exceeded
  string_metatable.__index = pristine.string
  pristine.io.input(stdin)
  pristine.io.output(stdout)
  pristine.os.setlocale "C"
  return exceeded
end

-- The results of pcall, of which there may be more than one. A table for them would want memory that may be used up.
local function outcome_of(ok, result, ...)
  return ok, result, select("#", ...) > 0
end

-- Runs code of a policy within its limits. Returns true, the code's first result and whether there is another, or false
-- and a message. A question that the policy broke off ends this process here, where the parent still blames the policy
-- for it.
local function limited(policy, code, ...)
  enter(policy)
  local ok, result, more = outcome_of(pcall(code, ...))
  if asking then error "a question was broken off" end
  if leave() then return false, format("more than %d MiB of memory", argument.memory_mib) end
  if not ok then return false, message_of(result) end
  return true, result, more
end

local FIELDS = { name = "string", description = "string", check = "function", audit = "function" }

local function fault_of(definition)
  if type(definition) ~= "table" then
    return format("the file must return a table, not %s", definition == nil and "nothing" or "a " .. type(definition))
  end
  for key, value in next, definition do
    local expected = FIELDS[key]
    if not expected then return "unknown field " .. message_of(key) end
    if type(value) ~= expected then return format("%s must be a %s, not a %s", key, expected, type(value)) end
  end
  if not rawget(definition, "check") and not rawget(definition, "audit") then return "neither check nor audit" end
  local name = rawget(definition, "name")
  if name and (name == "" or #name > 128 or find(name, "%c")) then
    return "name must be 1 to 128 printable characters"
  end
end

local function compile(policy)
  local chunk, problem = load(policy.source, "=" .. policy.name, "t", policy.globals)
  policy.source = nil
  if not chunk then return nil, one_line(problem) end
  return chunk
end

local function load_policy(policy)
  policy.globals, policy.warnings = new_globals(policy), {}
  local chunk, problem = compile(policy)
  if not chunk then return problem end
  local ok, definition = limited(policy, chunk)
  if not ok then return definition end
  problem = policy.denial and "deny was called while the file was loaded" or fault_of(definition)
  if problem then return problem end
  policy.name = rawget(definition, "name") or policy.name
  policy.check, policy.audit = rawget(definition, "check"), rawget(definition, "audit")
end

-- A request on its way.

-- A second result is most likely a reason, after a nil: what was meant to deny must not let the exec through.
local function verdict(policy, ok, result, more)
  if policy.denial then return policy.denial end
  if not ok then return result end
  if more then return "check returned a second value: it must return nothing, or deny a reason" end
  if result ~= nil and result ~= DENIED then
    return format("check returned a %s: it must return nothing, or deny a reason", type(result))
  end
end

-- The state of a request between two policies: `tables`, which the next policy gets, and `packed`, the same as a
-- string. A policy that changes nothing leaves the tables to the next one, which saves making new ones.
local function new_state(tables)
  return { packed = host.pack(tables), tables = tables }
end

local function equal(one, other)
  if type(one) ~= "table" or type(other) ~= "table" then return one == other and math_type(one) == math_type(other) end
  for key, value in next, one do
    if not equal(value, other[key]) then return false end
  end
  for key in next, other do
    if one[key] == nil then return false end
  end
  return true
end

local function field(value, name)
  if type(value) == "table" then return rawget(value, name) end
end

-- A policy may replace options.audit, but cannot remove its `reason`, which the caller or an earlier policy gave.
local function keep_reason(options, before)
  local reason = field(field(before, "audit"), "reason")
  if reason == nil or type(options) ~= "table" then return end
  local audit = rawget(options, "audit")
  if audit == nil then
    rawset(options, "audit", { reason = reason })
  elseif type(audit) == "table" and rawget(audit, "reason") == nil then
    rawset(audit, "reason", reason)
  end
end

-- Runs the check of one policy. Each policy that follows a change gets new tables, so that no metatable or reference
-- that the earlier policy left in them reaches it. Returns a reason to deny; or nil, the state after the policy, and
-- whether the policy changed it.
local function run_check(policy, state)
  local tables = state.tables
  local request = view.request(tables.process, tables.options)
  policy.denial = nil
  local reason = verdict(policy, limited(policy, policy.check, request))
  if reason then return reason end
  tables.process, tables.options = rawget(request, "process"), rawget(request, "options")
  if host.untouched(tables, state.packed) then return nil, state, false end
  keep_reason(tables.options, host.unpack(state.packed).options)
  local packed, problem = host.pack(tables)
  if not packed then return "request" .. problem end
  local after = new_state(host.unpack(packed))
  return nil, after, not equal(after.tables, host.unpack(state.packed))
end

-- Whether any policy has an `audit` function.
local hooks = false

local function check(job)
  local warnings, snapshots = {}, {}
  local state = new_state(job.state)
  view.begin(job.container)
  for _, policy in ipairs(argument.policies) do
    local reason = policy.fault
    policy.warnings = {}
    if not reason and policy.check then
      local changed
      reason, state, changed = run_check(policy, state)
      if changed then snapshots[#snapshots + 1] = { index = policy.index, name = policy.name, state = state.packed } end
    end
    for _, found in ipairs(policy.warnings) do warnings[#warnings + 1] = found end
    if reason then
      return { denied = policy.index, name = policy.name, reason = reason, warnings = warnings, snapshots = snapshots,
        hooks = hooks }
    end
  end
  return { warnings = warnings, snapshots = snapshots, hooks = hooks }
end

-- Every policy gets its own copy of the event; when one policy fails, the others still get theirs.
local function audit(event)
  local failures, packed = {}, host.pack(event)
  for _, policy in ipairs(argument.policies) do
    if policy.audit then
      policy.warnings = {}
      local ok, problem = limited(policy, policy.audit, (host.unpack(packed)))
      if not ok then failures[#failures + 1] = { index = policy.index, name = policy.name, reason = problem } end
    end
  end
  return { failures = failures }
end

local function describe()
  local policies = {}
  for index, policy in ipairs(argument.policies) do
    policies[index] = {
      name = policy.name, fault = policy.fault, check = policy.check ~= nil, audit = policy.audit ~= nil,
    }
  end
  return { policies = policies }
end

for index, policy in ipairs(argument.policies) do
  policy.index = index
  policy.fault = load_policy(policy)
  hooks = hooks or policy.audit ~= nil
end
loading = false

local JOBS = { check = check, audit = audit, describe = describe }
local GARBAGE = 1024 -- KiB that may gather
local collect_at = GARBAGE

while true do
  local job = first_job or host.receive()
  first_job = nil
  local kind, what = next(job)
  local reply = JOBS[kind](what)
  reply.to = kind
  host.send(reply)
  -- Garbage is collected after the reply, when the parent does not wait, and only when there is much of it: the exec
  -- goes on at the same time and needs the processor.
  if collectgarbage "count" > collect_at then
    collectgarbage()
    collect_at = collectgarbage "count" + GARBAGE
  end
end
