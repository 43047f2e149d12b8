--- Recordings of sessions: what is recorded where, and the file that `ctrexec replay` and asciinema play.
--
-- As with sudo's I/O log, a recording that was asked for is there or nothing is run: a file that cannot be made denies
-- the exec, one that cannot be written on ends it, unless `required = false`. The file is new, mode 0600, and the
-- caller's. In a `folder` its name is ctrexec's to choose, and the folder has to be as a policy's folder is: nobody but
-- root (or the user that ctrexec runs as) may be able to replace what is in it.
-- @module ctrexec.policy.recording
local audit = require "ctrexec.policy.audit"
local core = require "ctrexec.core"
local json = require "ctrexec.lib.json"
local readers = require "ctrexec.lib.reader"
local schema = require "ctrexec.lib.schema"
local types = require "ctrexec.exec.field_types"

local recordings = {}

local Recording = {}
Recording.__index = Recording

local MODE = tonumber("600", 8)
local NEW = { write = true, create = true, exclusive = true, nofollow = true }
local ROWS, COLUMNS = 24, 80 -- of a command without a terminal
local MAX_ID = 64 -- bytes of a container's id in a file's name

local FIELDS = { "folder", "file", "input", "passwords", "required", "max_size" }

local function random_word()
  local random <close> = assert(io.open("/dev/urandom", "rb"))
  return (random:read(4):gsub(".", function(byte) return ("%02x"):format(byte:byte()) end))
end

local function name_for(id)
  id = id:gsub("[^%w_.-]", "_"):sub(1, MAX_ID)
  return ("%s-%s-%d-%s.cast"):format(os.date "!%Y%m%dT%H%M%SZ", id, core.process.ids().pid, random_word())
end

--- Why a session cannot be recorded, if it cannot.
-- @tparam table spec of the exec: `detach`; `records`, true where the caller copies all streams of the command himself
-- and records them; `preserve_fds`
-- @tparam[opt] boolean by_policy nothing that the command writes may get past the recording
-- @treturn ?string one line
function recordings.obstacle(spec, by_policy)
  if spec.detach then return "nobody would be there to record a detached command" end
  if by_policy and (spec.preserve_fds or 0) > 0 then
    return "what goes to descriptors of --preserve-fds would not pass by the recorder"
  end
  if not spec.records then
    return "the command's streams would not pass by the recorder (a program records with container:exec, "
      .. "and captures or drops every stream)"
  end
end

--- Completes what a spec or a policy says of a recording.
-- @tparam boolean|string|table wanted true: in the site's folder; a string: the file; a table: `file` or `folder`,
-- `input` (what is typed, too, as long as the terminal echoes it), `passwords` (also what it does not echo), `required`
-- (default true: no session without its recording), `max_size` of the file in bytes
-- @tparam ?table site `record` of the configuration, for what `wanted` does not say
-- @tparam string id of the container, a part of the file's name
-- @tparam[opt] boolean by_policy the folder of a file must be as a policy's, too
-- @treturn[1] table `file`, the path it will have; `folder` and `name`, where the folder is to be checked; `input`,
-- `passwords`, `required`, `max_size`
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code "invalid"
function recordings.settings(wanted, site, id, by_policy)
  local fault
  wanted, fault = schema.check(types.recording, wanted, "record")
  if not wanted then return nil, fault, "invalid" end
  if type(wanted) ~= "table" then wanted = { file = type(wanted) == "string" and wanted or nil } end
  local settings = {}
  for _, field in ipairs(FIELDS) do
    settings[field] = wanted[field]
    if settings[field] == nil and site then settings[field] = site[field] end
  end
  if settings.required == nil then settings.required = true end
  if settings.file then
    settings.folder = nil
    if by_policy then settings.folder, settings.name = settings.file:match "^(/.-)/*([^/]+)$" end
  elseif settings.folder then
    settings.name = name_for(id)
    settings.file = settings.folder .. "/" .. settings.name
  else
    return nil, "record: no folder is configured (record.folder of config.lua)", "invalid"
  end
  return settings
end

