--- What people read about the fields of an exec: help, explain, the tables of the guides, refusals.
--
-- A row for each row of `ctrexec.exec.fields`, in the order in which the guides and explain show them. Its first item
-- is the name of the field, or of the option where there is no field; then
--
-- * `metavar`, `help`: of the option. `complete`: what its values are, "files" or "directories".
-- * `value`: how a spec writes the value; `means`: what the field does, where `help` is not enough. `part`: "program"
--   for a field that only few programs need, which the guide shows in a separate table.
-- * `policy`: what the field means to a policy, where `means` is not enough; `policy_value`: what a policy may set.
-- * `keys`: the fields of its value, where that may be an object of known fields.
-- * `explain`: the heading under which explain shows the field.
-- * `conflict`: why the field has no effect beside the field that conflicts with it.
-- @module ctrexec.exec.field_texts
local schema = require "ctrexec.lib.schema"

local TERMINAL = "has no effect with terminal, which takes the place of the streams"

local texts = {
  { "args", value = '`{ "ls", "-l" }`', explain = "command",
    means = "the command, where it is not the positional strings; a name without a slash is looked up on the "
      .. "container's PATH, as the final user" },
  { "cwd", metavar = "PATH", help = "working directory in the container", explain = "directory",
    value = "absolute path" },
  { "env", metavar = "KEY=VALUE", help = "set an environment variable; may be repeated",
    value = '`{ A = "1" }`, `{ "A=1" }`', means = "variables that are added to the container's" },
  { "env-file", metavar = "FILE", complete = "files",
    help = "set environment variables from a file of KEY=VALUE lines; may be repeated" },
  { "user", metavar = "USER[:GROUP]", help = "run as this user and group: numbers, or names that the container knows",
    explain = "user", value = '`"33:33"`, `"www-data"`, `33`', keys = { "uid", "gid", "umask", "additionalGids" },
    means = "or an OCI user object: `uid`, `gid`, `umask`, `additionalGids`; names are looked up in the container" },
  { "additional_gids", metavar = "GID", help = "add a supplementary group; may be repeated",
    value = '`{ 4, "adm" }`', means = "supplementary groups that are added" },
  { "groups_from_container", help = "add the user's groups from the container's group file", value = "boolean" },
  { "caps", metavar = "CAP_NAME", help = "add a capability; may be repeated", value = '`{ "CAP_KILL" }`',
    means = "capabilities that are added to the container's" },
  { "capabilities", value = "OCI's object", explain = "capabilities",
    means = "the five sets, in place of the container's",
    keys = { "bounding", "effective", "permitted", "inheritable", "ambient" } },
  { "no_new_privs", help = "forbid gaining privileges by execve(2)", value = "boolean" },
  { "noNewPrivileges", value = "boolean", means = "the same by OCI's name",
    conflict = "has no effect with no_new_privs, which says the same" },
  { "cgroup", metavar = "[CTRL:]PATH", explain = "cgroup", value = '`{ "sub" }`, `{ "memory:sub" }`',
    help = "run in a cgroup below the container's; CTRL is a list of v1 controllers",
    means = "cgroups below the container's own; before the colon a list of v1 controllers" },
  { "ignore_paused", help = "exec even if the container is paused", value = "boolean" },
  { "terminal", help = "give the command a terminal of its own", explain = "terminal", value = "boolean",
    means = "a terminal of the container's for the command",
    policy = "a terminal was asked for by option; `request.process.terminal` says whether there will be one" },
  { "consoleSize", value = "`{ height = 24, width = 80 }`", means = "the size of the terminal",
    keys = { "height", "width" } },
  { "selinuxLabel", metavar = "LABEL", help = "SELinux label of the process", explain = "label", value = "string" },
  { "apparmorProfile", metavar = "PROFILE", help = "AppArmor profile of the process", value = "string" },
  { "rlimits", value = "OCI's array", explain = "limits", means = "resource limits, in place of the container's" },
  { "oomScoreAdj", value = "integer", means = "as in the OCI runtime specification" },
  { "scheduler", value = "OCI's object", explain = "scheduling", means = "scheduling policy and priority",
    keys = { "policy", "nice", "priority", "flags", "runtime", "deadline", "period" } },
  { "ioPriority", value = "OCI's object", means = "class and priority of input and output",
    keys = { "class", "priority" } },
  { "execCPUAffinity", value = "OCI's object", means = "CPUs to run on", keys = { "initial", "final" } },
  { "process", metavar = "FILE", complete = "files", value = "OCI's process object",
    help = "take the whole process from an OCI process file (JSON)",
    means = "the whole process: nothing of it is the container's, and no field beside it may change a part of it" },
  { "pid", metavar = "PID", help = "enter the namespaces of a process of this host instead of a CONTAINER" },
  { "policy", metavar = "FILE", complete = "files",
    help = "ask this policy too, after those of the configuration; may be repeated" },
  { "preserve_fds", metavar = "N", help = "pass N more descriptors, from 3 on (after those of LISTEN_FDS)",
    value = "integer", means = "how many of the caller's descriptors from 3 on are passed, those that are not "
      .. "close-on-exec" },
  { "tree", value = "boolean", means = "a cgroup of the command's own, so that everything it starts can be ended with "
    .. "it; `timeout` implies it" },
  { "tools", metavar = "PATH[:DEST]", complete = "files", explain = "lent", value = 'array of `"PATH[:DEST]"`',
    help = "lend a program of this host to the command, read-only; may be repeated",
    means = "host programs lent read-only to this command alone" },
  { "login_uid", metavar = "UID", help = "set the login uid, for the audit trail", explain = "login uid",
    value = "user id", means = "the command's login uid, which the kernel's audit records carry" },
  { "host_env", metavar = "NAME", explain = "host environment", value = "array of names",
    help = "take over this environment variable from the caller; may be repeated",
    means = "variables taken over from the environment of ctrexec's caller, over what the command has" },
  { "timeout", metavar = "TIME", help = "end the command after TIME (5, 1.5s, 2m, 1h) with exit status 124",
    explain = "time limit", value = "seconds", conflict = "nobody would be there to end a detached command",
    means = "a command that still runs then is ended with all it started: `timed_out`, exit status 124" },
  { "kill_after", metavar = "TIME", help = "with --timeout: TERM first, KILL after TIME", value = "seconds",
    means = "TERM is sent at the time-out and KILL this much later, instead of KILL at once",
    policy = "TERM is sent at the time-out and KILL this much later, instead of KILL at once. The caller may have "
      .. "asked for any: a policy that sets a limit should bound it" },
  { "record", metavar = "FILE", complete = "files", explain = "recording",
    help = "record what the command shows in a new FILE, for replay or asciinema play",
    conflict = "nobody would be there to record a detached command",
    value = '`"/path/of/a/new/file"`, table',
    means = "what the command shows is recorded, for `ctrexec replay`; a table has `file` or `folder`, `input`, "
      .. "`passwords`, `required`, `max_size` as in [policy.md](policy.md#recording-sessions). With `spawn` only for a "
      .. "program that sets `records`, copies all output itself and gives it to "
      .. '`process.recording.core:record("output", data)`',
    policy_value = "true, path, table",
    policy = "what the command shows is recorded in a file: see [Recording sessions](#recording-sessions)" },
  { "reason", metavar = "TEXT", help = "say why, to policies and the audit trail", explain = "reason", value = "string",
    means = "why, in words: policies see it as `request.options.audit.reason`, and the audit trail keeps it" },
  { "audit", value = "map of strings, numbers, booleans", means = "fields added to the audit events",
    policy = "fields added to the audit events. `reason`, of `--reason` or of an earlier policy, stays when a policy "
      .. "replaces the map, unless it sets another" },
  { "detach", help = "return once the command has started", explain = "after the start", value = "boolean",
    means = "nobody here will wait for the command" },
  { "pid_file", metavar = "FILE", complete = "files", value = "path",
    help = "write the command's pid, as seen from here, to FILE",
    means = "where the command's pid is written, as seen from here" },
  { "console_socket", metavar = "SOCKET", complete = "files", value = "path",
    help = "send the terminal's master to this unix socket (with --tty --detach)",
    means = "the unix socket to which the terminal's master is sent; with `terminal` and `detach`" },
  { "pidfd_socket", metavar = "SOCKET", complete = "files", value = "path",
    help = "send a pidfd of the new process to this unix socket",
    means = "the unix socket to which a pidfd of the new process is sent" },
  { "stdin", value = "see [Streams](#streams)", means = "where the command reads from", conflict = TERMINAL },
  { "stdout", value = "see [Streams](#streams)",
    means = "where the command writes to. With `exec` also a function that is called with each piece as it comes; by "
      .. "default the result has it all" },
  { "stderr", value = "see [Streams](#streams)", means = "as `stdout`", conflict = TERMINAL },
  { "input", value = "string, function, file", conflict = TERMINAL,
    means = "what the command reads: a string, a function that returns the next piece or nil, or an open file; by "
      .. "default nothing" },
  { "max_output", value = "bytes", means = "how much of each stream is kept; the rest is read and dropped" },
  { "on_process", part = "program", value = "`function(process, recording)`",
    means = "called before anything is started, with the checked process object and, if the session is recorded, the "
      .. "settings of `ctrexec.policy.recording`. It may complete `consoleSize`; it refuses by nil, message, code" },
  { "on_terminal", part = "program", value = "`function(master)`",
    means = "called with the command's terminal before the command runs; it refuses in the same way" },
  { "records", part = "program", value = "boolean",
    means = "promises that the program copies all output of the command, and gives it to `process.recording`" },
  { "keeps_limits", part = "program", value = "boolean",
    means = "promises that the program keeps the limits `process.timeout` and `process.kill_after` for as long as it "
      .. "has the handle open. Under policies a process of ctrexec's own does otherwise" },
  { "lookup", part = "program", value = "`function(kind, name)`",
    means = "finds users and groups, instead of the container's files: see `ctrexec.oci.process`" },
}

