--- What an exec would do, found out without doing it: for `container:explain` and the `explain` command.
--
-- A report has
--
-- * `container`: `id`, `runtime`, `status`, `pid`
-- * `before`: `{process=, options=}` as the caller asked for them, checked
-- * `policies`: in the order in which they are asked, each `name`, `result` ("unchanged", "changed", "denied", or
--   "not asked" after a denial) and, where it changed something, `before`, `after` and `changes`, an array of
--   `{path=, before=, after=}`
-- * `warnings`: array of `{level=, message=}`
-- * `decision`: "accept", "reject" or "error"; with "reject" and "error" a `message`, with "reject" also `policy` and
--   `reason`
-- * `after`: `{process=, options=}` as the policies left them, and `plan`: an array of `{"subject", "words"}`
-- @module ctrexec.policy.explain
local core = require "ctrexec.core"
local diff = require "ctrexec.policy.diff"
local fields = require "ctrexec.exec.fields"
local plans = require "ctrexec.exec.plan"
local requests = require "ctrexec.policy.request"
local schema = require "ctrexec.lib.schema"
local texts = require "ctrexec.exec.field_texts"
local tools = require "ctrexec.exec.tools"

local explain = {}

local NAMESPACES = { "user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time" }

local function quoted(word)
  return word:find "^[%w%%+,-./:=@_]+$" and word or "'" .. word:gsub("'", [['\'']]) .. "'"
end

local function list(words, map)
  local out = {}
  for index, word in ipairs(words) do out[index] = map and map(word) or tostring(word) end
  return #out > 0 and table.concat(out, " ") or "none"
end

local function seconds(value)
  return ("%g s"):format(value)
end

-- The plan in words, by subject: each function returns the words, or nil where there is nothing to say. A subject
-- without a function is shown by the value of its field.
local WORDS = {}

-- Subjects that are no field of a spec, each by the subject after which it is shown.
local BESIDES = { user = "umask", capabilities = "namespaces", terminal = "seccomp" }

function WORDS.command(s) return list(s.process.args, quoted) end
function WORDS.directory(s) return s.process.cwd end

function WORDS.user(s)
  local user = s.process.user
  local groups = #user.additionalGids > 0 and ", groups " .. list(user.additionalGids) or ""
  return ("uid %d, gid %d%s"):format(user.uid, user.gid, groups)
end

function WORDS.umask(s)
  return s.process.user.umask and ("%04o"):format(s.process.user.umask)
end

function WORDS.capabilities(s)
  local sets = s.process.capabilities or {}
  local words = "bounding " .. list(sets.bounding or {})
  if s.process.user.uid == 0 then words = words .. "; effective " .. list(sets.effective or {}) end
  if s.plan.ambient ~= 0 then words = words .. "; ambient " .. list(sets.ambient or {}) end
  return words .. (s.process.noNewPrivileges and "; none can be gained" or "")
end

