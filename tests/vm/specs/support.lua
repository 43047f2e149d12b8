-- What the specs that run in the guest share.
local support = {}

support.fixture = require "ctrexec.busted"

function support.shell(command)
  local pipe = assert(io.popen(("timeout -k 1 60 sh -c '%s' 2>&1"):format(command:gsub("'", "'\\''"))))
  local output = pipe:read "a"
  local _, _, code = pipe:close()
  return (output:gsub("\n$", "")), code
end

-- `ctrexec exec` or `runc exec` of the fixture, with the same arguments.
function support.exec(tool, ct, words)
  local program = tool == "ctrexec" and "scripts/ctrexec.lua" or ct.runtime
  return support.shell(("%s --root %s exec %s"):format(program, ct.root, words))
end

return support
