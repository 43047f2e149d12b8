--- The table of all fields of an exec, one row each.
--
-- The rows give the options of `ctrexec exec` with their help, completion and manual page; the check of what a program
-- passes to the module; what policies see and may set; what `explain` shows; the tables of docs/embedding.md and
-- docs/policy.md. The texts for people have the same names in `ctrexec.exec.field_texts`, which an exec that succeeds
-- does not load. So a new field is a row, its texts, and the code that does what they promise.
--
-- A row has
--
-- * `field`: the field's name in a spec; not in a row that has this name as its key. Absent for an option that changes
--   another field, or no field.
-- * `name`: the long option; absent where there is none. `short`: its letters; `list`: it may be repeated; `key`: the
--   name under which the parser returns it, where that is not the field's name.
-- * `type`: what the field must be: "string", "strings", "bool", "int" (from `min` to `max`), "func", or a type of
--   `ctrexec.exec.field_types`; the text of an option is read accordingly. In a row without a type, or with `data`, the
--   value may be data that the program did not make: a wrong value raises no error at once, but is answered with
--   "invalid" where it is used.
-- * `keys`: the value may be an object of known fields, which `ctrexec.exec.field_texts` lists.
-- * `process`: the field changes a part of the process object, so it has no effect beside a whole `process`.
-- * `plan`: the field is an option of the same name of `ctrexec.exec.plan`.
-- * `policy`: policies "see" the field in `request.options`, or see it and may "edit" it there.
-- * `needs`: the field has no effect without one of these: the call "exec", "spawn" (or `prepare`) or "open";
--   "policies" that the exec passes; the "keeper" of time limits that those have; or another field.
-- * `conflicts`: a field beside which this one has no effect; `despite`: what makes the two go together, as in `needs`.
-- @module ctrexec.exec.fields
local late = require "ctrexec.lib.late"
local schema = require "ctrexec.lib.schema"
local unwind = require "ctrexec.lib.unwind"
local texts = late "ctrexec.exec.field_texts" -- only a refusal needs words
local types = late "ctrexec.exec.field_types" -- only fields that most execs do not have need it

local fields = {}

local EXEC, SPAWN, OPEN = { "exec" }, { "spawn" }, { "open" }

--- The rows of `ctrexec exec`'s options, in the order of its help.
fields.options = {
  { field = "console_socket", name = "console-socket", type = "string", policy = "see", needs = SPAWN },
  { field = "pidfd_socket", name = "pidfd-socket", type = "string", policy = "see" },
  { field = "cwd", name = "cwd", process = true },
  { field = "env", name = "env", short = "e", list = true, process = true },
  { name = "env-file", list = true },
  { field = "terminal", name = "tty", key = "tty", short = "t", type = "bool", data = true, policy = "see" },
  { field = "user", name = "user", short = "u", process = true, keys = true },
  { field = "additional_gids", name = "additional-gids", short = "g", type = "int", data = true, list = true,
    process = true },
  { field = "groups_from_container", name = "groups-from-container", type = "bool", process = true },
  { field = "process", name = "process", short = "p" },
  { field = "detach", name = "detach", short = "d", type = "bool", policy = "see", needs = SPAWN },
  { field = "pid_file", name = "pid-file", type = "string", policy = "see" },
  { field = "selinuxLabel", name = "process-label", key = "process_label", process = true },
  { field = "apparmorProfile", name = "apparmor", key = "apparmor", process = true },
  { field = "no_new_privs", name = "no-new-privs", type = "bool", data = true, process = true },
  { field = "caps", name = "cap", key = "cap", short = "c", list = true, process = true },
  { field = "preserve_fds", name = "preserve-fds", type = "int", plan = true, policy = "see" },
  { field = "cgroup", name = "cgroup", type = "strings", list = true, plan = true, policy = "see" },
  { field = "ignore_paused", name = "ignore-paused", type = "bool", policy = "see" },
  { name = "pid", type = "int", min = 1 },
  { field = "timeout", name = "timeout", type = "duration", policy = "edit", conflicts = "detach", despite = "keeper",
    needs = { "exec", "keeps_limits", "keeper" } },
  { field = "kill_after", name = "kill-after", type = "duration", policy = "edit", needs = { "timeout", "policies" } },
  { name = "policy", list = true },
  { field = "tools", name = "tool", key = "tool", type = "lent", list = true, policy = "edit" },
  { field = "login_uid", name = "login-uid", type = "int", min = 0, max = 4294967294, plan = true, policy = "edit" },
  { field = "host_env", name = "host-env", type = "names", list = true, policy = "edit" },
  { field = "record", name = "record", type = "recording", data = true, policy = "edit", conflicts = "detach" },
  { field = "reason", name = "reason", type = "string" },
}

--- The rows of the fields that only a program gives, by their names.
fields.others = {
  args = { process = true },
  capabilities = { process = true, keys = true },
  noNewPrivileges = { process = true, conflicts = "no_new_privs" },
  consoleSize = { process = true, keys = true },
  rlimits = { process = true },
  oomScoreAdj = { process = true },
  scheduler = { process = true, keys = true },
  ioPriority = { process = true, keys = true },
  execCPUAffinity = { process = true, keys = true },
  tree = { type = "bool" },
  stdin = { conflicts = "terminal" },
  stdout = {},
  stderr = { conflicts = "terminal" },
  input = { type = "input", needs = EXEC, conflicts = "terminal" },
  max_output = { type = "bytes", needs = EXEC },
  audit = { type = "scalars", policy = "edit" },
  on_process = { type = "func" },
  on_terminal = { type = "func" },
  records = { type = "bool", needs = SPAWN },
  keeps_limits = { type = "bool", needs = SPAWN },
  lookup = { type = "func" },
}

