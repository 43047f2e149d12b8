--- The OCI process object of an exec: the container's defaults and the caller's overrides.
--
-- Where the OCI runtime specification 1.3 is silent (config.md, config-linux.md), this module follows `runc exec` and
-- `crun exec`. Messages are runc's where runc has one, else `PATH: what is wrong`.
-- @module ctrexec.oci.process
local kernel = require "ctrexec.lib.kernel"
local late = require "ctrexec.lib.late"
local schema = require "ctrexec.lib.schema"
local unwind = require "ctrexec.lib.unwind"
local validate = require "ctrexec.oci.validate"
local wording = late "ctrexec.lib.wording" -- only a refusal needs it

local process = {}

-- The largest user or group id that runc allows, and the largest that the kernel allows: the next number means "none"
-- (user_namespaces(7)).
local RUNC_MAX_ID, MAX_ID = 2147483647, 4294967294

-- What an exec takes from the container, by the runtime that made it. `command`: the fields of the container's own
-- process that a command line starts from (true: all). `file`: those that fill the gaps of a whole process object
-- (--process). `settings`: the container's settings that fill what is then still missing. `umask`: the container's
-- umask applies, too. `max_id`: the largest user or group id. `replace_caps`: --cap replaces the container's
-- capabilities instead of adding to them.
-- Measured on runc 1.1.5 and crun 1.8.1: runc adds to a process file only what its own state holds for the container.
-- crun makes a process object from its options, too, and then fills the gaps, so cwd is "/" and no_new_privs and
-- rlimits are not inherited. Where versions of crun differ, ctrexec follows the newer ones: 1.8.1 runs as 0:0 when no
-- user is given, newer ones as the container's user; 1.8.1 drops the container's env when -e is given, newer ones add
-- to it.
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
  -- A container that was opened by a pid has no state. Its settings are what /proc says of the process.
  pid = { command = true, file = {}, settings = PID_SETTINGS, umask = true, max_id = MAX_ID },
}

local SETUP_USER = "unable to start container process: unable to setup user: "

local absent = schema.absent

local function refuse(message, ...)
  unwind.fail(message:format(...), "invalid")
end

local function mismatch(where, expected, value)
  refuse("%s: expected %s, got %s", where, expected, schema.kind(value))
end

--- Checks a process object: the type and range of every field of the runtime specification 1.3.
-- The object given is not changed. The copy has integers as Lua integers, each environment variable once, and
-- user, env, terminal, noNewPrivileges and user.additionalGids always present; unknown fields are left out.
-- @tparam table value an OCI process object; cjson's null counts as absent
-- @tparam[opt] table container the container, whose runtime may set narrower limits
-- @treturn[1] boolean true
-- @treturn[1] table the checked copy
-- @treturn[1] {table,...} warnings, each `{level="warning"|"debug", message=}`, and `unknown`, the path of a field that
-- was left out
-- @treturn[2] nil
-- @treturn[2] string what is wrong, naming the field by path
-- @treturn[2] string "invalid"
function process.validate(value, container)
  local rules = container and FROM_CONTAINER[container.runtime]
  local copy, warnings, code = unwind.guarded(validate.process, value, rules and rules.max_id or MAX_ID)
  if not copy then return nil, warnings, code end
  return true, copy, warnings
end

-- Reads an integer as strconv.Atoi of Go does, with the same errors: runc reads user ids with that.
local function atoi(digits)
  local sign, number = digits:match "^([+-]?)(%d+)$"
  if not number then return nil, "invalid syntax" end
  number = number:gsub("^0+(%d)", "%1")
  local value = #number <= 19 and math.tointeger(tonumber(number)) or nil
  if not value then return nil, "value out of range" end
  return sign == "-" and -value or value
end

local INTEGER, ITEMS = schema.integer(), schema.array(schema.any)

local function copy_array(list, path)
  return absent(list) and {} or schema.apply(ITEMS, list, path)
end

local function looked_up(spec, kind, key)
  local found, message = spec.lookup(kind, key)
  if not found and message then refuse("%s%s", SETUP_USER, message) end
  return found
end

-- Reads a number or, with `spec.lookup`, a name. Returns the id and, for a name, what `lookup` returned.
local function id_or_name(spec, kind, field, word, max_id)
  local number, problem = atoi(word)
  if number then
    if number < 0 or number > max_id then validate.refuse_id(max_id) end
    return number
  end
  if problem == "invalid syntax" and spec.lookup and word:find "^[%a_]" then
    local found = looked_up(spec, kind, word)
    if found then return found[field], found end
    refuse("unable to find %s %s: no matching entries in %s file", kind, word, kind == "user" and "passwd" or "group")
  end
  refuse("parsing %s as int for %s failed: strconv.Atoi: parsing %s: %s", word, field, wording.quote(word), problem)
end

