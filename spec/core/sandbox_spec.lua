local core = require "ctrexec.core"

local sandbox = core.sandbox

local function start(chunk, changes)
  local options = { chunk = "local argument, host = ... " .. chunk, argument = {}, time_limit = 5,
    memory_limit = 1024 * 1024, patience = 10 }
  for name, value in pairs(changes or {}) do options[name] = value end
  return sandbox.start(options)
end

local function is_zombie_or_there(pid)
  return core.process.stat(pid) ~= nil
end

describe("sandbox.start", function()
  it("runs a chunk that exchanges values", function()
    local box <close> = start("while true do local v = host.receive() host.send { v, argument.x } end",
      { argument = { x = 5 } })
    assert.is_true(box:send { y = "z" })
    assert.same({ { y = "z" }, 5 }, box:receive())
    assert.is_true(box:send(nil))
    assert.same({ [2] = 5 }, box:receive())
  end)

  it("passes values of megabytes both ways", function()
    local box <close> = start("host.send(host.receive())")
    local value = { ("x"):rep(5 << 20), ("y"):rep(3 << 20) }
    assert.is_true(box:send(value))
    assert.same(value, box:receive())
  end)

  it("takes a binary chunk of ours", function()
    local box <close> = start("", { chunk = string.dump(load "local _, host = ... host.send(7)") })
    assert.equal(7, box:receive())
  end)

  it("sees every change of a value, and what is hidden in one", function()
    local box <close> = start([[
      local function value()
        return { args = { "a", "b" }, user = { uid = 1, ratio = 0.5, root = false }, [7] = "x" }
      end
      local shared = {}
      local changes = {
        none = function() end,
        value = function(v) v.user.uid = 2 end,
        kind = function(v) v.user.uid = 1.0 end,
        boolean = function(v) v.user.root = true end,
        fraction = function(v) v.user.ratio = 0.25 end,
        longer = function(v) v.args[3] = "c" end,
        shorter = function(v) v.args[2] = nil end,
        swapped = function(v) v.args = { "b", "a" } end,
        prefix = function(v) v.args[1] = "aa" end,
        added = function(v) v.user.hidden = true end,
        removed = function(v) v.user.uid = nil end,
        table = function(v) v.args = "a" end,
        plain = function(v) v[7] = {} end,
        metatable = function(v) setmetatable(v.user, {}) end,
        itself = function(v) v.user = v end,
      }
      local answers = {}
      for name, change in pairs(changes) do
        local one = value()
        local bytes = host.pack(one)
        change(one)
        answers[name] = host.untouched(one, bytes)
      end
      local twice = { shared, shared }
      answers.twice = host.untouched(twice, host.pack(twice))
      host.send(answers)]])
    local answers = box:receive()
    for name, answer in pairs(answers) do assert.equal(name == "none", answer, name) end
    assert.is_true(answers.none)
  end)

  it("ends a unit that takes longer than its time, and says which", function()
    local box <close> = start("host.begin(3) while true do end", { time_limit = 0.05 })
    local value, reason, unit = box:receive()
    assert.is_nil(value)
    assert.equal("timeout", reason)
    assert.equal(3, unit)
  end)

  it("does not time what is outside a unit", function()
    local box <close> = start([[host.begin(1) host.finish()
      local stop = os.clock() + 0.2 while os.clock() < stop do end host.send "done"]], { time_limit = 0.05 })
    assert.equal("done", box:receive())
  end)

  it("gives each unit its time", function()
    local box <close> = start([[for unit = 1, 2 do
      host.begin(unit) os.execute "sleep 0.8" host.finish()
    end host.send "done" host.begin(3) while true do end]], { time_limit = 1.5 })
    assert.equal("done", box:receive())
    assert.same({ nil, "timeout", 3 }, { box:receive() })
  end)

  it("limits the memory of a unit, not what was there before", function()
    local box <close> = start([[local keep = ("x"):rep(3 << 20)
      host.begin(1)
      local ok, problem = pcall(string.rep, "x", 2 << 20)
      local exceeded = host.finish()
      host.begin(2)
      local small = ("x"):rep(1 << 18)
      host.send { ok, tostring(problem), exceeded, host.finish(), #keep + #small }]])
    local reply = box:receive()
    assert.is_false(reply[1])
    assert.matches("not enough memory", reply[2])
    assert.is_true(reply[3])
    assert.is_false(reply[4])
    assert.equal((3 << 20) + (1 << 18), reply[5])
  end)

  it("lets a unit go on that only made garbage", function()
    local box <close> = start([[host.begin(1) for i = 1, 200 do local s = ("x"):rep(1 << 16 | i) end
      host.send(host.finish())]])
    assert.is_false(box:receive())
  end)

  it("says how a process ended", function()
    local box <close> = start "return"
    assert.same({ nil, "its process ended", 0, n = 3 }, table.pack(box:receive()))
    local broken <close> = start "this is no Lua"
    assert.equal("its process ended", (select(2, broken:receive())))
    local killed <close> = start "os.execute 'kill -9 $PPID'"
    assert.equal("killed by signal 9", (select(2, killed:receive())))
  end)

  it("does not wait for ever for one that is stopped", function()
    local box <close> = start("os.execute 'kill -STOP $PPID'", { patience = 0.2 })
    assert.equal("no answer", (select(2, box:receive())))
    assert.is_nil(box:pid())
  end)

  it("refuses what is no packed value on the channel", function()
    local box <close> = start [[local f = io.popen("true") f:close() host.send(1)]]
    assert.equal(1, box:receive())
    local message, errno = select(2, box:send(print))
    assert.equal(": a function is not a plain value", message)
    assert.is_nil(errno)
  end)

  it("leaves no process behind", function()
    local box = start "host.receive()"
    local pid = box:pid()
    assert.is_true(is_zombie_or_there(pid))
    box:close()
    assert.is_false(is_zombie_or_there(pid))
    assert.is_nil(box:pid())
    box:close()
    local other = start "host.receive()"
    pid = other:pid()
    other = nil -- luacheck: ignore 311
    collectgarbage()
    collectgarbage()
    assert.is_false(is_zombie_or_there(pid))
  end)

  it("refuses a closed sandbox and bad options", function()
    local box = start "return"
    box:close()
    assert.error_matches(function() box:receive() end, "closed sandbox")
    assert.is_nil((box:send(1)))
    assert.error_matches(function() start("", { time_limit = 0 }) end, "time_limit")
    assert.error_matches(function() start("", { memory_limit = 1 }) end, "memory_limit")
    assert.error_matches(function() start("", { patience = 0 / 0 }) end, "patience")
    local none, message = start("", { argument = { print } })
    assert.is_nil(none)
    assert.equal("[1]: a function is not a plain value", message)
  end)
end)
