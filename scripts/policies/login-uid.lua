-- Makes the kernel's audit records of a command name the user who logged in, not the engine that started the command.
return {
  name = "login-uid",
  check = function(request)
    local login = request.caller.login_uid
    if login then
      request.options.login_uid = login
    elseif request.caller.terminal then
      return deny "there is no login behind this terminal: log in as yourself"
    end
  end,
}
