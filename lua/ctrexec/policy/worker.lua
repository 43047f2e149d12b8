--- Runs inside the sandbox process (core/sandbox.c): compiles the policies and answers the parent's requests.
--
-- It is given the policies' sources and the functions of the sandbox, and nothing else of ctrexec. What it answers is
-- not trusted by the parent, which checks every process object as it checks user input.
-- @module ctrexec.policy.worker
local argument, host = ...

-- What a policy changes of its own copies must not reach this code, nor what another changed of a shared table.
local rawget, rawset, next, type, pcall, select = rawget, rawset, next, type, pcall, select
local error, tostring, ipairs, setmetatable, getmetatable = error, tostring, ipairs, setmetatable, getmetatable
local load, table_remove, table_insert, math_type = load, table.remove, table.insert, math.type
local format, sub, match, find, upper, gsub, byte =
  string.format, string.sub, string.match, string.find, string.upper, string.gsub, string.byte

local MAX_REASON, MAX_WARNINGS = 4096, 100
local DENIED = setmetatable({}, { __metatable = false, __newindex = function() error("deny: read only", 2) end })

-- The policy that is running: its denial, its warnings, its globals.
local current

local pristine = { string = string, table = table, math = math, utf8 = utf8, coroutine = coroutine, io = io, os = os }

-- Metatables that all policies share are locked: `getmetatable("").__index` would reach every string of the next one.
local string_metatable = getmetatable ""
string_metatable.__metatable = false
getmetatable(io.stdout).__metatable = false

-- A reason ends up in one log line.
local function one_line(text)
  text = #text > MAX_REASON and sub(text, 1, MAX_REASON) .. "..." or text
  return (gsub(text, "%c", function(char) return format("\\x%02x", byte(char)) end))
end

-- Only strings and numbers are shown: __tostring of a thrown table would be code of the policy.
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

-- Final, whether it is returned or not: a forgotten `return` or a pcall around it must not let the exec through.
local function deny(reason)
  if current.denial == nil then
    current.denial = type(reason) == "string" and reason ~= "" and one_line(reason) or "no reason given"
  end
  return DENIED
end

-- Still set when a policy has ended: its question was broken off, and the next one would get the answer.
local asking = false

-- While the files are loaded, and the first job if it was waited for then.
local loading, first_job = true, nil

local function ask(what)
  asking = true
  -- Nobody answers before there is a job, and the wait for that is not the policy's time.
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

-- The globals of a policy.

-- A finalizer would run in another policy's time; locked metatables are locked by __metatable already.
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

-- Source only: a binary chunk can crash the interpreter. Without an environment the policy's own globals.
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

-- Libraries are copied when a policy first names one: most use none but through the methods of strings, and those
-- see the copy from then on.
local function new_globals(policy)
  local globals = copy(base)
  globals._G = globals
  globals.deny, globals.print, globals.setmetatable = deny, print_as_debug, safe_setmetatable
  globals.warn = function(text) warning(type(text) == "string" and text or message_of(text)) end
  globals.collectgarbage = safe_collectgarbage
  globals.load, globals.loadfile, globals.dofile = loader(globals)
  globals.require = requirer(globals, policy.folder or "")
  local given = {}
  return setmetatable(globals, {
    __metatable = false,
    __newindex = function(_, name, value)
      if pristine[name] then given[name] = true end
      rawset(globals, name, value)
    end,
    __index = function(_, name)
      local library = pristine[name]
      -- Once only: a policy may take a library away from itself.
      if not library or given[name] then return nil end
      given[name] = true
      local own = copy(library)
      if name == "os" then own.exit = no_exit end
      if name == "io" or name == "os" then policy.may_set_state = true end
      if name == "string" then policy.own_string, string_metatable.__index = own, own end
      rawset(globals, name, own)
      return own
    end,
  })
end

local stdin, stdout = io.stdin, io.stdout

local function enter(policy)
  current = policy
  string_metatable.__index = policy.own_string or pristine.string
  host.begin(policy.index)
end

-- Also what a policy may have set for the whole state goes back to what it was.
local function leave()
  local exceeded = host.finish() or current.exceeded
  string_metatable.__index = pristine.string
  if current.may_set_state then
    pristine.io.input(stdin)
    pristine.io.output(stdout)
    pristine.os.setlocale "C"
  end
  return exceeded
end

-- Runs code of a policy within its limits. Returns the results of pcall, or false and a message. A question that was
-- broken off ends the process, while it still counts as the policy's.
local function limited(policy, code, ...)
  enter(policy)
  local ok, result = pcall(code, ...)
  if asking then error "a question was broken off" end
  if leave() then return false, format("more than %d MiB of memory", argument.memory_mib) end
  if not ok then return false, message_of(result) end
  return true, result
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

-- What a policy sees.

local view
local function read_only()
  error("this is read only: a policy may edit request.process and request.options", 2)
end