-- Sets the user from "UID[:GID]", a bare uid, or an OCI user object whose fields override the defaults. The group is
-- read before the user, as in runc, so that the same one of two mistakes is reported.
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
  local uid, found = id_or_name(spec, "user", "uid", name, max_id)
  user.uid = uid
  user.gid = gid or found and found.gid or user.gid
end

local function add_groups(user, spec, max_id)
  local known = user.additionalGids
  if spec.groups_from_container then
    if not spec.lookup then refuse "groups_from_container: the container's group file cannot be read" end
    known = looked_up(spec, "groups", user)
  end
  local gids = copy_array(known, "process.user.additionalGids")
  for _, given in ipairs(copy_array(spec.additional_gids, "additional_gids")) do
    local word = type(given) == "string" and given or tostring(schema.apply(INTEGER, given, "additional_gids"))
    if word:find "^-%d+$" then refuse("additional-gids must be a positive number %s", word) end
    gids[#gids + 1] = id_or_name(spec, "group", "gid", word, max_id)
  end
  user.additionalGids = gids
end

-- Adds the items of {"A=1", ...} or {A="1", ...}, which may be mixed. The names of a map are sorted, so that a spec
-- always gives the same result.
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
    if name:find("=", 1, true) then refuse("env: the name %s contains =", wording.quote(name)) end
    env[#env + 1] = name .. "=" .. value
  end
end

-- As runc does: adds the given capabilities to bounding, effective and permitted, and to ambient only if there are
-- inheritable ones, without which the kernel keeps no ambient one (capabilities(7)). With `replace`, which is what
-- crun's --cap does, the given ones take the place of the container's.
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
  -- If the container's own process has a terminal, the command does not get one unasked: runc resets it, too.
  base.terminal = spec.terminal or false -- guard: own_terminal
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

local function container_defaults(container)
  local defaults, message, code = container:process()
  if not defaults then return nil, message, code end
  if type(defaults) ~= "table" then refuse("process: expected an object in the container's configuration") end
  return defaults
end

-- Takes over the umask of the container's settings where the runtime does so. A command without a umask keeps the
-- caller's, as with every runtime.
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
  -- `user` is the one nested table that is completed later, so it is copied, too.
  if type(copy.user) == "table" then
    local user = {}
    for name, field in pairs(copy.user) do user[name] = field end
    copy.user = user
  end
  return copy
end

local function from_file(container, spec, rules)
  local base = copy_of(spec.process)
  if #rules.file > 0 then
    local defaults, message, code = container_defaults(container)
    if not defaults then return nil, message, code end
    -- crun treats an empty list of variables as if there were none.
    if type(base.env) == "table" and next(base.env) == nil then base.env = nil end
    fill(base, defaults, names_of(rules.file))
  end
  return base
end

local function from_command(container, spec, rules)
  -- Refuses a missing command before the container's files are read, as runc does.
  arguments(spec)
  local defaults, message, code = container_defaults(container)
  if not defaults then return nil, message, code end
  local base = parts_of(defaults, rules.command)
  if rules.command ~= true then base.cwd = "/" end
  if spec.caps and absent(base.capabilities) then base.capabilities = (container.settings or {}).capabilities end
  override(base, spec, rules)
  return base
end

local function build(container, spec)
  local rules = FROM_CONTAINER[container.runtime] or RUNC
  local make = spec.process ~= nil and from_file or from_command
  local base, message, code = make(container, spec, rules)
  if not base then return nil, message, code end
  local settings = container.settings or {}
  fill(base, settings, rules.settings)
  fill_umask(base, settings, rules)
  return validate.process(base, rules.max_id)
end

--- Builds the process object of an exec.
--
-- With `spec.process` (`--process`) that object is the whole process; otherwise the container's own process is the
-- base and the other fields of the spec override it. What the container fills in depends on the runtime that made
-- it: see the table at the head of the source.
--
-- The spec may have, beside the fields of an OCI process object (which replace the container's): positional strings for
-- `args`; `env` as `{"K=V", ...}` or `{K="V"}`, added to the container's; `user` as `"UID[:GID]"` or an OCI user
-- object; `additional_gids`, added; `caps`, added; `no_new_privs`; `groups_from_container`, which takes the
-- supplementary groups from the container's group file.
--
-- `spec.lookup(kind, key)` reads the container's user files, and lets names stand for ids: ("user", name) returns
-- `{uid=, gid=}`, ("group", name) returns `{gid=}`, ("groups", OCI user object) returns an array of group ids. Each
-- returns nil for an unknown name, nil and a message when the file cannot be read.
-- @tparam table container the container: `runtime`, `settings` and the method `process`
-- @tparam table spec what to run
-- @treturn[1] table the process object, checked and complete as `validate` gives it
-- @treturn[1] {table,...} warnings, each `{level="warning"|"debug", message=}`
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code: "invalid", or that of `container:process()`
function process.build(container, spec)
  return unwind.guarded(build, container, spec)
end

return process
