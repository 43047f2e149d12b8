--- Loads a module when a field of it is first used.
--
-- `require` stands at the head of a file. A module that most execs do not need, or that a site may replace after this
-- file was loaded, is named there too, by this function, with the reason in a comment beside it.
-- @module ctrexec.lib.late

--- Returns a stand-in for a module, which loads the module when one of its fields is first read.
-- @tparam string name of the module
-- @treturn table whose fields are the module's
local function late(name)
  return setmetatable({}, { __index = function(self, field)
    local module = require(name)
    setmetatable(self, { __index = module })
    return module[field]
  end })
end

return late
