--- The one way in which nested calls fail: a function deep down calls `fail`, `guarded` at the top returns the reason.
--
-- Functions that build or check something in many steps then need no test after each step.
-- @module ctrexec.lib.unwind
local unwind = {}

local Failure = {}

--- Gives up: the enclosing `guarded` returns nil and these arguments.
-- @tparam string message
-- @tparam[opt] string code of the public module, by default "system"
-- @param[opt] detail a third value for the caller of `guarded`
function unwind.fail(message, code, detail)
  error(setmetatable({ message = message, code = code or "system", detail = detail }, Failure), 0)
end

local function finish(ok, result, ...)
  if ok then return result, ... end
  if getmetatable(result) ~= Failure then error(result, 0) end
  if result.detail == nil then return nil, result.message, result.code end
  return nil, result.message, result.code, result.detail
end

--- Calls a function that may call `fail`. Other errors pass through.
-- @tparam function f
-- @param ... its arguments
-- @return[1] what it returns
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code
-- @return[2] detail, where one was given
function unwind.guarded(f, ...)
  return finish(pcall(f, ...))
end

return unwind
