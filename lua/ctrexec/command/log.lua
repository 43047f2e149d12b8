--- The log: lines as runc writes them and as engines read them.
--
-- A line is one write(2), so that those of concurrent execs never mix. Text lines are logrus's, JSON lines have the
-- keys `level`, `msg` and `time` (RFC 3339, local zone). Without a log file entries go to standard error; with one,
-- errors also go there as bare messages, as with runc and crun.
-- @module ctrexec.command.log
local late = require "ctrexec.lib.late"
-- Loaded late: most execs write no log, and a log needs only the modules of its place and its format.
local core = late "ctrexec.core"
local journal = late "ctrexec.lib.journal"
local json = late "ctrexec.lib.json"
local wording = late "ctrexec.lib.wording"

local log = {}

-- The levels; messages of a lower rank than the log's are dropped.
local LEVELS = {
  debug = { rank = 1, label = "DEBU", colour = 37 },
  info = { rank = 2, label = "INFO", colour = 36 },
  warning = { rank = 3, label = "WARN", colour = 33 },
  error = { rank = 4, label = "ERRO", colour = 31 },
}
local FILE_MODE = 420 -- 0644, less the umask

local Logger = {}
Logger.__index = Logger

-- logrus quotes a value unless it consists of these characters.
local function go_value(text)
  return text:find "[^%w%-._/@^+]" and wording.quote(text) or text
end

local function timestamp()
  local zone = os.date "%z"
  zone = zone == "+0000" and "Z" or zone:sub(1, 3) .. ":" .. zone:sub(4)
  return os.date "%Y-%m-%dT%H:%M:%S" .. zone
end

local function json_entry(level, message)
  return ('{"level":"%s","msg":%s,"time":"%s"}'):format(level, json.string(message, true), timestamp())
end

local function text_entry(level, message)
  return ('time="%s" level=%s msg=%s'):format(timestamp(), level, go_value(message))
end

-- Escapes control characters: text that a message quotes must not control the reader's terminal.
local function terminal_text(message) return (wording.escape(message):gsub('\\(["\\])', "%1")) end

-- logrus's form for people: no time but seconds since the start, the level coloured, the message padded.
local function terminal_entry(level, message, seconds)
  local shape = LEVELS[level]
  message = terminal_text(message)
  local padding = (" "):rep(math.max(1, 45 - utf8.len(message)))
  return ("\27[%dm%s\27[0m[%04d] %s%s"):format(shape.colour, shape.label, seconds, message, padding)
end

local function stderr(line) io.stderr:write(line .. "\n") end

-- Go prints the texts of errno with a small first letter.
local function go_error(message)
  return (message:gsub(": %u[^:]*$", string.lower))
end

local function to_stderr(self, level, message)
  if self.json then
    stderr(json_entry(level, message))
  elseif core.terminal.is_terminal(2) then
    stderr(terminal_entry(level, message, os.time() - self.start))
  else
    stderr(text_entry(level, message))
  end
  return true
end

local function to_file(self, level, message)
  local line = (self.json and json_entry or text_entry)(level, message) .. "\n"
  local count, reason = core.fd.write(self.fd, line)
  return count, reason and ("write %s: %s"):format(self.path, reason:match "[^:]*$":sub(2))
end

local function to_journald(self, level, message)
  return journal.journald(level, self.identifier, self.json and json_entry(level, message) or message, { ID = self.id })
end

local function to_syslog(self, level, message)
  return journal.syslog("user", level, self.identifier,
    self.json and json_entry(level, message) or terminal_text(message))
end

local function write(self, level, message)
  if LEVELS[level].rank < self.rank then return end
  local ok, reason = self.emit(self, level, message)
  if not ok and not self.failed then
    self.failed = true
    stderr("Failed to write to log, " .. go_error(reason))
  end
  if level == "error" and self.emit ~= to_stderr then
    stderr(core.terminal.is_terminal(2) and terminal_text(message) or message)
  end
end

--- Writes an entry. Where the log is not standard error, the bare message also goes there.
-- @tparam string message one line or more; newlines are escaped in the entry
function Logger:error(message) write(self, "error", message) end

--- Writes an entry.
-- @tparam string message
function Logger:warn(message) write(self, "warning", message) end

--- Writes an entry.
-- @tparam string message
function Logger:info(message) write(self, "info", message) end

--- Writes an entry.
-- @tparam string message
function Logger:debug(message) write(self, "debug", message) end

--- Closes the log file. What is logged afterwards goes to standard error.
function Logger:close()
  if self.fd then self.fd:close() end
  self.fd, self.emit = nil, to_stderr
end

Logger.__close = Logger.close

--- Opens a log.
-- @tparam ?table settings `file` (a path, "file:PATH", "journald:NAME" or "syslog:NAME"; nil or "" for standard error),
-- `format` ("text", the default, or "json"), `level` ("debug", "info", the default, "warning" or "error"), `id` (of the
-- container, for the journal)
-- @treturn table a logger. The file exists from now on; it is opened for appending, mode 0644.
-- @return nil, message, "usage" when the file cannot be opened: ctrexec then exits with 1, as runc does
function log.open(settings)
  settings = settings or {}
  local file = settings.file or ""
  local kind, name = file:match "^(%l+):(.*)$"
  local self = setmetatable({
    json = settings.format == "json", rank = LEVELS[settings.level or "info"].rank, start = os.time(),
    emit = to_stderr, id = settings.id,
  }, Logger)
  if kind == "journald" or kind == "syslog" then
    self.emit = kind == "journald" and to_journald or to_syslog
    self.identifier = name ~= "" and name or settings.id or "ctrexec"
  elseif file ~= "" then
    local path = kind == "file" and name or file
    local fd, message = core.file.open(path, { write = true, append = true, create = true }, FILE_MODE)
    if not fd then return nil, go_error(message), "usage" end
    self.fd, self.path, self.emit = fd, path, to_file
  end
  return self
end

return log
