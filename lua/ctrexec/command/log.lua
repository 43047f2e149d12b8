--- The log: lines as runc writes them and as engines read them.
--
-- A line is one write(2), so that those of concurrent execs never mix. Text lines are logrus's, JSON lines have the
-- keys `level`, `msg` and `time` (RFC 3339, local zone). Without a log file entries go to standard error; with one,
-- errors also go there as bare messages, as with runc and crun.
-- @module ctrexec.command.log
local log = {}

-- The levels: what is less than the wanted one is dropped. Priorities are those of syslog(3).
local LEVELS = {
  debug = { rank = 1, priority = 7, label = "DEBU", colour = 37 },
  info = { rank = 2, priority = 6, label = "INFO", colour = 36 },
  warning = { rank = 3, priority = 4, label = "WARN", colour = 33 },
  error = { rank = 4, priority = 3, label = "ERRO", colour = 31 },
}
local LOG_USER = 8
local FILE_MODE = 420 -- 0644, less the umask

local Logger = {}
Logger.__index = Logger

local function core() return require "ctrexec.core" end

local GO_ESCAPES = {
  ['"'] = '\\"', ["\\"] = "\\\\", ["\a"] = "\\a", ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n", ["\r"] = "\\r",
  ["\t"] = "\\t", ["\v"] = "\\v",
}
local JSON_ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

-- What Go's strconv.IsPrint refuses above ASCII, but for unassigned code points: controls, blanks, format characters
-- (among them those that turn the direction of writing), private use.
local UNPRINTABLE = {
  { 0x80, 0xA0 }, { 0xAD, 0xAD }, { 0x600, 0x605 }, { 0x61C, 0x61C }, { 0x6DD, 0x6DD }, { 0x70F, 0x70F },
  { 0x1680, 0x1680 }, { 0x180E, 0x180E }, { 0x2000, 0x200F }, { 0x2028, 0x202F }, { 0x205F, 0x206F },
  { 0x3000, 0x3000 }, { 0xE000, 0xF8FF }, { 0xFEFF, 0xFEFF }, { 0xFFF9, 0xFFFB }, { 0xE0000, 0x10FFFF },
}

local function go_escape_byte(byte) return GO_ESCAPES[byte] or ("\\x%02x"):format(byte:byte()) end

local function go_escape_rune(rune)
  local code = utf8.codepoint(rune)
  for _, range in ipairs(UNPRINTABLE) do
    if code >= range[1] and code <= range[2] then return (code > 0xFFFF and "\\U%08x" or "\\u%04x"):format(code) end
  end
end

