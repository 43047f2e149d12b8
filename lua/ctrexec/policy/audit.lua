--- The audit trail: one JSON line an event, to a file, syslog and journald.
-- @module ctrexec.policy.audit
local core = require "ctrexec.core"
local journal = require "ctrexec.lib.journal"
local json = require "ctrexec.lib.json"
local late = require "ctrexec.lib.late"
local schema = require "ctrexec.lib.schema"
local wording = late "ctrexec.lib.wording" -- only a site without a record of commands needs it

local audit = {}

-- The longest line: a write of this size to a file opened with O_APPEND is one piece on every local file system, and
-- a datagram of it fits the default send buffer of a UNIX socket.
local MAX_LINE = 131072
local REDACTED = "[redacted]"

--- The present time, as an event has it.
-- @treturn string RFC 3339, UTC, in whole seconds
function audit.timestamp()
  return os.date "!%Y-%m-%dT%H:%M:%SZ"
end

--- A duration, as an event has it.
-- @tparam number value seconds
-- @treturn number seconds, in whole microseconds
function audit.seconds(value)
  return math.floor(value * 1e6 + 0.5) / 1e6
end

-- A pattern without a capture hides the whole match. A pattern with captures, such as `token=(%S+)`, hides what they
-- capture; where the captured text stands in the match twice (`token=token`), the whole match is hidden, to be safe.
local function hide_match(match, captures)
  local spans = {}
  for _, capture in ipairs(captures) do
    if type(capture) == "string" and capture ~= "" then
      local start, stop = match:find(capture, 1, true)
      if match:find(capture, start + 1, true) then return REDACTED end
      spans[#spans + 1] = { start, stop }
    end
  end
  if #spans == 0 then return REDACTED end
  table.sort(spans, function(one, other) return one[1] < other[1] end)
  local parts, at = {}, 1
  for _, span in ipairs(spans) do
    if span[1] >= at then parts[#parts + 1] = match:sub(at, span[1] - 1) .. REDACTED end
    at = math.max(at, span[2] + 1)
  end
  return table.concat(parts) .. match:sub(at)
end

local function redact(text, patterns)
  for _, pattern in ipairs(patterns or {}) do
    local parts, at = {}, 1
    while at <= #text do
      local found = table.pack(text:find(pattern, at))
      local start, stop = found[1], found[2]
      if not start then break end
      parts[#parts + 1] = text:sub(at, start - 1)
      if stop < start then
        parts[#parts + 1], at = text:sub(start, start), start + 1 -- an empty match: go on with the next character
      else
        parts[#parts + 1], at = hide_match(text:sub(start, stop), table.move(found, 3, found.n, 1, {})), stop + 1
      end
    end
    text = table.concat(parts) .. text:sub(at)
  end
  return text
end

local function redacted_list(list, patterns)
  local result = schema.as_array {}
  for index, text in ipairs(list or {}) do result[index] = redact(text, patterns) end
  return result
end

--- The arguments of a command, with the site's secrets hidden.
-- @tparam {string,...} args
-- @tparam table settings `audit` of the configuration: `redact`, `command`
-- @treturn ?{string,...} redacted; nil when the site does not want arguments in its trail (`command = false`)
function audit.arguments(args, settings)
  if settings.command == false then return nil end
  return redacted_list(args, settings.redact)
end

local EVENT_KINDS = { accept = true, reject = true, exit = true, error = true }

local function who(caller)
  return caller and {
    uid = caller.uid, user = caller.user, login_uid = caller.login_uid, login_user = caller.login_user,
    sudo_user = caller.sudo_user, pid = caller.pid, engine = caller.engine, terminal = caller.terminal,
  }
end

local function where(container)
  return container and { id = container.id, runtime = container.runtime, bundle = container.bundle,
    pid = container.pid }
end

local function what(process)
  local user = process and process.user or {}
  return process and { args = process.args, cwd = process.cwd, uid = user.uid, gid = user.gid,
    terminal = process.terminal, no_new_privileges = process.noNewPrivileges }
end

--- Builds an event.
-- @tparam string kind "accept", "reject", "exit" or "error"
-- @tparam table details `id` (the same for all events of one exec), `caller` (of `ctrexec.policy.caller`), `container`,
-- `process` (OCI process object), `result` (of `chain:check`: policy, reason, changes),
-- `outcome` (of an exit: `status`, `signal`, `duration`, `user_time`, `system_time` in seconds, `max_rss` in KiB,
-- `timed_out = true` where a time limit ended the command, `status_unknown = true`; of an accepted detached exec on a
-- kernel that may lose its status `exit_unknown = true`),
-- `pid` (of the command), `message` (of an error), `fields` (options.audit of the request), `detached`, `recording`
-- @treturn table event: `kind`, `time` (RFC 3339), `id`, `who`, `where`, `what`, `decision`, `policy`, `reason`,
-- `changed_by`, `outcome`, `pid`, `message`, `fields`, `detached`, `recording`; absent parts are nil
function audit.event(kind, details)
  if not EVENT_KINDS[kind] then error("audit.event: unknown kind " .. tostring(kind), 2) end
  local result = details.result or {}
  local changed_by = {}
  for _, change in ipairs(result.changes or {}) do
    if changed_by[#changed_by] ~= change.policy then changed_by[#changed_by + 1] = change.policy end
  end
  return {
    kind = kind, time = audit.timestamp(), id = details.id,
    who = who(details.caller), where = where(details.container), what = what(details.process),
    decision = result.decision, policy = result.policy, reason = result.reason,
    changed_by = #changed_by > 0 and changed_by or nil,
    outcome = details.outcome, pid = details.pid, message = details.message, fields = details.fields,
    detached = details.detached, recording = details.recording,
  }
end

-- A message names the command, in quotes or plainly. Where the site wants no record of commands, it names none.
local function without_words(text, words)
  for _, word in ipairs(words or {}) do
    for _, form in ipairs { wording.quote(word), word } do
      local parts, at = {}, 1
      while form ~= "" do
        local start, stop = text:find(form, at, true)
        if not start then break end
        parts[#parts + 1], at = text:sub(at, start - 1) .. REDACTED, stop + 1
      end
      text = table.concat(parts) .. text:sub(at)
    end
  end
  return text
end

--- An event as it may be shown, to the sinks and to the policies alike: redacted, and without the command where the
-- site wants no record of it.
-- @tparam table settings `audit` of the configuration: `redact`, `command`
-- @tparam table event of `audit.event`; not changed
-- @treturn table event
function audit.shown(settings, event)
  local copy = {}
  for name, value in pairs(event) do copy[name] = value end
  local args = event.what and event.what.args
  if event.what then
    local command = {}
    for name, value in pairs(event.what) do command[name] = value end
    command.args = audit.arguments(args, settings)
    copy.what = command
  end
  for _, name in ipairs { "reason", "message" } do
    if copy[name] and settings.command == false then copy[name] = without_words(copy[name], args) end
    if copy[name] then copy[name] = redact(copy[name], settings.redact) end
  end
  if event.fields then
    copy.fields = {}
    for name, value in pairs(event.fields) do
      copy.fields[name] = type(value) == "string" and redact(value, settings.redact) or value
    end
  end
  return copy
end

-- The beginning and the end of a string, and how many bytes are left out between them.
local function shortened(text, most)
  if #text <= most then return text end
  local half = most // 2
  return ("%s[%d bytes omitted]%s"):format(text:sub(1, half), #text - 2 * half, text:sub(-half))
end

-- A copy of a value in which no string is longer than `most` bytes and no array or map larger than `most` items.
local function bounded(value, most)
  if type(value) == "string" then return shortened(value, most) end
  if type(value) ~= "table" then return value end
  local copy, count = setmetatable({}, getmetatable(value)), 0
  if #value > most then
    for index = 1, most do copy[index] = bounded(value[index], most) end
    copy[most + 1] = ("[%d more]"):format(#value - most)
    return copy
  end
  for name, item in pairs(value) do
    count = count + 1
    if count <= most then copy[type(name) == "string" and shortened(name, most) or name] = bounded(item, most) end
  end
  return copy
end

-- What does not fit is shortened, the longest strings first: an exec leaves its event, whatever its arguments are.
local LENGTHS = { 32768, 8192, 2048, 512, 128, 32 }

local function line_of(event)
  local line = json.encode(event)
  for _, most in ipairs(LENGTHS) do
    if #line <= MAX_LINE then break end
    line = json.encode(bounded(event, most))
  end
  return line
end

local APPEND = { write = true, append = true, create = true, nofollow = true, nonblock = true }
local READABLE = { read = true, write = true, append = true, create = true, nofollow = true, nonblock = true }
local MODE = tonumber("600", 8)
local EACCES = core.errno.EACCES
local TRIES = 3

-- Whether the line before a place of the file lacks its newline, as after a write that filled the disk. A file that
-- cannot be read counts as whole.
local function is_torn(fd, place)
  local before = place > 0 and core.fd.read_at(fd, place - 1, 1)
  return before and before ~= "" and before ~= "\n"
end

local function open_file(path)
  local fd, message, errno = core.file.open(path, READABLE, MODE)
  if errno == EACCES then fd, message = core.file.open(path, APPEND, MODE) end -- it may allow writing alone
  return fd, message
end

-- The file is opened for each event, so that ctrexec follows a rotation at once. The line is one write(2): O_APPEND
-- keeps the lines of several writers apart. A line that landed behind an unfinished one is written once more; that can
-- be told only after the write, because before it another process may still be writing its line. The unfinished line
-- stays in the file: cutting it off could destroy what another process has written since.
local function write_file(path, line)
  local fd <close>, message = open_file(path)
  if not fd then return nil, message end
  local status = core.file.stat(fd)
  if not status or status.type ~= "file" then return nil, path .. ": not a plain file" end
  line = line .. "\n"
  for _ = 1, TRIES do
    local written, problem = core.fd.write(fd, line)
    if not written then return nil, ("%s: %s"):format(path, problem) end
    if written ~= #line then return nil, path .. ": only a part of the line was written" end
    if not is_torn(fd, core.fd.offset(fd) - #line) then return true end
  end
  return nil, path .. ": others write parts of lines"
end

local function level_of(event)
  return event.kind == "reject" and "warning" or "info"
end

local function write_syslog(event, line)
  return journal.syslog("authpriv", level_of(event), ("ctrexec[%d]"):format(core.process.ids().pid), line)
end

local function write_journald(event, line)
  return journal.journald(level_of(event), "ctrexec", line, {
    CTREXEC_EVENT = event.kind, CTREXEC_CONTAINER = event.where and event.where.id,
  })
end

--- Writes an event to the configured sinks.
-- @tparam table settings `audit` of the configuration: `file`, `syslog`, `journald`, `redact`, `command`
-- @tparam table event of `audit.event`; not changed
-- @treturn[1] boolean true: every configured sink has it
-- @treturn[2] nil
-- @treturn[2] string what went wrong at each sink that failed
-- @treturn[2] string "system"
function audit.write(settings, event)
  local copy = audit.shown(settings, event)
  local line = line_of(copy)
  local problems = {}
  local function note(written, problem)
    if not written then problems[#problems + 1] = problem end
  end
  if settings.file then note(write_file(settings.file, line)) end
  if settings.syslog then note(write_syslog(copy, line)) end
  if settings.journald then note(write_journald(copy, line)) end
  if #problems > 0 then return nil, "audit: " .. table.concat(problems, "; "), "system" end
  return true
end

return audit
