-- Interactive root needs a reason: EXEC_REASON="..." in front of the command. The audit trail keeps the reason.
-- This policy works alone, and after directives.lua, which then takes the reason off the command.
return {
  name = "require-reason",
  check = function(request)
    local args = request.process.args
    local reason = args[1]:match "^EXEC_REASON=(.*)$"
    if reason then
      table.remove(args, 1)
      request.options.audit = request.options.audit or {} -- what another policy noted stays
      request.options.audit.reason = reason
    end
    reason = reason or (request.options.audit or {}).reason
    if not (request.interactive and request.process.user.uid == 0) then return end
    if not reason or not reason:find "%S%s*%S%s*%S" then
      return deny 'interactive root needs a reason: put EXEC_REASON="..." in front of the command'
    end
  end,
}
