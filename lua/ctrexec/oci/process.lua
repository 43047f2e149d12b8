--- The OCI process object of an exec: the container's defaults, the caller's overrides, validation.
--
-- Rests on the process section of the OCI runtime specification 1.3 (config.md, config-linux.md); where that is
-- silent, on what `runc exec` and `crun exec` do. Messages are runc's where runc has one, else `PATH: what is wrong`.
-- @module ctrexec.oci.process
local kernel = require "ctrexec.lib.kernel"

local process = {}

-- Of user and group ids: what runc allows, and what the kernel does (user_namespaces(7); the last one means "none").
local RUNC_MAX_ID, MAX_ID = 2147483647, 4294967294

-- What an exec takes from the container, by the runtime that made it. `command`: the fields of the container's own
-- process that a command line starts from (true: all). `file`: those that fill the gaps of a whole process object
-- (--process). `settings`: container-level values that fill what is then still missing. Measured on runc 1.1.5 and
-- crun 1.8.1: runc takes a process file as it is, but for what its own state holds for the container; crun builds a
-- process object from its options too and then fills the gaps, so cwd is "/" and no_new_privs and rlimits are not
-- inherited. Of crun's versions the newer are followed where they differ: 1.8.1 runs as 0:0 when no user is given,
-- newer ones as the container's user; 1.8.1 drops the container's env when -e is given, newer ones add to it.
local CRUN_PARTS = { "user", "capabilities", "env", "apparmorProfile", "selinuxLabel" }
local RUNC_SETTINGS = {
  capabilities = "capabilities", apparmorProfile = "apparmor_profile", selinuxLabel = "process_label",
  rlimits = "rlimits", oomScoreAdj = "oom_score_adj", scheduler = "scheduler", ioPriority = "io_priority",
  execCPUAffinity = "exec_cpu_affinity",
}
local PID_SETTINGS = { noNewPrivileges = "no_new_privileges" }
for name, setting in pairs(RUNC_SETTINGS) do PID_SETTINGS[name] = setting end
local RUNC = { command = true, file = {}, settings = RUNC_SETTINGS, umask = true, max_id = RUNC_MAX_ID }
local FROM_CONTAINER = {
  runc = RUNC,
  youki = { command = true, file = {}, settings = RUNC_SETTINGS, umask = true, max_id = MAX_ID },
  crun = { command = CRUN_PARTS, file = CRUN_PARTS, settings = {}, max_id = MAX_ID, replace_caps = true },
  -- There is no state: what /proc says of the process stands in for it.
  pid = { command = true, file = {}, settings = PID_SETTINGS, umask = true, max_id = MAX_ID },
}

local SETUP_USER = "unable to start container process: unable to setup user: "
local NO_SELINUX = "selinux label is specified in config, but selinux is disabled or not supported"

--- Whether the host's kernel enforces or audits SELinux labels. A test may replace it.
-- @treturn boolean
function process.selinux_enabled()
  local file = io.open "/sys/fs/selinux/enforce"
  if file then file:close() end
  return file ~= nil
end

-- A failed check unwinds to `guarded` with this table, so that the checks below read as plain descents.
local Refusal = {}

local function refuse(message, ...)
  error(setmetatable({ message = select("#", ...) > 0 and message:format(...) or message }, Refusal), 0)
end

local function guarded(check, ...)
  local results = table.pack(pcall(check, ...))
  if results[1] then return table.unpack(results, 2, results.n) end
  local failure = results[2]
  if getmetatable(failure) == Refusal then return nil, failure.message, "invalid" end
  error(failure, 0)
end

-- JSON's null is an absent value, as it is to Go. It is a light userdata of cjson, which is loaded if one is met.
local function absent(value)
  return value == nil or type(value) == "userdata" and value == require "cjson".null
end

local function quote(text)
  return require "ctrexec.lib.wording".quote(text)
end

local function is_array(value)
  return math.type(next(value)) ~= nil
end

local function describe(value)
  if absent(value) then return value == nil and "nothing" or "null" end
  if type(value) == "table" then return is_array(value) and "an array" or "an object" end
  return "a " .. type(value)
end

