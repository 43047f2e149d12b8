--- Writes entries to the host's journald and syslog, each as one datagram.
-- @module ctrexec.lib.journal
local core = require "ctrexec.core"

local journal = {}

--- The sockets on which syslog and journald listen; tests put other paths here.
journal.SYSLOG_SOCKET = "/dev/log"
journal.JOURNALD_SOCKET = "/run/systemd/journal/socket"

-- The numbers that syslog(3) gives to facilities and priorities.
local FACILITIES = { user = 1, authpriv = 10 }
local PRIORITIES = { error = 3, warning = 4, info = 6, debug = 7 }

-- A newline in a name or a value would end it early, and let the rest of it pass for another field.
local function single_line(text) return (text:gsub("%c", " ")) end

--- Writes a line to syslog, in the form of syslog(3).
-- @tparam string facility "user" or "authpriv"
-- @tparam string level "error", "warning", "info" or "debug"
-- @tparam string identifier the name of the program that writes
-- @tparam string text one line
-- @treturn[1] boolean true
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] integer errno
function journal.syslog(facility, level, identifier, text)
  return core.datagram.send(journal.SYSLOG_SOCKET, ("<%d>%s %s: %s"):format(
    FACILITIES[facility] * 8 + PRIORITIES[level], os.date "%b %e %H:%M:%S", single_line(identifier), text))
end

--- Writes an entry to journald, in its native protocol (systemd's JOURNAL_NATIVE_PROTOCOL): NAME=value lines, and the
-- message, which may have newlines, after its length.
-- @tparam string level as for `syslog`
-- @tparam string identifier the name of the program that writes
-- @tparam string text
-- @tparam[opt] table fields values of further fields, by name
-- @treturn[1] boolean true
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] integer errno
function journal.journald(level, identifier, text, fields)
  local lines = {}
  for name, value in pairs(fields or {}) do lines[#lines + 1] = name .. "=" .. single_line(value) end
  table.sort(lines)
  table.insert(lines, 1, "PRIORITY=" .. PRIORITIES[level])
  table.insert(lines, 2, "SYSLOG_IDENTIFIER=" .. single_line(identifier))
  table.insert(lines, "MESSAGE\n" .. string.pack("<s8", text) .. "\n")
  return core.datagram.send(journal.JOURNALD_SOCKET, table.concat(lines, "\n"))
end

return journal