--- The rows of the options of `ctrexec.open` and `ctrexec.list`, by their names.
fields.open = {
  root = { type = "string" },
  roots = { type = "strings" },
  pid = { type = "int", needs = OPEN },
  policy = { type = "policies", needs = OPEN },
  digest = { type = "bool", needs = OPEN },
}

-- The two kinds of table that are checked: what messages call it, its rows in an array, and its rows by name.
local SPEC = { where = "spec", options = fields.options, others = fields.others }
local OPTIONS = { where = "options", options = {}, others = fields.open }

local TYPES = { string = schema.string, strings = schema.array(schema.string, "an array of strings"),
  bool = schema.boolean, func = schema.func }

--- The type of a row's field.
-- @tparam table row
-- @treturn function type of `ctrexec.lib.schema`
function fields.type_of(row)
  if row.type == "int" then return schema.integer(row.min, row.max) end
  return TYPES[row.type] or types[row.type]
end

-- The part of a row that says why its field would have no effect; nil when the field has an effect.
local function idle(row, spec, facts)
  local other, needs = row.conflicts, row.needs
  if other and spec[other] and not facts[row.despite] then return "conflicts" end
  if row.process and spec.process ~= nil then return "process" end
  for index = 1, needs and #needs or 0 do
    if facts[needs[index]] or spec[needs[index]] then return nil end
  end
  return needs and "needs"
end

-- Checks one field. On the command line a message calls it by its option.
local function check(about, name, row, spec, facts, place)
  local value = spec[name]
  place[1] = facts.command and "--" .. row.name or name
  if row.type and not row.data then fields.type_of(row)(value, place) end
  if row.keys and type(value) == "table" then texts.check_keys(name, value, place) end
  local why = value and idle(row, spec, facts)
  if why then texts.refuse_idle(about, name, row, why, facts.command, place) end
end

local function row_of(about, name)
  local row, options = about.others[name], about.options
  for index = 1, row and 0 or #options do
    if options[index].field == name then return options[index] end
  end
  return row
end

-- Checks all fields, and unwinds at the first mistake. `iterate` is `next`, or goes in another order. `facts`: which of
-- the things that `needs` may name this call has.
local function inspect(about, spec, facts, iterate)
  local place = { where = about.where, depth = 0, code = "usage" }
  if type(spec) ~= "table" then schema.mismatch(place, "a table", spec) end
  place.depth = 1
  local words = #spec
  for name in iterate, spec do
    if math.type(name) ~= "integer" or name < 1 or name > words then
      local row = row_of(about, name)
      if not row then texts.refuse_unknown(about, name, place) end
      check(about, name, row, spec, facts, place)
    end
  end
  if words > 0 and spec.process ~= nil then
    place[1] = 1
    texts.refuse_idle(about, "args", about.others.args, "process", false, place)
  end
  return true
end

local function inspect_options(spec, rows, facts)
  local place = { where = "", depth = 1, code = "usage" }
  for _, row in ipairs(rows) do check(SPEC, row.field, row, spec, facts, place) end
  return true
end

local function demand(about, spec, facts, level)
  if not getmetatable(spec) and pcall(inspect, about, spec, facts, next) then return end
  -- A second look, which includes fields that the spec inherits, and always reports the same one of two mistakes.
  local ok, message = unwind.guarded(inspect, about, spec, facts, texts.in_order(about, spec))
  if not ok then error(message, level + 1) end
end

--- The fields of a spec that are options of the plan.
-- @tparam table spec
-- @treturn table options of `ctrexec.exec.plan`
function fields.plan_options(spec)
  local options = {}
  for _, row in ipairs(fields.options) do
    if row.plan then options[row.field] = spec[row.field] end
  end
  return options
end

--- Raises an error unless each field of a spec is known, is of its type, and has an effect.
-- @param spec
-- @tparam string call "exec", "spawn" (`prepare` too), or "check" or "explain", to which any field may be given
-- @tparam table facts `policies`: a chain that the exec passes; `keeper`: true if a keeper keeps the time limit when
-- the caller does not
-- @tparam integer level of error(), as seen from where this is called
function fields.demand(spec, call, facts, level)
  if call == "check" or call == "explain" then
    facts.exec, facts.spawn, facts.policies, facts.keeper = true, true, true, true
  end
  facts[call] = true
  demand(SPEC, spec, facts, level + 1)
end

--- Raises an error unless each option for `ctrexec.open` or `ctrexec.list` is known and of its type.
-- @param options
-- @tparam string call "open" or "list"
-- @tparam integer level of error(), as seen from where this is called
function fields.demand_options(options, call, level)
  demand(OPTIONS, options, { [call] = true }, level + 1)
end

--- What is wrong with the spec that the command line has made of its options.
-- @tparam table spec
-- @tparam {table,...} rows of the options that were given
-- @tparam ?table policies the chain that the exec passes
-- @treturn ?string one line that names the option; nil when nothing is wrong
function fields.fault(spec, rows, policies)
  -- `ctrexec exec` keeps time limits itself, so the limit of a detached command has no effect.
  local facts = { command = true, spawn = true, keeps_limits = true, policies = policies }
  return (select(2, unwind.guarded(inspect_options, spec, rows, facts)))
end

return fields
