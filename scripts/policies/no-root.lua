-- Denies commands that run as root, except in containers with the annotation "ctrexec.allow-root": "true".
return {
  name = "no-root",
  check = function(request)
    local annotations = request.container.annotations or {}
    if request.process.user.uid == 0 and annotations["ctrexec.allow-root"] ~= "true" then
      return deny "commands must not run as root here: name a user with -u"
    end
  end,
}