function WORDS.namespaces(s)
  local _, differing = core.namespace.differing(s.container.pid)
  local names = {}
  for _, name in ipairs(NAMESPACES) do
    if differing and differing[name] then names[#names + 1] = name end
  end
  return ("joins %s of process %d"):format(list(names), s.container.pid)
end

function WORDS.cgroup(s)
  local paths = table.move(s.plan.task_paths, 1, #s.plan.task_paths, 1, {})
  if s.plan.cgroup_path then table.insert(paths, 1, s.plan.cgroup_path) end
  return list(paths)
end

function WORDS.terminal(s)
  if not s.process.terminal then return "none: the caller's streams as they are" end
  local size = s.process.consoleSize
  return "one of the container's own" .. (size and (", %d by %d"):format(size.width, size.height) or "")
end

function WORDS.seccomp(s)
  return s.plan.seccomp and ("a filter of %d instructions"):format(#s.plan.seccomp // 8)
end

function WORDS.label(s)
  return s.plan.exec_label
end

function WORDS.limits(s)
  local rlimits = s.process.rlimits
  local function shown(value) return math.type(value) == "integer" and tostring(value) or "unlimited" end
  return rlimits and #rlimits > 0 and list(rlimits, function(limit)
    return ("%s=%s:%s"):format(limit.type:gsub("^RLIMIT_", ""), shown(limit.soft), shown(limit.hard))
  end)
end

function WORDS.scheduling(s)
  local words = {}
  local process = s.process
  if process.scheduler then words[#words + 1] = process.scheduler.policy end
  if process.ioPriority then words[#words + 1] = process.ioPriority.class end
  if process.execCPUAffinity then words[#words + 1] = "CPUs " .. (process.execCPUAffinity.final or "") end
  if process.oomScoreAdj then words[#words + 1] = "oom_score_adj " .. process.oomScoreAdj end
  return #words > 0 and table.concat(words, ", ")
end

function WORDS.lent(s)
  return s.spec.tools and #s.spec.tools > 0 and list(s.spec.tools) .. ", read-only, seen by this command alone"
end

WORDS["time limit"] = function(s)
  local timeout, kill_after = s.spec.timeout, s.spec.kill_after
  if not timeout then return nil end
  if not kill_after then return ("everything is killed after %s"):format(seconds(timeout)) end
  return ("TERM to everything after %s, KILL %s later"):format(seconds(timeout), seconds(kill_after))
end

function WORDS.recording(s)
  local recording = s.spec.record
  if not recording then return nil end
  local what = not recording.input and "output"
    or recording.passwords and "output and all input" or "output and echoed input"
  -- The name of a file in a folder is not shown: it contains the time of the exec.
  return ("%s, in %s%s"):format(what, recording.folder and "a new file in " .. recording.folder or recording.file,
    recording.required and "" or ", if it can be written")
end

WORDS["after the start"] = function(s)
  local words = { s.spec.detach and "ctrexec ends and the command runs on" or "ctrexec waits for its end" }
  if s.spec.pid_file then words[2] = "its pid is in " .. s.spec.pid_file end
  return table.concat(words, "; ")
end

-- Makes the plan as a start would, so that it fails where the start would fail, and closes it.
local function plan_of(container, process, spec, warnings)
  local options = fields.plan_options(spec)
  options.warnings = warnings
  local message, code
  options.mounts, message, code = tools.open(spec.tools, process, container)
  if message then return nil, message, code end
  local plan
  plan, message, code = plans.build(container, process, options)
  tools.close(options.mounts)
  if not plan then return nil, message, code end
  plans.close(plan)
  return plan
end

local function words_of(state)
  local lines = {}
  local function tell(subject, value)
    local words
    if WORDS[subject] then
      words = WORDS[subject](state)
    elseif value ~= nil then
      words = type(value) == "table" and list(value) or tostring(value)
    end
    if words then lines[#lines + 1] = { subject, words } end
    if BESIDES[subject] then tell(BESIDES[subject]) end
  end
  for _, text in ipairs(texts) do
    if text.explain then tell(text.explain, state.spec[text[1]]) end
  end
  return lines
end

local function policies_of(chain, result)
  local changed, list_of, denied = {}, schema.as_array {}, false
  for _, change in ipairs(result.changes) do changed[change.index] = change end
  for index, described in ipairs(chain:describe()) do
    local change = changed[index]
    local verdict = denied and "not asked" or change and "changed" or "unchanged"
    if not denied and result.decision == "reject" and result.policy == described.name then
      denied, verdict = true, "denied"
    end
    list_of[index] = { name = described.name, result = verdict, before = change and change.before,
      after = change and change.after, changes = change and diff.states(change.before, change.after) }
  end
  return list_of
end

-- Adds the decision and the plan to the report, once the policies have been asked.
local function add_outcome(report, container, resolved)
  local process, spec = resolved.process, resolved.spec
  local plan, message = plan_of(container, process, spec, resolved.warnings)
  if not plan then
    report.decision, report.message = "error", message
    return
  end
  report.decision = "accept"
  report.after = { process = process, options = requests.options(spec) }
  report.plan = words_of { container = container, process = process, spec = spec, plan = plan }
end

--- Makes the report of an exec.
-- @tparam table container the container
-- @tparam ?table gate of `ctrexec.policy.gate`, after it has accepted or denied the exec; nil without policies
-- @tparam table resolved what would be run: `process`, `spec`, `warnings`; or why nothing would be run: `message`,
-- `code`, `warnings`
-- @treturn table report
function explain.report(container, gate, resolved)
  local process, result = resolved.process, gate and gate.result
  local report = { policies = schema.as_array {}, warnings = schema.as_array(resolved.warnings or {}),
    container = { id = container.id, runtime = container.runtime, status = container.status, pid = container.pid } }
  if result then report.before, report.policies = gate.before, policies_of(gate.chain, result) end
  if process then
    report.before = report.before or { process = process, options = requests.options(resolved.spec) }
    add_outcome(report, container, resolved)
    return report
  end
  report.decision, report.message = "error", resolved.message
  if resolved.code == "denied" then
    report.decision, report.policy, report.reason = "reject", result.policy, result.reason
  end
  return report
end

return explain
