-- A container lists the programs that may be started in it: annotation "ctrexec.commands": "nginx cat ls".
-- Without the annotation every program is allowed. A name in the list allows the program of that name in any folder; a
-- path allows that path alone.

-- The words in front of a command that directives.lua takes off. It may come after this policy.
local DIRECTIVE = "^EXEC_%u+="

return {
  name = "allow-commands",
  check = function(request)
    if request.container.runtime == "pid" then return deny "--pid shows no annotations" end
    local list = (request.container.annotations or {})["ctrexec.commands"]
    if not list then return end
    if #(request.options.tools or {}) > 0 then return deny "a lent file could take the place of an allowed command" end
    local args, first = request.process.args, 1
    while args[first + 1] and args[first]:find(DIRECTIVE) do first = first + 1 end
    local program = args[first]
    for allowed in list:gmatch "[^%s,]+" do
      if allowed == program or allowed == program:match "[^/]*$" then return end
    end
    return deny(("%s is not among the commands of this container: %s"):format(program, list))
  end,
}
