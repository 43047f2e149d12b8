--- Recordings of sessions: their settings, and the file that `ctrexec replay` and asciinema play.
--
-- As with sudo's I/O log, no session runs without its recording: a file that cannot be made denies the exec, and a
-- failed write to it ends the command, unless `required = false`. The file is always a new one of mode 0600, owned by
-- the user that ctrexec runs as. In a `folder` ctrexec chooses the file's name, and the folder must pass the checks of
-- a policy folder: only root (or the user that ctrexec runs as) can replace the files in it.
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
local ROWS, COLUMNS = 24, 80 -- for a command without a terminal
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

--- Why a session cannot be recorded; nil when it can.
-- @tparam table spec of the exec: `detach`; `records`, true where the caller's process copies all streams of the
-- command and so can record them; `preserve_fds`
-- @tparam[opt] boolean by_policy a policy wants the recording: no descriptor may lead past it
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

--- Completes the settings of a recording that a spec or a policy asks for.
-- @tparam boolean|string|table wanted true: in the site's folder; a string: the file; a table: `file` or `folder`,
-- `input` (also record what is typed while the terminal echoes it), `passwords` (also what it does not echo),
-- `required` (default true: no session without its recording), `max_size` of the file in bytes
-- @tparam ?table site `record` of the configuration: its fields count where `wanted` does not set them
-- @tparam string id of the container, a part of the file's name
-- @tparam[opt] boolean by_policy a policy named the file: its folder must pass the checks of a policy folder
-- @treturn[1] table `file`, the path of the recording; `folder` and `name`, where the folder must be checked; `input`,
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

-- The order of the header's keys, the same as asciinema writes them.
local ORDER = { "version", "width", "height", "timestamp", "title", "command", "env", "ctrexec", "event", "container",
  "runtime" }

local function variable(process, name)
  local prefix, value = name .. "=", nil
  for _, text in ipairs(process.env or {}) do
    if text:sub(1, #prefix) == prefix then value = text:sub(#prefix + 1) end
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
-- @field file path of the file
-- @field core the recorder of `ctrexec.core.recorder`
-- @field required whether a session must end without it
-- @field input whether input is recorded

--- Makes the file of a recording and writes its header.
-- @tparam table settings of `settings`
-- @tparam table about `container`, `process` (OCI process object), `caller` (of `ctrexec.policy.caller`),
-- `event` (id of the audit events), `audit` (of the configuration, for what must be redacted)
-- @tparam {table,...} warnings to which a failure is added when the recording is not required
-- @treturn[1] recording
-- @treturn[2] nil
-- @treturn[2] ?string message; nil when the session may run without a recording
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

--- Writes what is still in memory and closes the file. A second call returns the same again.
-- @tparam {table,...} warnings to which an early end is added when the recording is not required
-- @treturn[1] boolean true
-- @treturn[2] nil the recording is required and not complete
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

--- Removes the file: the command was not run.
function Recording:discard()
  self.core:finish()
  core.file.remove(self.file)
end

--- What audit events tell of the recording.
-- @treturn table `file`; `size` in bytes; `error` when the recording ends early
function Recording:summary()
  return { file = self.file, size = self.core:size(), error = self.fault }
end

return recordings