-- Returns the descriptor of a new, empty file.
local function create(settings)
  if not settings.name then return core.file.open(settings.file, NEW, MODE) end
  local reader <close> = readers.new()
  local folder, message = reader:folder(settings.folder)
  if not folder then return nil, message end
  return core.file.openat(folder, settings.name, NEW, nil, MODE)
end

-- The header's keys, as the format's other writers have them.
local ORDER = { "version", "width", "height", "timestamp", "title", "command", "env", "ctrexec", "event", "container",
  "runtime" }

local function variable(process, name)
  local prefix, value = name .. "=", nil
  for _, entry in ipairs(process.env or {}) do
    if entry:sub(1, #prefix) == prefix then value = entry:sub(#prefix + 1) end
  end
  return value
end

local function size_of(process)
  local size = process.consoleSize or {}
  local rows, columns = size.height or 0, size.width or 0
  if rows == 0 or columns == 0 then return ROWS, COLUMNS end
  return rows, columns
end

local function header_of(about)
  local process, caller = about.process, about.caller
  local args = audit.arguments(process.args, about.audit or {})
  local rows, columns = size_of(process)
  return json.encode({
    version = 2, width = columns, height = rows, timestamp = os.time(),
    title = about.container.id .. (args and ": " .. args[1] or ""),
    command = args and table.concat(args, " "),
    env = { SHELL = variable(process, "SHELL"), TERM = variable(process, "TERM") },
    ctrexec = {
      event = about.event, container = about.container.id, runtime = about.container.runtime,
      user = ("%d:%d"):format(process.user.uid, process.user.gid),
      caller = {
        uid = caller.uid, user = caller.user, login_uid = caller.login_uid, login_user = caller.login_user,
        sudo_user = caller.sudo_user, engine = caller.engine, pid = caller.pid,
      },
    },
  }, ORDER), rows, columns
end

local function begin(settings, about)
  local fd <close>, message = create(settings)
  if not fd then return nil, message end
  local header, rows, columns = header_of(about)
  local recorder, why = core.recorder.new(fd, header, {
    required = settings.required, input = settings.input, passwords = settings.passwords, rows = rows,
    columns = columns, max_size = settings.max_size,
  })
  if recorder then return recorder end
  core.file.remove(settings.file)
  return nil, ("%s: %s"):format(settings.file, why)
end

--- A recording under way.
-- @table recording
-- @field file its path
-- @field core the recorder of `ctrexec.core.recorder`
-- @field required whether a session must end without it
-- @field input whether input is recorded

--- Makes the file of a recording and writes its header.
-- @tparam table settings of `settings`
-- @tparam table about `container`, `process` (OCI process object), `caller` (of `ctrexec.policy.caller`),
-- `event` (id of the audit events), `audit` (of the configuration, for what must not be shown)
-- @tparam {table,...} warnings where it is said that there is none, if it is not required
-- @treturn[1] recording
-- @treturn[2] nil
-- @treturn[2] ?string message; nil when the session goes on without
-- @treturn[2] ?string code "system"
function recordings.open(settings, about, warnings)
  local recorder, message = begin(settings, about)
  if recorder then
    return setmetatable({
      file = settings.file, core = recorder, required = settings.required, input = settings.input,
    }, Recording)
  end
  message = "the session cannot be recorded: " .. message
  if settings.required then return nil, message, "system" end
  table.insert(warnings, { level = "warning", message = message })
end

--- Writes what is left and closes the file. A second call gives the same answer.
-- @tparam {table,...} warnings where it is said that the recording ends early, if it is not required
-- @treturn[1] boolean true
-- @treturn[2] nil it is required and not complete
-- @treturn[2] string message
function Recording:finish(warnings)
  local complete, message = self.core:finish()
  if complete then return true end
  self.fault = ("the recording ends early: %s: %s"):format(self.file, message)
  if self.required then return nil, self.fault end
  if not self.warned then table.insert(warnings, { level = "warning", message = self.fault }) end
  self.warned = true
  return true
end

--- Takes the file away again: nothing was run.
function Recording:discard()
  self.core:finish()
  core.file.remove(self.file)
end

--- What audit events say of it.
-- @treturn table `file`; `size` in bytes; `error` when it ends early
function Recording:summary()
  return { file = self.file, size = self.core:size(), error = self.fault }
end

return recordings
