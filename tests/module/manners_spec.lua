local containers = require "tests.lib.containers"
local core = require "ctrexec.core"
local support = require "tests.module.support"
local tool = require "tests.lib.tool"

local ct, container
local check = containers.suite(_ENV, function (made) ct, container = made, made:open() end)

-- Runs host_script.lua in the host program; "" when nothing was changed or wrong.
local host
local function report_of(options, rounds)
  host = host or support.compile("tests/module/host.c", ct.dir)
  local report = ct.dir .. "/report"
  local command = ("%s timeout -k 1 120 %s %s %s tests/module/host_script.lua %s ct %d </dev/null"):format(
    tool.lua_paths(), host, options, report, tool.quote(ct.root), rounds)
  local ok, how, status = os.execute(command)
  local text = tool.read(report) or ""
  return ok and text or ("%s%s %d"):format(text, how, status)
end

describe("in a host program the module", function ()
  check("changes no handler, mask, umask, directory, environment, locale or descriptor, and takes no other child",
    function () assert.equal("", report_of("", 3)) end)

  check("works where SIGCHLD is ignored", function ()
    assert.equal("", report_of("-i", 3))
  end)

  check("works where a handler reaps every child", function ()
    assert.equal("", report_of("-r", 20))
  end)

  check("works without standard streams", function ()
    assert.equal("", report_of("-c", 3))
    assert.equal("", report_of("-c -r -t 2", 3))
  end)

  check("works in several threads, each with its Lua state", function ()
    assert.equal("", report_of("-t 8", 10))
  end)
end)

describe("one thread", function ()
  check("runs commands in coroutines, also where a callback yields", function ()
    local log, routines = {}, {}
    for number = 1, 3 do
      routines[number] = coroutine.wrap(function ()
        local result = assert(container:exec { "sh", "-c", "echo " .. number,
          stdout = function (piece) coroutine.yield(piece) end })
        log[#log + 1] = result.code
        return false
      end)
    end
    for number = 1, 3 do assert.equal(number .. "\n", routines[number]()) end
    for number = 1, 3 do assert.is_false(routines[number]()) end
    assert.same({ 0, 0, 0 }, log)
  end)

  check("ends the command of a coroutine that is closed", function ()
    local children = #tool.children()
    local routine = coroutine.create(function ()
      container:exec { "sh", "-c", "echo x; sleep 1000", stdout = coroutine.yield }
    end)
    assert.same({ true, "x\n" }, { coroutine.resume(routine) })
    assert.is_true(coroutine.close(routine))
    assert.equal(children, #tool.children())
    containers.await_empty(ct)
  end)

  check("follows several commands in several containers by poll", function ()
    local second = support.container { id = "second" }
    local running = {}
    for number = 1, 12 do
      local where = number % 2 == 0 and container or second:open()
      running[number] = assert(where:spawn { "sh", "-c", "sleep 0.$((RANDOM % 3)); exit " .. number })
    end
    local codes, left = {}, 12
    while left > 0 do
      local entries, numbers = {}, {}
      for number, process in pairs(running) do
        entries[#entries + 1], numbers[#numbers + 1] = { fd = process:fd(), read = true }, number
      end
      for index, event in ipairs(assert(core.poll.wait(entries, 20000), "a command does not end")) do
        if event.read then
          local number = numbers[index]
          codes[number] = running[number]:wait().code
          running[number]:close()
          running[number], left = nil, left - 1
        end
      end
    end
    assert.same({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 }, codes)
    assert(second:remove())
  end)

  check("opens no descriptor that stays, whatever the call, with the collector off", function ()
    local calls = {
      function () return container:exec { "true" } end,
      function () return container:exec { "true", timeout = 20 } end,
      function () return container:exec { "cat", input = "x" } end,
      function () return container:exec { "true", terminal = true } end,
      function () return container:exec { "true", user = "alice" } end,
      function () return container:exec { "sleep", "1000", timeout = 0.01 } end,
      function () return container:exec { "no-such-program" } end,
      function () return container:exec { "true", cwd = "relative" } end,
      function () return container:exec { "true", stdout = "nowhere" } end,
      function () return container:exec { "true", pid_file = "/no/such/folder/pid" } end,
      function () -- killed on its way in
        local process <close> = assert(container:prepare { "true" })
        assert(process:kill "KILL")
        assert.is_nil(process:start())
      end,
      function () return container:ps() end,
      function () return container:status() end,
      function () return require "ctrexec".open("no-such-container", { root = ct.root }) end,
    }
    for _, call in ipairs(calls) do call() end
    collectgarbage()
    collectgarbage()
    collectgarbage "stop"
    local before, children = support.descriptors(), #tool.children()
    for index, call in ipairs(calls) do
      for _ = 1, 3 do call() end
      assert.equal(before, support.descriptors(), "call " .. index)
    end
    assert.equal(children, #tool.children())
    collectgarbage "restart"
  end)
end)
