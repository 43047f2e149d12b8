local core = require "ctrexec.core"
local support = require "spec.core.support"

local capability, errno = core.capability, support.errno

local _, sleeper = support.children_of_test(_ENV)

-- The kernel's header is the list that the names must agree with.
local function header_names()
  local names = {}
  for line in io.lines "/usr/include/linux/capability.h" do
    local name, number = line:match "^#define%s+(CAP_[A-Z_]+)%s+(%d+)%s*$"
    if name then
      names[tonumber(number) + 1] = name
    end
  end
  return names
end

describe("capability names", function ()
  it("are the kernel's, by number", function ()
    local expected = header_names()
    assert.is_true(#expected >= 38)
    assert.same(expected, capability.names((1 << #expected) - 1))
    for number, name in ipairs(expected) do
      assert.same({ 1 << (number - 1), {} }, { capability.mask { name } })
    end
  end)

  it("become a mask and come back sorted", function ()
    local mask, unknown = capability.mask { "CAP_SYS_ADMIN", "CAP_CHOWN", "CAP_KILL", "CAP_CHOWN" }
    assert.equal(1 << 21 | 1 | 1 << 5, mask)
    assert.same({}, unknown)
    assert.same({ "CAP_CHOWN", "CAP_KILL", "CAP_SYS_ADMIN" }, capability.names(mask))
    assert.equal(0, (capability.mask {}))
    assert.same({}, capability.names(0))
  end)

  it("are reported when unknown", function ()
    local wrong = { "CAP_NOTHING", "cap_chown", "KILL", "", "CAP_KILL\0", "CAP_ChOwN", "5", "12", "CAP_12", "cap_12",
      "CAP_", "CAP_KILL=ep", "CAP_KILL CAP_CHOWN", "CAP_KILL,", " CAP_KILL", "CAP_" .. ("A"):rep(100), "all" }
    assert.same({ 1 << 5, wrong }, { capability.mask { "CAP_KILL", table.unpack(wrong) } })
  end)

  it("are never lost, even when newer than this program", function ()
    assert.same({ "CAP_CHOWN", "CAP_62", "CAP_63" }, capability.names(1 | 1 << 62 | 1 << 63))
  end)

  it("are strings in an array", function ()
    assert.error_matches(function () capability.mask { 1 } end, "array of strings expected")
    assert.error(function () capability.mask "CAP_KILL" end)
    assert.error(function () capability.names "CAP_KILL" end)
  end)
end)

describe("capability.last", function ()
  it("is the kernel's", function ()
    local fd <close> = assert(core.file.open "/proc/sys/kernel/cap_last_cap")
    assert.equal(math.tointeger(tonumber(core.file.read_all(fd, 10))), capability.last())
  end)
end)

describe("capability.of", function ()
  local function own_sets()
    local sets = {}
    for line in io.lines "/proc/self/status" do
      local name, mask = line:match "^Cap(%a+):%s+(%x+)$"
      if name then
        sets[name] = tonumber(mask, 16)
      end
    end
    return sets
  end

  it("gives the five sets", function ()
    local sets = own_sets()
    assert.same({
      inheritable = sets.Inh, permitted = sets.Prm, effective = sets.Eff, bounding = sets.Bnd, ambient = sets.Amb,
    }, capability.of(core.process.ids().pid))
  end)

  it("tells the sets apart", function ()
    if core.process.ids().euid ~= 0 then
      return pending "needs root, to set capabilities"
    end
    local child = sleeper("setpriv --reuid 65534 --clear-groups --inh-caps -all,+kill,+chown "
      .. "--ambient-caps -all,+kill --bounding-set -all,+kill,+chown,+fowner")
    local kill, chown, fowner = 1 << 5, 1, 1 << 3
    assert.same({
      inheritable = kill | chown, permitted = kill, effective = kill, ambient = kill, bounding = kill | chown | fowner,
    }, capability.of(child.pid))
  end)

  it("says that there is no such process", function ()
    for _, pid in ipairs { 0, -1, 1 << 31, (1 << 32) + 1 } do
      assert.equal(errno.ESRCH, select(3, capability.of(pid)))
    end
    assert.same({ nil, "process -1: No such process", errno.ESRCH }, { capability.of(-1) })
  end)
end)