local function mismatch(path, expected, value)
  refuse("%s: expected %s, got %s", path, expected, describe(value))
end

-- The checkers: each takes the value, its path and the list of warnings, and returns the value in the form the rest
-- of ctrexec works with (integers are Lua integers though cjson gives floats; tables are copies).

local function text(value, path)
  if type(value) ~= "string" then mismatch(path, "a string", value) end
  if value:find("\0", 1, true) then refuse("%s: contains a NUL byte", path) end
  return value
end

local function boolean(value, path)
  if type(value) ~= "boolean" then mismatch(path, "a boolean", value) end
  return value
end

local function whole(value, path)
  if type(value) ~= "number" then mismatch(path, "an integer", value) end
  local integer = math.tointeger(value)
  if not integer then refuse("%s: expected an integer, got %s", path, value) end
  return integer
end

local function integer_in(low, high)
  return function(value, path)
    local integer = whole(value, path)
    if integer < low or integer > high then
      refuse("%s: must be in range %d to %d, got %d", path, low, high, integer)
    end
    return integer
  end
end

local function limit(value, path)
  if type(value) == "number" and value >= 2.0 ^ 63 and value <= kernel.RLIM_INFINITY then
    return kernel.RLIM_INFINITY
  end
  local integer = whole(value, path)
  if integer < 0 then refuse("%s: must not be negative, got %d", path, integer) end
  return integer
end

local function one_of(set, what)
  return function(value, path)
    if not set[text(value, path)] then refuse("%s: unknown %s %s", path, what, quote(value)) end
    return value
  end
end

local function check_array(value, path)
  if type(value) ~= "table" then mismatch(path, "an array", value) end
  local count = #value
  for key in pairs(value) do
    if math.type(key) ~= "integer" or key < 1 or key > count then
      refuse("%s: expected an array, got an object with the key %s", path, quote(tostring(key)))
    end
  end
  return count
end

local function array_of(item)
  return function(value, path, warnings)
    local copy, count = {}, check_array(value, path)
    for index = 1, count do copy[index] = item(value[index], ("%s[%d]"):format(path, index), warnings) end
    return copy
  end
end

