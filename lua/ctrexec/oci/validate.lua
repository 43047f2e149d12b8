--- The check of an OCI process object.
--
-- The rules are those of the process section of the OCI runtime specification 1.3 (config.md, config-linux.md).
-- Messages are runc's where runc has one, else `PATH: what is wrong`.
-- @module ctrexec.oci.validate
local core = require "ctrexec.core"
local kernel = require "ctrexec.lib.kernel"
local late = require "ctrexec.lib.late"
local schema = require "ctrexec.lib.schema"
local unwind = require "ctrexec.lib.unwind"
local wording = late "ctrexec.lib.wording" -- only a refusal needs it

local validate = {}

local START = "unable to start container process: "
local NO_SELINUX = "selinux label is specified in config, but selinux is disabled or not supported"

local function refuse(message, ...)
  unwind.fail(message:format(...), "invalid")
end

--- Refuses a user or group id, within `ctrexec.lib.unwind.guarded`.
-- @tparam integer max_id the largest one allowed
function validate.refuse_id(max_id)
  refuse(START .. "unable to setup user: uids and gids must be in range 0-%d", max_id)
end

--- Whether the host's kernel enforces or audits SELinux labels. A test may replace this function.
-- @treturn boolean
function validate.selinux_enabled()
  local file = io.open "/sys/fs/selinux/enforce"
  if file then file:close() end
  return file ~= nil
end

-- ------------------------------------------------------------------------------------------------- the fields

local string, boolean, integer, array, object = schema.string, schema.boolean, schema.integer, schema.array,
  schema.object
local strings, unsigned = array(string), integer(0)
local id = integer(0, 4294967295) -- uint32; `check_ids` has the runtime's own limit

local function limit(value, place)
  local number = schema.uint64(value, place)
  return math.type(number) == "integer" and number or kernel.RLIM_INFINITY
end

local function check_rlimit(rlimit)
  local number = kernel.rlimits[rlimit.type]
  if not number then refuse("wrong rlimit value: %s", rlimit.type or "") end
  rlimit.soft, rlimit.hard = rlimit.soft or 0, rlimit.hard or 0
  if rlimit.soft > rlimit.hard then
    refuse(START .. "error setting rlimits for process: error setting rlimit type %d: invalid argument", number)
  end
end

-- sched(7): a priority belongs to the real-time policies, runtime, deadline and period to SCHED_DEADLINE.
local function check_scheduler(scheduler, place)
  local policy = scheduler.policy
  if (scheduler.priority or 0) ~= 0 and policy ~= "SCHED_FIFO" and policy ~= "SCHED_RR" then
    refuse("%s: only SCHED_FIFO and SCHED_RR have a priority", schema.path(place, "priority"))
  end
  for _, name in ipairs { "runtime", "deadline", "period" } do
    if (scheduler[name] or 0) ~= 0 and policy ~= "SCHED_DEADLINE" then
      refuse("%s: only SCHED_DEADLINE has it", schema.path(place, name))
    end
  end
end

