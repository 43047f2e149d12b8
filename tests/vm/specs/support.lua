-- What the specs that run in the guest share.
local tool = require "tests.lib.tool"

local support = {}

support.fixture = require "ctrexec.busted"

function support.shell(command)
  local result = tool.run("exec 2>&1; " .. command, { deadline = 60 })
  return (result.stdout:gsub("\n$", "")), result.code
end

-- `ctrexec exec` or `runc exec` of the fixture, with the same arguments.
function support.exec(program, ct, words)
  local path = program == "ctrexec" and "scripts/ctrexec.lua" or ct.runtime
  return support.shell(("%s --root %s exec %s"):format(path, ct.root, words))
end

return support