-- Applies `valid` to the runs of valid UTF-8 in text and `invalid` to each byte between them, as Go reads bytes.
local function map_utf8(text, valid, invalid)
  local parts, position = {}, 1
  while position <= #text do
    local _, wrong = utf8.len(text, position)
    parts[#parts + 1] = valid(text:sub(position, (wrong or 0) - 1))
    if not wrong then break end
    parts[#parts + 1] = invalid(text:sub(wrong, wrong))
    position = wrong + 1
  end
  return table.concat(parts)
end

--- Text as it may stand in JSON, which is UTF-8: each byte that is none becomes U+FFFD.
-- @tparam string text
-- @treturn string
function log.valid_utf8(text)
  if utf8.len(text) then return text end
  return map_utf8(text, function(run) return run end, function() return "\u{FFFD}" end)
end

-- Go's %q, without the quotes.
local function go_escape(text)
  return map_utf8(text, function(run)
    return (run:gsub('[%c"\\]', go_escape_byte):gsub("[\xC2-\xF4][\x80-\xBF]+", go_escape_rune))
  end, go_escape_byte)
end

-- logrus quotes a value unless it consists of these characters.
local function go_value(text)
  return text:find "[^%w%-._/@^+]" and '"' .. go_escape(text) .. '"' or text
end

local function json_escape_byte(byte) return JSON_ESCAPES[byte] or ("\\u%04x"):format(byte:byte()) end

-- encoding/json's: its escapes for HTML's sake too.
local function json_string(text)
  return '"' .. map_utf8(text, function(run)
    return (run:gsub('[\0-\31"\\<>&]', json_escape_byte):gsub("\u{2028}", "\\u2028"):gsub("\u{2029}", "\\u2029"))
  end, function() return "\\ufffd" end) .. '"'
end

local function timestamp()
  local zone = os.date "%z"
  zone = zone == "+0000" and "Z" or zone:sub(1, 3) .. ":" .. zone:sub(4)
  return os.date "%Y-%m-%dT%H:%M:%S" .. zone
end

local function json_entry(level, message)
  return ('{"level":"%s","msg":%s,"time":"%s"}'):format(level, json_string(message), timestamp())
end

local function text_entry(level, message)
  return ('time="%s" level=%s msg=%s'):format(timestamp(), level, go_value(message))
end

-- Nothing that a message quotes may drive the reader's terminal.
local function terminal_text(message) return (go_escape(message):gsub('\\(["\\])', "%1")) end

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
  elseif core().terminal.is_terminal(2) then
    stderr(terminal_entry(level, message, os.time() - self.start))
  else
    stderr(text_entry(level, message))
  end
  return true
end

local function to_file(self, level, message)
  local line = (self.json and json_entry or text_entry)(level, message) .. "\n"
  local count, reason = core().fd.write(self.fd, line)
  return count, reason and ("write %s: %s"):format(self.path, reason:match "[^:]*$":sub(2))
end

-- The journal's native protocol: KEY=VALUE lines, or KEY, a length and the value where that may hold newlines.
local function to_journald(self, level, message)
  local text = self.json and json_entry(level, message) or message
  return core().datagram.send("/run/systemd/journal/socket", table.concat {
    "PRIORITY=", LEVELS[level].priority, "\nSYSLOG_IDENTIFIER=", self.identifier,
    self.id and "\nID=" .. self.id or "", "\nMESSAGE\n", string.pack("<s8", text), "\n",
  })
end

local function to_syslog(self, level, message)
  return core().datagram.send("/dev/log", ("<%d>%s %s: %s"):format(LOG_USER + LEVELS[level].priority,
    os.date "%b %e %H:%M:%S", self.identifier, self.json and json_entry(level, message) or terminal_text(message)))
end

-- A field of a datagram must not end it early.
local function single_line(text) return (text:gsub("%c", " ")) end

local function write(self, level, message)
  if LEVELS[level].rank < self.rank then return end
  local ok, reason = self.emit(self, level, message)
  if not ok and not self.failed then
    self.failed = true
    stderr("Failed to write to log, " .. go_error(reason))
  end
  if level == "error" and self.emit ~= to_stderr then
    stderr(core().terminal.is_terminal(2) and terminal_text(message) or message)
  end
end

--- Writes an entry; with a log other than standard error also the bare message on standard error.
-- @tparam string message one line, or more: newlines are escaped in the entry
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
-- @return nil, message, "usage" when the file cannot be opened: runc and we then exit with 1
function log.open(settings)
  settings = settings or {}
  local file = settings.file or ""
  local kind, name = file:match "^(%l+):(.*)$"
  local self = setmetatable({
    json = settings.format == "json", rank = LEVELS[settings.level or "info"].rank, start = os.time(),
    emit = to_stderr, id = settings.id and single_line(settings.id),
  }, Logger)
  if kind == "journald" or kind == "syslog" then
    self.emit = kind == "journald" and to_journald or to_syslog
    self.identifier = single_line(name ~= "" and name or settings.id or "ctrexec")
  elseif file ~= "" then
    local path = kind == "file" and name or file
    local fd, message = core().file.open(path, { write = true, append = true, create = true }, FILE_MODE)
    if not fd then return nil, go_error(message), "usage" end
    self.fd, self.path, self.emit = fd, path, to_file
  end
  return self
end

return log
