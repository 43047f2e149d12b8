--- The `explain` command: what an exec would do.
-- @module ctrexec.command.explain
local diff = require "ctrexec.policy.diff"
local late = require "ctrexec.lib.late"
local specs = require "ctrexec.command.spec"
local json = late "ctrexec.lib.json" -- only --format json needs it

local explain = {}

local FAILED = 255 -- the status of an exec that fails
local COLUMN = 18

local function print_policies(report, out)
  for _, policy in ipairs(report.policies) do
    local verdict = policy.result == "denied" and "denied: " .. report.reason or policy.result
    out:write(("policy %s: %s\n"):format(policy.name, verdict))
    for _, change in ipairs(policy.changes or {}) do out:write("  ", diff.describe(change), "\n") end
  end
end

local function print_text(report, out)
  local container = report.container
  out:write(("container %s (%s, %s, process %d)\n"):format(container.id, container.runtime, container.status,
    container.pid or 0))
  print_policies(report, out)
  for _, warning in ipairs(report.warnings) do out:write(warning.level, ": ", warning.message, "\n") end
  if report.decision ~= "accept" then
    out:write("would fail: ", report.message, "\n")
    return
  end
  out:write "would run:\n"
  for _, line in ipairs(report.plan) do
    out:write(("  %-" .. COLUMN .. "s%s\n"):format(line[1], line[2]))
  end
  out:write "  environment\n"
  for _, variable in ipairs(report.after.process.env) do out:write("    ", variable, "\n") end
end

--- Runs the command.
-- @tparam table parsed from `ctrexec.command.options`: those of the exec, and `format`
-- @tparam table log from `ctrexec.command.log`
-- @tparam table site of `ctrexec.command.open`
-- @treturn integer exit status: 0 when the command would be started, else 255
function explain.run(parsed, log, site)
  local container <close>, message = site:open(parsed.id, {
    root = parsed.global.root, pid = parsed.options.pid,
  }, parsed.options.policy)
  local spec
  if container then spec, message = specs.of(parsed, container.policy) end
  if not spec then
    log:error("exec failed: " .. message)
    return FAILED
  end
  spec.records = true -- as the exec command does
  local report = container:explain(spec)
  if parsed.options.format == "json" then print(json.encode(report)) else print_text(report, io.stdout) end
  return report.decision == "accept" and 0 or FAILED
end

return explain
