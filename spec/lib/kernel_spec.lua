-- The numbers of the kernel's names, compared with the kernel's headers where these are installed.
local kernel = require "ctrexec.lib.kernel"

-- The numbers of the names with a prefix in a header: `#define NAME 1`, `#define NAME (1 << 2)`, or members of an enum.
local function numbers_in(path, prefix)
  local file <close> = io.open("/usr/include/" .. path)
  if not file then return pending("there is no " .. path) end
  local numbers, count = {}, 0
  for line in file:lines() do
    local name, value = line:match("^#%s*define%s+(" .. prefix .. "[%u%d_]+)%s+(.*)$")
    local member = line:match("^%s+(" .. prefix .. "[%u%d_]+),")
    if member then
      numbers[member], count = count, count + 1
    elseif name then
      local bit = value:match "^%(1 << (%d+)%)"
      numbers[name] = bit and 1 << math.tointeger(tonumber(bit)) or math.tointeger(tonumber(value:match "^[%dx]+"))
    end
  end
  return numbers
end

local function agrees(names, path, prefix)
  local known = numbers_in(path, prefix)
  for name, number in pairs(known and names or {}) do
    -- An older header lacks the newest; SCHED_ISO is reserved and has never been defined.
    if known[name] then assert.equal(known[name], number, name) end
  end
end

describe("kernel", function ()
  it("has the numbers of resource limits", function ()
    agrees(kernel.rlimits, "asm-generic/resource.h", "RLIMIT_")
  end)

  it("has the numbers of scheduling policies and their flags", function ()
    local policies = {}
    for name, number in pairs(kernel.scheduler_policies) do
      policies[name == "SCHED_OTHER" and "SCHED_NORMAL" or name] = number
    end
    agrees(policies, "linux/sched.h", "SCHED_")
    agrees(kernel.scheduler_flags, "linux/sched.h", "SCHED_FLAG_")
  end)

  it("has the numbers of I/O classes", function ()
    agrees(kernel.io_classes, "linux/ioprio.h", "IOPRIO_CLASS_")
  end)

  it("has the numbers of memory policies and their flags", function ()
    agrees(kernel.memory_modes, "linux/mempolicy.h", "MPOL_")
    agrees(kernel.memory_flags, "linux/mempolicy.h", "MPOL_F_")
  end)

  it("gives the names by their numbers", function ()
    local names = kernel.inverse(kernel.rlimits)
    assert.equal("RLIMIT_CPU", names[0])
    assert.equal("RLIMIT_RTTIME", names[15])
    for name, number in pairs(kernel.rlimits) do assert.equal(name, names[number]) end
  end)
end)
