local hostenv = require "ctrexec.exec.hostenv"
local tool = require "tests.lib.tool"

-- The resulting environment of a command when the caller has the variables of the shell words `variables`.
local function added(variables, env, names)
  local program = ([[
    local env = { %s }
    assert(require "ctrexec.exec.hostenv".add(env, { %s }))
    io.write(table.concat(env, "|"))]]):format(env, names)
  return tool.output(("%s env %s lua5.4 -e %s"):format(tool.lua_paths(), variables, tool.quote(program)))
end

local function refused(names, pattern)
  local ok, message, code = hostenv.add({ "A=1" }, names)
  assert.is_nil(ok)
  assert.matches(pattern, message)
  assert.equal("invalid", code)
end

describe("hostenv.add", function()
  it("takes over what the caller has", function()
    assert.equal("A=1|ONE=x y|TWO=b=c", added("ONE='x y' TWO=b=c", '"A=1"', '"ONE", "TWO"'))
  end)

  it("sets it over what the environment has, in its place", function()
    assert.equal("A=1|ONE=new|Z=2", added("ONE=new", '"A=1", "ONE=old", "Z=2"', '"ONE"'))
    assert.equal("ONE=new", added("ONE=new", '"ONE"', '"ONE"'))
  end)

  it("leaves a variable alone that the caller does not have", function()
    assert.equal("ONE=old", added("-u ONE -u TWO", '"ONE=old"', '"ONE", "TWO"'))
  end)

  it("takes over an empty one, and a name given twice once", function()
    assert.equal("ONE=", added("ONE=", '"ONE=old"', '"ONE"'))
    assert.equal("ONE=x", added("ONE=x", "", '"ONE", "ONE"'))
  end)

  it("takes no name for the beginning of another", function()
    assert.equal("ONE_1=2|ONE=1", added("ONE=1", '"ONE_1=2"', '"ONE"'))
  end)

  it("refuses what is no name", function()
    refused("PATH", "^host_env: expected an array of names$")
    refused({ "" }, '^host_env: "" is not a name of a variable$')
    refused({ "PATH", "A=B" }, '^host_env: "A=B" is not a name of a variable$')
    refused({ "A\0" }, '^host_env: "A\\0" is not a name of a variable$')
    refused({ 5 }, '^host_env: "5" is not a name of a variable$')
    refused({ {} }, '^host_env: "table: .*" is not a name of a variable$')
  end)
end)