--- The options of `ctrexec.open` and `ctrexec.list`, as rows like the others.
texts.open = {
  { "root", value = "path", means = "the only directory of a runtime to look in" },
  { "roots", value = "array of paths", means = "directories to look in first" },
  { "pid", value = "integer", means = "any process instead of a container: `ctrexec.open(nil, { pid = 4321 })`" },
  { "policy", value = "array of files, chain",
    means = 'what every command has to pass: policy files, or a chain of `require "ctrexec.policy"`' },
  { "digest", value = "boolean",
    means = "false: what an earlier exec found out about a container of runc is not used" },
}

-- The words for where a field has an effect, by the items of `needs` in its row.
local WHERE = { exec = "in exec", spawn = "in spawn and prepare", open = "in open", policies = "under policies",
  keeper = "under policies" }

--- Says where a field has an effect, if it does not have one everywhere.
-- @tparam {string,...} needs of the row
-- @tparam function spell returns how another field, given by its name, is written
-- @treturn string as "in exec, with keeps_limits or under policies"
function texts.where(needs, spell)
  local words = {}
  for index, name in ipairs(needs) do words[index] = WHERE[name] or "with " .. spell(name) end
  local last = table.remove(words)
  return #words > 0 and table.concat(words, ", ") .. " or " .. last or last