-- `fields` maps a name to its checker; `required` are refused when absent; `finish` looks at the copy as a whole.
-- The fields are looked at in the order of their names, so that of two mistakes the same one is always reported.
local function object(fields, required, finish)
  local names = {}
  for name in pairs(fields) do names[#names + 1] = name end
  table.sort(names)
  return function(value, path, warnings)
    if type(value) ~= "table" or is_array(value) then mismatch(path, "an object", value) end
    local copy, unknown = {}, {}
    for _, name in ipairs(names) do
      local field = value[name]
      if not absent(field) then copy[name] = fields[name](field, ("%s.%s"):format(path, name), warnings) end
    end
    for name in pairs(value) do
      if fields[name] == nil then unknown[#unknown + 1] = ("%s.%s"):format(path, tostring(name)) end
    end
    table.sort(unknown)
    for _, name in ipairs(unknown) do
      warnings[#warnings + 1] = { level = "debug", message = name .. ": unknown field ignored", unknown = name }
    end
    for _, name in ipairs(required or {}) do
      if copy[name] == nil then refuse("%s.%s: required", path, name) end
    end
    if finish then finish(copy, path, warnings) end
    return copy
  end
end

local strings = array_of(text)
local unsigned = integer_in(0, math.maxinteger)
local id = integer_in(0, 4294967295) -- uint32: what a runtime allows of it is checked last

local function check_rlimit(rlimit)
  if not kernel.rlimits[rlimit.type] then refuse("wrong rlimit value: %s", rlimit.type or "") end
  rlimit.soft, rlimit.hard = rlimit.soft or 0, rlimit.hard or 0
  if rlimit.soft > rlimit.hard then
    refuse("unable to start container process: error setting rlimits for process: "
      .. "error setting rlimit type %d: invalid argument", kernel.rlimits[rlimit.type])
  end
end

-- sched(7): a priority belongs to the real-time policies, runtime, deadline and period to SCHED_DEADLINE.
local function check_scheduler(scheduler, path)
  local policy = scheduler.policy
  if (scheduler.priority or 0) ~= 0 and policy ~= "SCHED_FIFO" and policy ~= "SCHED_RR" then
    refuse("%s.priority: only SCHED_FIFO and SCHED_RR have a priority", path)
  end
  for _, name in ipairs { "runtime", "deadline", "period" } do
    if (scheduler[name] or 0) ~= 0 and policy ~= "SCHED_DEADLINE" then
      refuse("%s.%s: only SCHED_DEADLINE has it", path, name)
    end
  end
end

-- cpuset(7) "List format", without strides: the runtime specification allows numbers and ranges.
local function cpu_list(value, path)
  for part in (text(value, path) .. ","):gmatch "([^,]*)," do
    local low, high = part:match "^%s*(%d+)%s*-%s*(%d+)%s*$"
    local single = low or part:match "^%s*(%d+)%s*$"
    if value ~= "" and (not single or #single > 6 or low and (#high > 6 or tonumber(low) > tonumber(high))) then
      refuse("%s: %s is not a list of CPUs", path, quote(value))
    end
  end
  return value
end

local function environment_entry(value, path)
  if type(value) ~= "string" then mismatch(path, "a string", value) end
  local name, content = value:match "^([^=]*)=(.*)$"
  local problem = not name and "invalid environment variable"
    or name == "" and "environment variable name can't be empty"
    or name:find("\0", 1, true) and "environment variable name can't contain null(\\x00)"
    or content:find("\0", 1, true) and "environment variable value can't contain null(\\x00)"
  if problem then refuse("unable to start container process: %s: %s", problem, quote(value)) end
  return value
end

-- The last value of a name wins, at the place of the first: what repeated setenv(3) gives.
local function last_of_a_name(entries)
  local env, place = {}, {}
  for _, entry in ipairs(entries) do
    local name = entry:match "^[^=]*"
    place[name] = place[name] or #env + 1
    env[place[name]] = entry
  end
  return env
end

local function warn_of_unknown_capabilities(sets, _, warnings)
  local all, seen = {}, {}
  for _, set in ipairs(kernel.capability_sets) do
    for _, name in ipairs(sets[set] or {}) do
      if not seen[name] then
        seen[name] = true
        all[#all + 1] = name
      end
    end
  end
  if #all == 0 then return end
  local _, unknown = require "ctrexec.core".capability.mask(all)
  if #unknown == 0 then return end
  table.sort(unknown)
  warnings[#warnings + 1] = {
    level = "warning",
    message = ("ignoring unknown or unavailable capabilities: [%s]"):format(table.concat(unknown, " ")),
  }
end

local PROCESS = {
  terminal = boolean,
  consoleSize = object({ height = integer_in(0, 65535), width = integer_in(0, 65535) }),
  cwd = text,
  env = array_of(environment_entry),
  args = strings,
  rlimits = array_of(object({ type = text, soft = limit, hard = limit }, nil, check_rlimit)),
  apparmorProfile = text,
  capabilities = object({ bounding = strings, effective = strings, inheritable = strings, permitted = strings,
    ambient = strings }, nil, warn_of_unknown_capabilities),
  noNewPrivileges = boolean,
  oomScoreAdj = integer_in(-1000, 1000),
  scheduler = object({
    policy = one_of(kernel.scheduler_policies, "policy"), nice = integer_in(-20, 19), priority = integer_in(0, 99),
    flags = array_of(one_of(kernel.scheduler_flags, "flag")),
    runtime = unsigned, deadline = unsigned, period = unsigned,
  }, { "policy" }, check_scheduler),
  selinuxLabel = text,
  ioPriority = object({ class = one_of(kernel.io_classes, "class"), priority = integer_in(0, 7) }, { "class" }),
  execCPUAffinity = object { initial = cpu_list, final = cpu_list },
  user = object { uid = id, gid = id, umask = integer_in(0, 511), additionalGids = array_of(id) },
}
local check_object = object(PROCESS)

local function refuse_id(max_id)
  refuse("%suids and gids must be in range 0-%d", SETUP_USER, max_id)
end

local function check_ids(user, max_id)
  if user.uid > max_id or user.gid > max_id then refuse_id(max_id) end
  for _, gid in ipairs(user.additionalGids) do
    if gid > max_id then refuse_id(max_id) end
  end
end

local function check_whole(copy, max_id)
  copy.user = copy.user or {}
  copy.user.uid, copy.user.gid = copy.user.uid or 0, copy.user.gid or 0
  copy.user.additionalGids = copy.user.additionalGids or {}
  copy.terminal = copy.terminal or false
  copy.noNewPrivileges = copy.noNewPrivileges or false
  copy.env = last_of_a_name(copy.env or {})
  local cwd = copy.cwd or ""
  if cwd == "" then refuse "Cwd property must not be empty" end
  if cwd:sub(1, 1) ~= "/" then refuse "Cwd must be an absolute path" end
  if not copy.args or #copy.args == 0 then refuse "args must not be empty" end
  if (copy.selinuxLabel or "") ~= "" and not process.selinux_enabled() then refuse(NO_SELINUX) end
  check_ids(copy.user, max_id)
  return copy
end

local function checked(value, warnings, max_id)
  return check_whole(check_object(value, "process", warnings), max_id), warnings
end

--- Checks a process object: the type and range of every field of the runtime specification 1.3.
-- The object given is not changed. The copy has integers as Lua integers, each environment variable once, and
-- user, env, terminal, noNewPrivileges and user.additionalGids always present; unknown fields are left out.
-- @tparam table value an OCI process object; cjson's null counts as absent
-- @tparam[opt] table record of the container, whose runtime may set narrower limits
-- @treturn[1] boolean true
-- @treturn[1] table the checked copy
-- @treturn[1] {table,...} warnings, each `{level="warning"|"debug", message=}`, and `unknown`, the path of a field that
-- was left out
-- @treturn[2] nil
-- @treturn[2] string what is wrong, naming the field by path
-- @treturn[2] string "invalid"
function process.validate(value, record)
  local rules = record and FROM_CONTAINER[record.runtime]
  local copy, warnings, code = guarded(checked, value, {}, rules and rules.max_id or MAX_ID)
  if not copy then return nil, warnings, code end
  return true, copy, warnings
end

-- What strconv.Atoi of Go accepts, with its errors: runc reads user ids with it.
local function atoi(digits)
  local sign, number = digits:match "^([+-]?)(%d+)$"
  if not number then return nil, "invalid syntax" end
  number = number:gsub("^0+(%d)", "%1")
  local value = #number <= 19 and math.tointeger(tonumber(number)) or nil
  if not value then return nil, "value out of range" end
  return sign == "-" and -value or value
end

local function copy_array(list, path)
  if absent(list) then return {} end
  return table.move(list, 1, check_array(list, path), 1, {})
end

local function looked_up(spec, kind, key)
  local entry, message = spec.lookup(kind, key)
  if not entry and message then refuse("%s%s", SETUP_USER, message) end
  return entry
end

-- A number, or with `spec.lookup` a name. Returns the id and, for a name, the entry.
local function id_or_name(spec, kind, field, word, max_id)
  local number, problem = atoi(word)
  if number then
    if number < 0 or number > max_id then refuse_id(max_id) end
    return number
  end
  if problem == "invalid syntax" and spec.lookup and word:find "^[%a_]" then
    local entry = looked_up(spec, kind, word)
    if entry then return entry[field], entry end
    refuse("unable to find %s %s: no matching entries in %s file", kind, word, kind == "user" and "passwd" or "group")
  end
  refuse("parsing %s as int for %s failed: strconv.Atoi: parsing %s: %s", word, field, quote(word), problem)
end

-- "UID[:GID]", a bare uid, or an OCI user object whose fields override the defaults. runc reads the group first.
local function override_user(user, spec, max_id)
  local given = spec.user
  if math.type(given) == "integer" then given = tostring(given) end
  if type(given) == "table" then
    for name, value in pairs(given) do user[name] = value end
    return
  elseif type(given) ~= "string" then
    mismatch("user", 'a string "UID[:GID]" or an object', given)
  end
  if given == "" then return end
  local name, group = given:match "^([^:]*):?(.*)$"
  local has_group = given:find(":", 1, true)
  local gid = has_group and id_or_name(spec, "group", "gid", group, max_id)
  local uid, entry = id_or_name(spec, "user", "uid", name, max_id)
  user.uid = uid
  user.gid = gid or entry and entry.gid or user.gid
end

local function add_groups(user, spec, max_id)
  local gids = {}
  local known = user.additionalGids
  if spec.groups_from_container then
    if not spec.lookup then refuse "groups_from_container: the container's group file cannot be read" end
    known = looked_up(spec, "groups", user)
  end
  if not absent(known) then
    if type(known) ~= "table" then mismatch("process.user.additionalGids", "an array", known) end
    table.move(known, 1, #known, 1, gids)
  end
  for _, given in ipairs(copy_array(spec.additional_gids, "additional_gids")) do
    local word = type(given) == "string" and given or tostring(whole(given, "additional_gids"))
    if word:find "^-%d+$" then refuse("additional-gids must be a positive number %s", word) end
    gids[#gids + 1] = id_or_name(spec, "group", "gid", word, max_id)
  end
  user.additionalGids = gids
end

-- {"A=1", ...}, {A="1", ...} or both; the names of a map come in order so that a result can be repeated.
local function add_environment(env, given)
  if type(given) ~= "table" then mismatch("env", "an array or an object", given) end
  local names = {}
  for key in pairs(given) do
    if type(key) == "string" then
      names[#names + 1] = key
    elseif math.type(key) ~= "integer" or key < 1 or key > #given then
      refuse("env: unexpected key %s", tostring(key))
    end
  end
  table.sort(names)
  table.move(given, 1, #given, #env + 1, env)
  for _, name in ipairs(names) do
    local value = given[name]
    if type(value) ~= "string" then mismatch("env." .. name, "a string", value) end
    if name:find("=", 1, true) then refuse("env: the name %s contains =", quote(name)) end
    env[#env + 1] = name .. "=" .. value
  end
end

-- runc adds to bounding, effective and permitted, and to ambient only where the kernel would keep it: when there
-- are inheritable ones (capabilities(7), ambient). crun's --cap names the whole sets instead.
local function add_capabilities(defaults, given, replace)
  if absent(defaults) or replace then defaults = {} end
  if type(defaults) ~= "table" then mismatch("process.capabilities", "an object", defaults) end
  local sets = {}
  for _, set in ipairs(kernel.capability_sets) do
    sets[set] = copy_array(defaults[set], "process.capabilities." .. set)
  end
  local add_to = { "bounding", "effective", "permitted" }
  if #sets.inheritable > 0 then add_to[4] = "ambient" end
  for _, set in ipairs(add_to) do table.move(given, 1, #given, #sets[set] + 1, sets[set]) end
  return sets
end

local function arguments(spec)
  if #spec > 0 and spec.args then
    refuse "args: give the command either as positional values or as args, not both"
  end
  local args = #spec > 0 and table.move(spec, 1, #spec, 1, {}) or spec.args
  if type(args) == "table" and #args == 0 or args == nil then refuse "process args cannot be empty" end
  return args
end

-- Fields of the public spec that replace the container's value as they are.
local PLAIN = { "consoleSize", "rlimits", "noNewPrivileges", "apparmorProfile", "selinuxLabel", "oomScoreAdj",
  "scheduler", "ioPriority", "execCPUAffinity", "capabilities" }

local function override(base, spec, rules)
  base.args = arguments(spec)
  if not absent(spec.cwd) and spec.cwd ~= "" then base.cwd = spec.cwd end
  for _, name in ipairs(PLAIN) do
    if spec[name] ~= nil then base[name] = spec[name] end
  end
  -- The container's own terminal is not a wish for one: runc resets it, too.
  base.terminal = spec.terminal or false
  if spec.no_new_privs ~= nil then base.noNewPrivileges = spec.no_new_privs end
  if spec.env ~= nil then
    local env = copy_array(base.env, "process.env")
    add_environment(env, spec.env)
    base.env = env
  end
  if absent(base.user) then base.user = {} end
  if type(base.user) ~= "table" then mismatch("process.user", "an object", base.user) end
  if spec.user ~= nil then override_user(base.user, spec, rules.max_id) end
  add_groups(base.user, spec, rules.max_id)
  local caps = copy_array(spec.caps, "caps")
  if #caps > 0 then base.capabilities = add_capabilities(base.capabilities, caps, rules.replace_caps) end
end

local function parts_of(defaults, parts)
  if parts == true then return defaults end
  local base = {}
  for _, name in ipairs(parts) do base[name] = defaults[name] end
  return base
end

local function fill(base, values, names)
  for name, key in pairs(names) do
    if absent(base[name]) or base[name] == "" then base[name] = values[key] end
  end
end

local function names_of(parts)
  local names = {}
  for _, name in ipairs(parts) do names[name] = name end
  return names
end

local function container_defaults(record)
  local defaults, message, code = record:process()
  if not defaults then return nil, message, code end
  if type(defaults) ~= "table" then refuse("process: expected an object in the container's configuration") end
  return defaults
end

-- Where nothing says otherwise it is the caller's, as it is with every runtime.
local function fill_umask(base, settings, rules)
  local user = absent(base.user) and {} or base.user
  if type(user) ~= "table" or not absent(user.umask) then return end
  user.umask = rules.umask and settings.umask or nil
  base.user = user
end

local function copy_of(value)
  if type(value) ~= "table" then mismatch("process", "an object", value) end
  local copy = {}
  for name, field in pairs(value) do copy[name] = field end
  -- The user is the one nested table that is completed in place.
  if type(copy.user) == "table" then
    local user = {}
    for name, field in pairs(copy.user) do user[name] = field end
    copy.user = user
  end
  return copy
end

local function from_file(record, spec, rules)
  local base = copy_of(spec.process)
  if #rules.file > 0 then
    local defaults, message, code = container_defaults(record)
    if not defaults then return nil, message, code end
    -- crun takes an empty list of variables for no list.
    if type(base.env) == "table" and next(base.env) == nil then base.env = nil end
    fill(base, defaults, names_of(rules.file))
  end
  return base
end

local function from_command(record, spec, rules)
  -- Refused before the container's files are read, as runc does.
  arguments(spec)
  local defaults, message, code = container_defaults(record)
  if not defaults then return nil, message, code end
  local base = parts_of(defaults, rules.command)
  if rules.command ~= true then base.cwd = "/" end
  if spec.caps and absent(base.capabilities) then base.capabilities = (record.settings or {}).capabilities end
  override(base, spec, rules)
  return base
end

local function build(record, spec)
  local rules = FROM_CONTAINER[record.runtime] or RUNC
  local make = spec.process ~= nil and from_file or from_command
  local base, message, code = make(record, spec, rules)
  if not base then return nil, message, code end
  local settings = record.settings or {}
  fill(base, settings, rules.settings)
  fill_umask(base, settings, rules)
  return checked(base, {}, rules.max_id)
end

--- Builds the process object of an exec.
--
-- With `spec.process` (`--process`) that object is the whole process; otherwise the container's own process is the
-- base and the other fields of the spec override it. What the container fills in depends on the runtime that made
-- it: see the table at the head of the source.
--
-- The spec, beside the fields of an OCI process object (which replace the container's): positional strings for
-- `args`; `env` as `{"K=V", ...}` or `{K="V"}`, added to the container's; `user` as `"UID[:GID]"` or an OCI user
-- object; `additional_gids`, added; `caps`, added; `no_new_privs`; `groups_from_container`, which takes the
-- supplementary groups from the container's group file.
--
-- `spec.lookup(kind, key)` reads the container's user files, and lets names stand for ids: ("user", name) returns
-- `{uid=, gid=}`, ("group", name) returns `{gid=}`, ("groups", OCI user object) returns an array of group ids. Each
-- returns nil for an unknown name, nil and a message when the file cannot be read.
-- @tparam table record a container record: `runtime`, `settings` and the method `process`
-- @tparam table spec what to run
-- @treturn[1] table the process object, checked and complete as `validate` gives it
-- @treturn[1] {table,...} warnings, each `{level="warning"|"debug", message=}`
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code: "invalid", or that of `record:process()`
function process.build(record, spec)
  return guarded(build, record, spec)
end

return process
