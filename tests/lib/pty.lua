--- A pseudo-terminal: its two descriptors `master` and `slave`, both closed at the end of the scope.

local core = require "ctrexec.core"
local processes = require "processes"

local class = { __close = function (self)
  self.master:close()
  self.slave:close()
end }

--- @tparam[opt] integer rows its size
-- @tparam[opt] integer columns
return function (rows, columns)
  local master, slave = processes.openpty()
  local pty = setmetatable({ master = core.fd.wrap(master), slave = core.fd.wrap(slave) }, class)
  if rows then assert(core.terminal.set_size(pty.master, rows, columns)) end
  return pty
end