-- A table that cannot be written, also deeper down; `find_out` is told which name is not there, or nil for all names.
function view(target, find_out)
  local function get(_, key)
    if find_out and target[key] == nil then find_out(key) end
    local value = target[key]
    if type(value) == "table" then return view(value) end
    return value
  end
  return setmetatable({}, {
    __metatable = false,
    __index = get,
    __newindex = read_only,
    __len = function() return #target end,
    __pairs = function(self)
      if find_out then find_out() end
      return function(_, key)
        local name = next(target, key)
        return name, name ~= nil and get(self, name) or nil
      end, self, nil
    end,
  })
end

-- request.env: the variables by name over the array of request.process.env.
local function environment_of(request)
  local function entries()
    local env = request.process.env
    if env == nil then
      env = {}
      request.process.env = env
    end
    return env
  end
  local function value_of(entry, name)
    if type(entry) == "string" and sub(entry, 1, #name + 1) == name .. "=" then return sub(entry, #name + 2) end
  end
  return setmetatable({}, {
    __metatable = false,
    __index = function(_, name)
      local env, found = entries(), nil
      for index = 1, #env do found = value_of(env[index], tostring(name)) or found end
      return found
    end,
    __newindex = function(_, name, value)
      if type(name) ~= "string" or name == "" or find(name, "[=%z]") then
        error("env: not a name of a variable: " .. format("%q", tostring(name)), 2)
      end
      if value ~= nil and type(value) ~= "string" and type(value) ~= "number" then
        error(format("env.%s: a string is expected, not a %s", name, type(value)), 2)
      end
      local env, place = entries(), nil
      for index = #env, 1, -1 do
        if value_of(env[index], name) then
          place = index
          table_remove(env, index)
        end
      end
      if value ~= nil then table_insert(env, place or #env + 1, name .. "=" .. value) end
    end,
    __pairs = function(self)
      local env, index = copy(entries()), 0
      return function()
        while index < #env do
          index = index + 1
          local name, value = match(env[index], "^([^=]+)=(.*)$")
          if name then return name, value end
        end
      end, self, nil
    end,
  })
end

local SETS = { "bounding", "effective", "inheritable", "permitted", "ambient" }

local function capability_name(name)
  if type(name) ~= "string" then error("a capability's name is expected, not a " .. type(name), 3) end
  name = upper(name)
  return find(name, "^CAP_") and name or "CAP_" .. name
end

local function remove_names(list, names)
  local kept, count = 0, #list
  for index = 1, count do
    local name = list[index]
    if not names[name] then
      kept = kept + 1
      list[kept] = name
    end
  end
  for index = kept + 1, count do list[index] = nil end
end

-- request.caps: the five sets of request.process.capabilities at once.
local function capabilities_of(request)
  local methods = {}
  local function sets()
    local all = request.process.capabilities
    if all == nil then
      all = {}
      request.process.capabilities = all
    end
    return all
  end
  local function has(set, name)
    for _, member in ipairs(sets()[set] or {}) do
      if member == name then return true end
    end
    return false
  end
  function methods.has(_, name, set)
    return has(set or "bounding", capability_name(name))
  end
  function methods.drop(_, ...)
    local names, all = {}, sets()
    for index = 1, select("#", ...) do names[capability_name((select(index, ...)))] = true end
    for _, set in ipairs(SETS) do
      if all[set] then remove_names(all[set], names) end
    end
  end
  function methods.add(_, ...)
    local all = sets()
    for index = 1, select("#", ...) do
      local name = capability_name((select(index, ...)))
      for _, set in ipairs { "bounding", "effective", "permitted" } do
        all[set] = all[set] or {}
        if not has(set, name) then table_insert(all[set], name) end
      end
      -- An ambient capability must be inheritable, too (capabilities(7)).
      if has("inheritable", name) and not has("ambient", name) then
        all.ambient = all.ambient or {}
        table_insert(all.ambient, name)
      end
    end
  end
  function methods.clear()
    request.process.capabilities = { bounding = {}, effective = {}, inheritable = {}, permitted = {}, ambient = {} }
  end
  return setmetatable({}, { __metatable = false, __index = methods, __newindex = read_only })
end

local function words(list)
  if type(list) ~= "table" then list = { list } end
  return list
end

local METHODS = {}

-- request:prepend{"nice", "-n", "5"}: the command becomes an argument of another.
function METHODS.prepend(request, list)
  for index, word in ipairs(words(list)) do table_insert(request.process.args, index, word) end
end

local function id_of(kind, word)
  if find(word, "^%d+$") then return math.tointeger(tonumber(word)) end
  local entry = ask(format("%s:%s", kind, word))
  if type(entry) ~= "table" then error(format("the container has no %s %q", kind, word), 3) end
  return kind == "user" and entry.uid or entry.gid, entry.gid
end

-- request:run_as "UID[:GID]", names are those of the container.
function METHODS.run_as(request, user, groups)
  user = tostring(user)
  local name, group = match(user, "^([^:]+):?(.*)$")
  if not name then error("run_as: expected UID[:GID]", 2) end
  local uid, primary = id_of("user", name)
  local object = request.process.user
  if object == nil then
    object = {}
    request.process.user = object
  end
  object.uid = uid
  object.gid = group ~= "" and id_of("group", group) or primary or object.gid
  if groups then object.additionalGids = groups end
end

-- request:stat "/bin/sh": what a path is in the container, nil if it is not there. Resolved inside the container's
-- root and not opened: `io.open` on /proc/PID/root would follow the container's links into the host.
function METHODS.stat(_, path)
  if type(path) ~= "string" or sub(path, 1, 1) ~= "/" then error("stat: an absolute path is expected", 2) end
  local status = ask("file:" .. path)
  return type(status) == "table" and status or nil
end

-- What is made on first use: most policies look at one or two of these.
local LAZY = {
  env = environment_of,
  caps = capabilities_of,
  -- The program's base name, as a policy wants to compare it.
  command = function(request)
    local program = request.process.args and request.process.args[1]
    return type(program) == "string" and match(program, "[^/]*$") or nil
  end,
}

-- Asked of the parent once a check, whichever policy needs it first; each policy gets views of its own.
local container, caller, told

-- What costs more to find out is asked for when it is wanted.
local FOUND_OUT = { user = "names", login_user = "names", ancestry = "origin", engine = "origin", sudo_user = "origin" }

local function find_out(part, into)
  if told[part] then return end
  for name, value in next, ask(part) or {} do into[name] = value end
  told[part] = true
end

local function find_out_caller(name)
  for _, part in ipairs { "names", "origin" } do
    if name == nil or FOUND_OUT[name] == part then find_out(part, caller) end
  end
end

local function find_out_container(name)
  if name ~= nil and name ~= "config" or told.config then return end
  container.config = ask "config"
  told.config = true
end

local REQUEST = {
  __metatable = false,
  __index = function(request, name)
    if METHODS[name] then return METHODS[name] end
    if name == "caller" then
      caller = caller or ask "caller" or {}
      return view(caller, find_out_caller)
    elseif name == "container" then
      return view(container, find_out_container)
    elseif LAZY[name] then
      return LAZY[name](request)
    end
  end,
  __newindex = function(_, name)
    error(format("request.%s cannot be set: a policy may edit request.process and request.options", tostring(name)), 2)
  end,
}

local function verdict(policy, ok, result)
  if policy.denial then return policy.denial end
  if not ok then return result end
  if result ~= nil and result ~= DENIED then
    return format("check returned a %s: it must return nothing, or deny a reason", type(result))
  end
end

-- The state of a request as it goes from policy to policy: `packed`, and `tables`, those that a policy gets. They
-- serve for the next one if it left them as they were, which is cheaper than new ones.
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

-- One policy's turn. Its request is its own, so that neither a metatable nor a reference it leaves behind reaches the
-- next. Returns a reason to deny, or nil, the state after it and whether that is another.
local function run_check(policy, state)
  local tables = state.tables
  local request = { process = tables.process, options = tables.options }
  policy.denial = nil
  local ok, result = limited(policy, policy.check, setmetatable(request, REQUEST))
  local reason = verdict(policy, ok, result)
  if reason then return reason end
  tables.process, tables.options = rawget(request, "process"), rawget(request, "options")
  if host.untouched(tables, state.packed) then return nil, state, false end
  local packed, problem = host.pack(tables)
  if not packed then return "request" .. problem end
  local after = new_state(host.unpack(packed))
  return nil, after, not equal(after.tables, host.unpack(state.packed))
end

-- Whether any policy wants events.
local hooks = false

local function check(job)
  local warnings, snapshots = {}, {}
  local state = new_state(job.state)
  container, caller, told = job.container, job.caller, {}
  for _, policy in ipairs(argument.policies) do
    local reason = policy.fault
    policy.warnings = {}
    if not reason and policy.check then
      local changed
      reason, state, changed = run_check(policy, state)
      if changed then snapshots[#snapshots + 1] = { index = policy.index, name = policy.name, state = state.packed } end
    end
    for _, entry in ipairs(policy.warnings) do warnings[#warnings + 1] = entry end
    if reason then
      return { denied = policy.index, name = policy.name, reason = reason, warnings = warnings, snapshots = snapshots,
        hooks = hooks }
    end
  end
  return { warnings = warnings, snapshots = snapshots, hooks = hooks }
end

-- Every policy gets its own copy of the event, and one that fails does not keep the next from it.
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
  -- Only now, when nobody waits, and not after every job: the exec goes on meanwhile and wants the processor.
  if collectgarbage "count" > collect_at then
    collectgarbage()
    collect_at = collectgarbage "count" + GARBAGE
  end
end
