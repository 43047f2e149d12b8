--- Runs the examples of the documentation as they stand there.
local containers = require "tests.lib.containers"
local support = require "tests.module.support"
local tool = require "tests.lib.tool"

local ct
local check = containers.suite(_ENV, function (made) ct = made end, { id = "web" })

local function run(command)
  local result = tool.run(("exec 2>&1 env %s %s"):format(tool.lua_paths(), command), { deadline = 60 })
  assert(result.code == 0, ("%s: %d\n%s"):format(command, result.code, result.stdout))
  return result.stdout
end

-- The container is where a runtime keeps its own, in a mount namespace of the program's.
local function run_as_installed(command)
  return run(("unshare --mount --propagation private sh -c %s"):format(tool.quote(([[
    mount -t tmpfs -o mode=755 none /run && mkdir /run/runc && mount --bind %s /run/runc && %s]])
    :format(tool.quote(ct.root), command))))
end

local function programs()
  local blocks = {}
  for block in assert(tool.read "docs/embedding.md"):gmatch "\n```lua\n(.-)\n```" do
    blocks[#blocks + 1] = block .. "\n"
  end
  return blocks
end

local function needs(module)
  return not pcall(require, module) and ("needs the Lua module " .. module)
end

describe("docs/embedding.md", function ()
  check("begins with a program of about ten lines that works when pasted", function ()
    local program = programs()[1]
    local lines = select(2, program:gsub("[^\n]+\n", ""))
    assert.is_true(lines <= 10, lines)
    tool.write(ct.dir .. "/program.lua", program)
    assert.equal("web\trunning\n3\tsome text\thello\n\n", run_as_installed("lua5.4 " .. ct.dir .. "/program.lua"))
  end)

  check("shows a test suite that passes", function ()
    local program = programs()[2]:gsub('"runc"', ("%q"):format(tool.runtime()))
    tool.write(ct.dir .. "/suite_spec.lua", program)
    local output = run(("lua5.4 /usr/bin/busted -o TAP %s/suite_spec.lua"):format(ct.dir))
    assert.matches("ok 1", output)
    assert.not_matches("not ok", output)
  end)

  check("shows how a C program is compiled, and it runs", function ()
    local command = assert(tool.read "docs/embedding.md"):match "\n```\n(gcc .-) &&"
    assert.equal("gcc -I/usr/include/lua5.4 -o host docs/examples/host.c -llua5.4", command)
    local host = support.compile("docs/examples/host.c", ct.dir)
    assert.equal("exit status 3, output: hello\n", run(("%s web %s"):format(host, tool.quote(ct.root))))
  end)
end)

describe("the example for", function ()
  for _, name in ipairs { "luv", "cqueues" } do
    check(name .. " ends its commands in the order of their sleep", function ()
      local missing = needs(name)
      if missing then return pending(missing) end
      assert.equal("0\tslept 0.1\n0\tslept 0.2\n0\tslept 0.3\n",
        run(("lua5.4 docs/examples/%s.lua web %s"):format(name, tool.quote(ct.root))))
    end)
  end

  check("poll sees every command end", function ()
    assert.equal("0\n0\n0\n", run(("lua5.4 docs/examples/poll.lua web %s"):format(tool.quote(ct.root))))
  end)

  it("lua-posix", function ()
    return pending "Debian 12 has no build of lua-posix for Lua 5.4"
  end)
end)