-- cpuset(7) "List format", without strides: the runtime specification allows numbers and ranges.
local function cpu_list(value, place)
  for part in (string(value, place) .. ","):gmatch "([^,]*)," do
    local low, high = part:match "^%s*(%d+)%s*-%s*(%d+)%s*$"
    local single = low or part:match "^%s*(%d+)%s*$"
    if value ~= "" and (not single or #single > 6 or low and (#high > 6 or tonumber(low) > tonumber(high))) then
      schema.refuse(place, "%s is not a list of CPUs", wording.quote(value))
    end
  end
  return value
end

local function environment_entry(value, place)
  if type(value) ~= "string" then schema.mismatch(place, "a string", value) end
  local name, content = value:match "^([^=]*)=(.*)$"
  local problem = not name and "invalid environment variable"
    or name == "" and "environment variable name can't be empty"
    or name:find("\0", 1, true) and "environment variable name can't contain null(\\x00)"
    or content:find("\0", 1, true) and "environment variable value can't contain null(\\x00)"
  if problem then refuse(START .. "%s: %s", problem, wording.quote(value)) end
  return value
end

local function warn_of_unknown_capabilities(sets, place)
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
  local _, unknown = core.capability.mask(all)
  if #unknown == 0 then return end
  table.sort(unknown)
  table.insert(place.warnings, {
    level = "warning",
    message = ("ignoring unknown or unavailable capabilities: [%s]"):format(table.concat(unknown, " ")),
  })
end

-- The runtime specification lets a reader ignore fields that it does not know.
local function open(fields, rules)
  rules = rules or {}
  rules.unknown = "warn"
  return object(fields, rules)
end

local PROCESS = open {
  terminal = boolean,
  consoleSize = open { height = integer(0, 65535), width = integer(0, 65535) },
  cwd = string,
  env = array(environment_entry),
  args = strings,
  rlimits = array(open({ type = string, soft = limit, hard = limit }, { finish = check_rlimit })),
  apparmorProfile = string,
  capabilities = open({ bounding = strings, effective = strings, inheritable = strings, permitted = strings,
    ambient = strings }, { finish = warn_of_unknown_capabilities }),
  noNewPrivileges = boolean,
  oomScoreAdj = integer(-1000, 1000),
  scheduler = open({
    policy = schema.one_of(kernel.scheduler_policies, "policy"), nice = integer(-20, 19), priority = integer(0, 99),
    flags = array(schema.one_of(kernel.scheduler_flags, "flag")),
    runtime = unsigned, deadline = unsigned, period = unsigned,
  }, { required = { "policy" }, finish = check_scheduler }),
  selinuxLabel = string,
  ioPriority = open({ class = schema.one_of(kernel.io_classes, "class"), priority = integer(0, 7) },
    { required = { "class" } }),
  execCPUAffinity = open { initial = cpu_list, final = cpu_list },
  user = open { uid = id, gid = id, umask = integer(0, 511), additionalGids = array(id) },
}

-- ------------------------------------------------------------------------------------------------- the whole

-- Keeps the last of several variables of a name, at the place of the first, as repeated calls of setenv(3) would.
local function last_of_a_name(variables)
  local env, place = schema.as_array {}, {}
  for _, variable in ipairs(variables) do
    local name = variable:match "^[^=]*"
    place[name] = place[name] or #env + 1
    env[place[name]] = variable
  end
  return env
end

local function check_ids(user, max_id)
  if user.uid > max_id or user.gid > max_id then validate.refuse_id(max_id) end
  for _, gid in ipairs(user.additionalGids) do
    if gid > max_id then validate.refuse_id(max_id) end
  end
end

local function check_whole(copy, max_id)
  copy.user = copy.user or {}
  copy.user.uid, copy.user.gid = copy.user.uid or 0, copy.user.gid or 0
  copy.user.additionalGids = copy.user.additionalGids or schema.as_array {}
  copy.terminal = copy.terminal or false
  copy.noNewPrivileges = copy.noNewPrivileges or false
  copy.env = last_of_a_name(copy.env or {})
  local cwd = copy.cwd or ""
  if cwd == "" then refuse "Cwd property must not be empty" end
  if cwd:sub(1, 1) ~= "/" then refuse "Cwd must be an absolute path" end
  if not copy.args or #copy.args == 0 then refuse "args must not be empty" end
  if (copy.selinuxLabel or "") ~= "" and not validate.selinux_enabled() then refuse(NO_SELINUX) end
  check_ids(copy.user, max_id)
  return copy
end

--- Checks a process object within `ctrexec.lib.unwind.guarded`: a wrong object unwinds, with the code "invalid".
-- @tparam table value an OCI process object; it is not changed
-- @tparam integer max_id the largest user or group id allowed
-- @treturn table a copy, as `ctrexec.oci.process.validate` gives it
-- @treturn {table,...} warnings, as there
function validate.process(value, max_id)
  local warnings = {}
  return check_whole(schema.apply(PROCESS, value, "process", { warnings = warnings }), max_id), warnings
end

return validate