end

--- The texts of a row.
-- @tparam string name of the field, or of the option where there is no field
-- @treturn ?table nil for an option that a site has added
function texts.of(name)
  for _, row in ipairs(texts) do
    if row[1] == name then return row end
  end
end

-- The names of the fields in what is checked, sorted, and each row by its name.
local function fields_in(about)
  local names, rows = {}, {}
  for name, row in pairs(about.others) do names[#names + 1], rows[name] = name, row end
  for _, row in ipairs(about.options) do
    if row.field then names[#names + 1], rows[row.field] = row.field, row end
  end
  table.sort(names)
  return names, rows
end

--- The fields of a spec in a fixed order, also those that it inherits.
-- @tparam table about what is checked, of `ctrexec.exec.fields`
-- @param spec
-- @treturn function iterator over the names
function texts.in_order(about, spec)
  local names, given = {}, {}
  for _, name in ipairs(fields_in(about)) do
    if type(spec) == "table" and spec[name] ~= nil then names[#names + 1], given[name] = name, true end
  end
  for name in next, type(spec) == "table" and spec or {} do
    if not given[name] then names[#names + 1] = name end
  end
  table.sort(names, function(one, other) return tostring(one) < tostring(other) end)
  local index = 0
  return function()
    index = index + 1
    return names[index]
  end
end

--- Refuses a field that has no effect beside the others.
-- @tparam table about what is checked, of `ctrexec.exec.fields`
-- @tparam string name of the field
-- @tparam table row the field's
-- @tparam string why the part of the row that says so: "conflicts", "needs" or "process"
-- @tparam boolean as_options whether fields are called by the names of their options
-- @tparam table place of `ctrexec.lib.schema`
function texts.refuse_idle(about, name, row, why, as_options, place)
  local _, rows = fields_in(about)
  local function spell(other)
    local option = as_options and rows[other] and rows[other].name
    return option and "--" .. option or other
  end
  local words = (texts.of(name) or {}).conflict
  if why == "process" then words = ("has no effect with %s, which is the whole of it"):format(spell "process") end
  if why == "needs" then words = "has an effect only " .. texts.where(row.needs, spell) end
  schema.refuse(place, "%s", words)
end

--- Refuses unknown fields in an object. An array in place of the object is refused where the value is used.
-- @tparam string name of the field whose value the object is
-- @tparam table value
-- @tparam table place of `ctrexec.lib.schema`, of the object
function texts.check_keys(name, value, place)
  local keys, known = texts.of(name).keys, {}
  for _, key in ipairs(keys) do known[key] = true end
  for key in next, value do
    if type(key) == "string" and not known[key] then
      place.depth, place[2] = 2, key
      schema.unknown(place, keys)
    end
  end
end

--- Refuses an unknown field.
-- @tparam table about what is checked, of `ctrexec.exec.fields`
-- @param name of the field
-- @tparam table place of `ctrexec.lib.schema`, of the object
function texts.refuse_unknown(about, name, place)
  place[1] = math.type(name) == "integer" and name or tostring(name)
  schema.unknown(place, (fields_in(about)))
end

return texts
