--- What a program passes to the public calls: a value of a wrong type is a mistake in that program, and raises one line
-- at its position. What can be data from elsewhere, the fields of a process object and the streams, is checked where it
-- is used and answered with "invalid".
-- @module ctrexec.exec.usage
local usage = {}

local function plain(kind)
  return function(value)
    if type(value) ~= kind then return ("%s expected, got %s"):format(kind, type(value)) end
  end
end

local function integer(value)
  if math.type(value) ~= "integer" then
    return ("integer expected, got %s"):format(type(value) == "number" and tostring(value) or type(value))
  end
end

-- 5.0, as JSON has it, is one too.
local function whole(value)
  return integer(type(value) == "number" and math.tointeger(value) or value)
end

local function number_of(unit)
  return function(value)
    if type(value) ~= "number" or value < 0 or value ~= value then
      return ("a number of %s expected, got %s"):format(unit, tostring(value))
    end
  end
end

local function strings(value)
  if type(value) ~= "table" then return ("array of strings expected, got %s"):format(type(value)) end
  for index, item in ipairs(value) do
    if type(item) ~= "string" then
      return ("array of strings expected, got %s at index %d"):format(type(item), index)
    end
  end
  -- A table of named fields would pass for an empty array: of policies, for a container without any.
  for key in pairs(value) do
    if math.type(key) ~= "integer" then return ("array of strings expected, got field %s"):format(tostring(key)) end
  end
end

local function input(value)
  local kind = io.type(value) or type(value)
  if kind ~= "string" and kind ~= "function" and kind ~= "file" then
    return ("a string, function or open file expected, got %s"):format(kind)
  end
end

-- A chain of `ctrexec.policy`, or files.
local function policies(value)
  if type(value) == "table" and value.check then return nil end
  local fault = strings(value)
  return fault and "chain of ctrexec.policy or " .. fault
end

local boolean, string, func = plain "boolean", plain "string", plain "function"

local SPEC = {
  { "timeout", number_of "seconds" }, { "kill_after", number_of "seconds" }, { "max_output", number_of "bytes" },
  { "input", input }, { "cgroup", strings }, { "tools", strings }, { "host_env", strings },
  { "preserve_fds", whole }, { "login_uid", whole },
  { "pid_file", string }, { "console_socket", string }, { "pidfd_socket", string },
  { "detach", boolean }, { "tree", boolean }, { "ignore_paused", boolean }, { "groups_from_container", boolean },
  { "records", boolean }, { "keeps_limits", boolean },
  { "on_process", func }, { "on_terminal", func }, { "lookup", func },
}

local OPTIONS = { root = string, roots = strings, pid = integer, policy = policies, digest = boolean }

local function check_table(name, value, level)
  if type(value) ~= "table" then error(("bad %s (table expected, got %s)"):format(name, type(value)), level + 1) end
end

local function check_field(name, value, rule, level)
  local fault = value ~= nil and rule(value)
  if fault then error(("bad %s (%s)"):format(name, fault), level + 1) end
end

--- Raises an error unless the fields of a spec that are no data are of their types.
-- @param spec
-- @tparam integer level of error(), as seen from where this is called
function usage.spec(spec, level)
  check_table("spec", spec, level + 1)
  for _, rule in ipairs(SPEC) do check_field(rule[1], spec[rule[1]], rule[2], level + 1) end
end

--- Raises an error unless the options of `ctrexec.open` or `ctrexec.list` are of their types.
-- @param options
-- @tparam integer level of error(), as seen from where this is called
function usage.options(options, level)
  check_table("options", options, level + 1)
  for name, value in pairs(options) do
    -- A misspelt `policy` must not open the container without one.
    if not OPTIONS[name] then error(("bad options (there is no option %s)"):format(tostring(name)), level + 1) end
    check_field(name, value, OPTIONS[name], level + 1)
  end
end

return usage
