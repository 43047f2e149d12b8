-- The compiler of OCI seccomp profiles, against libseccomp alone and against the kernel.
local seccomp = require "ctrexec.core.seccomp"
local reference = require "seccomp_reference"
local support = require "spec.core.support"

local EINVAL, EPERM, ENOSYS, EDOM = 22, 1, 38, 33
local SIGSYS = 31
local X32_BIT = 0x40000000
local AUDIT = { X86_64 = 0xc000003e, X32 = 0xc000003e, X86 = 0x40000003, AARCH64 = 0xc00000b7, ARM = 0x40000028 }
local ACTION = {
  SCMP_ACT_ALLOW = 0x7fff0000, SCMP_ACT_ERRNO = 0x50000, SCMP_ACT_KILL = 0, SCMP_ACT_KILL_PROCESS = 0x80000000,
  SCMP_ACT_KILL_THREAD = 0, SCMP_ACT_LOG = 0x7ffc0000, SCMP_ACT_NOTIFY = 0x7fc00000, SCMP_ACT_TRACE = 0x7ff00000,
  SCMP_ACT_TRAP = 0x30000,
}
local PERMISSIVE = { SCMP_ACT_ALLOW = true, SCMP_ACT_LOG = true, SCMP_ACT_TRACE = true }
local OPERATOR = {
  SCMP_CMP_NE = 1, SCMP_CMP_LT = 2, SCMP_CMP_LE = 3, SCMP_CMP_EQ = 4, SCMP_CMP_GE = 5, SCMP_CMP_GT = 6,
  SCMP_CMP_MASKED_EQ = 7,
}
local OPERATORS = {}
for name in pairs(OPERATOR) do
  OPERATORS[#OPERATORS + 1] = name
end
table.sort(OPERATORS)

local NATIVE = reference.architecture("x86_64") == reference.native() and "X86_64" or "AARCH64"
local OTHERS = NATIVE == "X86_64" and { "X86", "X32" } or { "ARM" }

local function token(architecture)
  return reference.architecture(architecture:lower())
end

local function value(action, errno)
  local base = ACTION[action]
  return (action == "SCMP_ACT_ERRNO" or action == "SCMP_ACT_TRACE") and base | (errno or EPERM) or base
end

-- Compiles a profile as runc does with libseccomp: one rule for each name, without rules that equal the default.
local function rules_of(profile)
  local default, rules = value(profile.defaultAction, profile.defaultErrnoRet), {}
  for _, entry in ipairs(profile.syscalls or {}) do
    local action, conditions, seen, repeated = value(entry.action, entry.errnoRet), {}, {}, false
    for _, arg in ipairs(entry.args or {}) do
      conditions[#conditions + 1] = { arg.index, OPERATOR[arg.op], arg.value, arg.valueTwo or 0 }
      repeated = repeated or seen[arg.index]
      seen[arg.index] = true
    end
    for _, name in ipairs(action ~= default and entry.names or {}) do
      if repeated then
        for _, condition in ipairs(conditions) do
          rules[#rules + 1] = { name, action, condition }
        end
      else
        rules[#rules + 1] = { name, action, table.unpack(conditions) }
      end
    end
  end
  return rules
end

local function list_architectures(profile)
  local tokens = {}
  for _, name in ipairs(profile.architectures or {}) do
    tokens[#tokens + 1] = token(name:gsub("^SCMP_ARCH_", ""))
  end
  return tokens
end

-- The largest number of the architecture that any entry of the profile names, whatever its action.
local function last_number(profile, architecture)
  local last = 0
  for _, entry in ipairs(profile.syscalls or {}) do
    for _, name in ipairs(entry.names) do
      last = math.max(last, reference.resolve(token(architecture), name))
    end
  end
  return last
end

local function expected_value(program, profile, covered, architecture, number, args)
  local unsigned = number & 0xffffffff
  if AUDIT[architecture] == AUDIT.X86_64 then
    architecture = unsigned & X32_BIT ~= 0 and "X32" or "X86_64"
  end
  if covered[architecture] and not PERMISSIVE[profile.defaultAction] and covered[architecture] > 0
    and unsigned > covered[architecture] then
    return ACTION.SCMP_ACT_ERRNO | ENOSYS
  end
  return reference.run(program, AUDIT[architecture], number, table.unpack(args))
end

-- Compares both programs over every number of every architecture, with every argument vector.
local function compare(profile, vectors)
  local theirs, problem = reference.build(value(profile.defaultAction, profile.defaultErrnoRet),
    list_architectures(profile), rules_of(profile), 1)
  local ours, message, errno = seccomp.compile(profile)
  if not theirs then
    assert.is_nil(ours)
    assert.equal(problem, errno)
    return 0, message
  end
  assert(ours, message)
  local covered = { [NATIVE] = last_number(profile, NATIVE) }
  for _, name in ipairs(profile.architectures or {}) do
    name = name:gsub("^SCMP_ARCH_", "")
    covered[name] = last_number(profile, name)
  end
  local count = 0
  for _, architecture in ipairs { NATIVE, table.unpack(OTHERS) } do
    local base = architecture == "X32" and X32_BIT or 0
    for number = base - 3, base + 560 do
      for _, args in ipairs(vectors) do
        local want = expected_value(theirs, profile, covered, architecture, number, args)
        local got = reference.run(ours.program, AUDIT[architecture], number, table.unpack(args))
        if got ~= want then
          error(("%s call %d(%s): %#x, libseccomp %#x"):format(architecture, number, table.concat(args, ", "), got,
            want))
        end
        count = count + 1
      end
    end
  end
  return count
end

local function allow(...)
  return { names = { ... }, action = "SCMP_ACT_ALLOW" }
end

local function all_names()
  return reference.names(token(NATIVE), 460)
end

-- A profile like the engines' default ones: most calls are allowed, some only with certain arguments.
local function engine_profile()
  local architectures = { "SCMP_ARCH_" .. NATIVE }
  for _, name in ipairs(OTHERS) do
    architectures[#architectures + 1] = "SCMP_ARCH_" .. name
  end
  local names = {}
  local refused = { personality = true, socket = true, clone = true, clone3 = true, mount = true, bpf = true }
  for _, name in ipairs(all_names()) do
    if not refused[name] then
      names[#names + 1] = name
    end
  end
  for _, name in ipairs { "socketcall", "ipc", "send", "recv", "clock_gettime64", "_llseek", "no_such_call" } do
    names[#names + 1] = name
  end
  return {
    defaultAction = "SCMP_ACT_ERRNO", architectures = architectures,
    syscalls = {
      allow(table.unpack(names)),
      { names = { "personality" }, action = "SCMP_ACT_ALLOW", args = { { index = 0, value = 0, op = "SCMP_CMP_EQ" } } },
      { names = { "personality" }, action = "SCMP_ACT_ALLOW", args = { { index = 0, value = 8, op = "SCMP_CMP_EQ" } } },
      { names = { "clone" }, action = "SCMP_ACT_ALLOW",
        args = { { index = 0, value = 0x7e020000, valueTwo = 0, op = "SCMP_CMP_MASKED_EQ" } } },
      { names = { "clone3" }, action = "SCMP_ACT_ERRNO", errnoRet = ENOSYS },
      { names = { "socket" }, action = "SCMP_ACT_ERRNO", errnoRet = 22,
        args = { { index = 0, value = 16, op = "SCMP_CMP_EQ" }, { index = 2, value = 9, op = "SCMP_CMP_EQ" } } },
      { names = { "socket" }, action = "SCMP_ACT_ALLOW", args = { { index = 2, value = 9, op = "SCMP_CMP_NE" } } },
      { names = { "socket" }, action = "SCMP_ACT_ALLOW", args = { { index = 0, value = 16, op = "SCMP_CMP_NE" } } },
    },
  }
end

local VECTORS = { { 0, 0, 0 }, { 16, 0, 9 }, { 16, 0, 8 }, { 8 }, { 8 | 1 << 32 }, { -1, -1, -1, -1, -1, -1 },
  { 0x7e020000 }, { 1, 2, 3, 4, 5, 6 } }

describe("ctrexec.core.seccomp", function()
  it("agrees with libseccomp on an engine's default profile", function()
    assert.is_true(compare(engine_profile(), VECTORS) > 10000)
  end)

  it("agrees with libseccomp on random profiles", function()
    local seed = 4711
    local function random(n)
      seed = (seed * 6364136223846793005 + 1442695040888963407) & math.maxinteger
      return (seed >> 24) % n + 1
    end
    local names, actions = all_names(), { "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_TRAP",
      "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_LOG", "SCMP_ACT_TRACE" }
    for _, name in ipairs { "socketcall", "ipc", "send", "recv", "stat64", "semget", "shmat", "accept", "umount" } do
      names[#names + 1] = name
    end
    local values = { 0, 1, 2, 3, 9, 16, 0xffff, 0xffffffff, 1 << 32, (1 << 32) | 9 }
    local refused = 0
    for _ = 1, 60 do
      local profile = { defaultAction = actions[random(#actions)], defaultErrnoRet = random(40), architectures = {},
        syscalls = {} }
      for _, name in ipairs { NATIVE, table.unpack(OTHERS) } do
        if random(3) > 1 then
          profile.architectures[#profile.architectures + 1] = "SCMP_ARCH_" .. name
        end
      end
      for _ = 1, random(12) do
        local entry = { names = {}, action = actions[random(3)], errnoRet = random(40), args = {} }
        for _ = 1, random(30) do
          entry.names[#entry.names + 1] = names[random(#names)]
        end
        for index = 0, random(8) - 6 do
          entry.args[index + 1] = { index = random(3) > 1 and index or 0, value = values[random(#values)],
            valueTwo = values[random(#values)], op = OPERATORS[random(#OPERATORS)] }
        end
        profile.syscalls[#profile.syscalls + 1] = entry
      end
      local count = compare(profile, { { 0, 0, 0 }, { 9, 1, 2 }, { 0xffffffff, 16, 9 }, { 1 << 32, 9, 16 } })
      refused = refused + (count == 0 and 1 or 0)
    end
    assert.is_true(refused < 30, refused .. " of 60 profiles were refused")
  end)

  it("takes every operator", function()
    for _, op in ipairs(OPERATORS) do
      compare({
        defaultAction = "SCMP_ACT_ERRNO",
        syscalls = { { names = { "read", "socket" }, action = "SCMP_ACT_ALLOW",
          args = { { index = 1, value = 0x100000008, valueTwo = 8, op = op } } } },
      }, { { 0, 7 }, { 0, 8 }, { 0, 9 }, { 0, 0x100000007 }, { 0, 0x100000008 }, { 0, 0x100000009 }, { 0, -1 } })
    end
  end)

  it("takes every action", function()
    for action in pairs(ACTION) do
      local compiled = assert(seccomp.compile { defaultAction = "SCMP_ACT_ALLOW",
        syscalls = { { names = { "getppid" }, action = action, errnoRet = 7 } } })
      local number = reference.resolve(token(NATIVE), "getppid")
      assert.equal(value(action, 7), reference.run(compiled.program, AUDIT[NATIVE], number))
      assert.equal(action == "SCMP_ACT_NOTIFY", compiled.notify)
    end
  end)

  it("makes conditions on one argument alternatives", function()
    local compiled = assert(seccomp.compile { defaultAction = "SCMP_ACT_ERRNO", syscalls = { {
      names = { "read" }, action = "SCMP_ACT_ALLOW",
      args = { { index = 0, value = 3, op = "SCMP_CMP_EQ" }, { index = 0, value = 5, op = "SCMP_CMP_EQ" } } } } })
    local read = reference.resolve(token(NATIVE), "read")
    assert.equal(ACTION.SCMP_ACT_ALLOW, reference.run(compiled.program, AUDIT[NATIVE], read, 3))
    assert.equal(ACTION.SCMP_ACT_ERRNO | EPERM, reference.run(compiled.program, AUDIT[NATIVE], read, 4))
    assert.equal(ACTION.SCMP_ACT_ALLOW, reference.run(compiled.program, AUDIT[NATIVE], read, 5))
  end)

  it("settles contradictory rules as libseccomp does", function()
    local forbid = { names = { "read", "accept" }, action = "SCMP_ACT_KILL" }
    compare({ defaultAction = "SCMP_ACT_ERRNO", syscalls = { allow("read", "accept"), forbid } }, { { 0 } })
    compare({ defaultAction = "SCMP_ACT_ERRNO", syscalls = { forbid, allow("read", "accept") } }, { { 0 } })
  end)

  it("kills callers of architectures that are not listed", function()
    local compiled = assert(seccomp.compile { defaultAction = "SCMP_ACT_ALLOW", syscalls = {} })
    assert.equal(ACTION.SCMP_ACT_KILL, reference.run(compiled.program, AUDIT[OTHERS[1]], 1))
  end)

  it("gives the flags of seccomp(2)", function()
    local function flags(...)
      return assert(seccomp.compile { defaultAction = "SCMP_ACT_ALLOW", flags = { ... },
        syscalls = { { names = { "getppid" }, action = "SCMP_ACT_NOTIFY" } } }).flags
    end
    assert.equal(0, flags())
    assert.equal(0, flags "SECCOMP_FILTER_FLAG_TSYNC")
    assert.equal(2, flags "SECCOMP_FILTER_FLAG_LOG")
    assert.equal(4, flags "SECCOMP_FILTER_FLAG_SPEC_ALLOW")
    assert.equal(38, flags("SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
      "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"))
  end)

  it("reads what lua-cjson makes of JSON", function()
    local cjson = require "cjson"
    local compiled = assert(seccomp.compile(cjson.decode [[{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": null,
      "architectures": [], "listenerPath": "", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW",
      "errnoRet": null, "args": [{"index": 0, "value": 18446744073709551615, "valueTwo": 7, "op": "SCMP_CMP_EQ"}]}]}]]))
    local read = reference.resolve(token(NATIVE), "read")
    assert.equal(ACTION.SCMP_ACT_ALLOW, reference.run(compiled.program, AUDIT[NATIVE], read, -1))
    assert.equal(ACTION.SCMP_ACT_ERRNO | EPERM, reference.run(compiled.program, AUDIT[NATIVE], read, -2))
  end)

  describe("in the kernel", function()
    local function call(profile, name)
      local compiled = assert(seccomp.compile(profile))
      local number = type(name) == "number" and name or reference.resolve(token(NATIVE), name)
      return reference.call(compiled.program, compiled.flags, number)
    end

    it("refuses what the engine's profile refuses", function()
      local profile = engine_profile()
      assert.equal(0, call(profile, "getppid"))
      assert.equal(EPERM, call(profile, "mount"))
      assert.equal(EPERM, call(profile, "bpf"))
      assert.equal(ENOSYS, call(profile, "clone3"))
    end)

    it("says ENOSYS to a call that is newer than the profile", function()
      assert.equal(ENOSYS, call(engine_profile(), 999))
      local old = { defaultAction = "SCMP_ACT_ERRNO", syscalls = { allow("exit_group", "getppid") } }
      assert.equal(EPERM, call(old, "getpid"))
      assert.equal(ENOSYS, call(old, "openat2"))
      old.defaultErrnoRet = EDOM
      assert.equal(EDOM, call(old, "getpid"))
      assert.equal(ENOSYS, call(old, "openat2"))
    end)

    it("does not stand in the way of a permissive profile", function()
      local profile = { defaultAction = "SCMP_ACT_LOG", syscalls = {
        { names = { "getppid" }, action = "SCMP_ACT_ERRNO", errnoRet = EDOM } } }
      assert.equal(EDOM, call(profile, "getppid"))
      assert.equal(0, call(profile, "getpid"))
    end)

    it("kills", function()
      local profile = { defaultAction = "SCMP_ACT_ALLOW", syscalls = {
        { names = { "getppid" }, action = "SCMP_ACT_KILL_PROCESS" } } }
      local status, signal = call(profile, "getppid")
      assert.is_nil(status)
      assert.equal(SIGSYS, signal)
    end)
  end)

  describe("refuses", function()
    local function profile(fields)
      local result = { defaultAction = "SCMP_ACT_ERRNO" }
      for key, field in pairs(fields) do
        result[key] = field
      end
      return result
    end

    local function entry(fields)
      local result = { names = { "read" }, action = "SCMP_ACT_ALLOW" }
      for key, field in pairs(fields) do
        result[key] = field
      end
      return profile { syscalls = { allow "write", result } }
    end

    local function condition(fields)
      local result = { index = 0, value = 0, op = "SCMP_CMP_EQ" }
      for key, field in pairs(fields) do
        result[key] = field
      end
      return entry { args = { result } }
    end

    local cases = {
      { {}, "seccomp.defaultAction: expected a string, got a nil" },
      { profile { defaultAction = "SCMP_ACT_X" }, 'seccomp.defaultAction: unknown action "SCMP_ACT_X"' },
      { profile { defaultAction = "SCMP_ACT_NOTIFY" },
        "seccomp.defaultAction: SCMP_ACT_NOTIFY cannot be used as default action" },
      { profile { defaultErrnoRet = "1" }, "seccomp.defaultErrnoRet: expected a number, got a string" },
      { profile { defaultErrnoRet = 65536 }, "seccomp.defaultErrnoRet: larger than 65535" },
      { profile { defaultErrnoRet = -1 }, 'seccomp.defaultErrnoRet: not an unsigned 64-bit integer: "-1"' },
      { profile { architectures = "SCMP_ARCH_X86" }, "seccomp.architectures: expected an array, got a string" },
      { profile { architectures = { a = 1 } }, "seccomp.architectures: expected an array, got an object" },
      { profile { architectures = { 7 } }, "seccomp.architectures[0]: expected a string, got a number" },
      { profile { architectures = { "SCMP_ARCH_VAX" } },
        'seccomp.architectures[0]: unknown architecture "SCMP_ARCH_VAX"' },
      { profile { architectures = { "x86_64" } }, 'seccomp.architectures[0]: unknown architecture "x86_64"' },
      { profile { architectures = { "SCMP_ARCH_NATIVE" } },
        'seccomp.architectures[0]: unknown architecture "SCMP_ARCH_NATIVE"' },
      { profile { architectures = { "SCMP_ARCH_S390X" } },
        "seccomp.architectures: one that this machine's filters cannot cover: Invalid argument" },
      { profile { flags = { "SECCOMP_FILTER_FLAG_X" } }, 'seccomp.flags[0]: unknown flag "SECCOMP_FILTER_FLAG_X"' },
      { profile { flags = { "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" } },
        "seccomp.flags: SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV needs a rule with SCMP_ACT_NOTIFY" },
      { profile { syscalls = 1 }, "seccomp.syscalls: expected an array, got a number" },
      { profile { syscalls = { 1 } }, "seccomp.syscalls[0]: expected an object, got a number" },
      { entry { action = "X" }, 'seccomp.syscalls[1].action: unknown action "X"' },
      { entry { names = "read" }, "seccomp.syscalls[1].names: expected an array, got a string" },
      { entry { names = { "read", 5 } }, "seccomp.syscalls[1].names[1]: expected a string, got a number" },
      { entry { names = { "" } }, "seccomp.syscalls[1].names[0]: empty" },
      { entry { names = { "write" }, action = "SCMP_ACT_NOTIFY" },
        "seccomp.syscalls[1].names[0]: SCMP_ACT_NOTIFY cannot be used for the write syscall" },
      { entry { errnoRet = 1.5 }, 'seccomp.syscalls[1].errnoRet: not an unsigned 64-bit integer: "1.5"' },
      { entry { args = { 3 } }, "seccomp.syscalls[1].args[0]: expected an object, got a number" },
      { condition { index = 6 }, "seccomp.syscalls[1].args[0].index: larger than 5" },
      { condition { op = "SCMP_CMP_X" }, 'seccomp.syscalls[1].args[0].op: unknown operator "SCMP_CMP_X"' },
      { condition { value = -1 }, 'seccomp.syscalls[1].args[0].value: not an unsigned 64-bit integer: "-1"' },
      { condition { value = 0 / 0 }, "seccomp.syscalls[1].args[0].value: not an unsigned 64-bit integer:" },
      { condition { value = 2.0 ^ 65 }, "seccomp.syscalls[1].args[0].value: not an unsigned 64-bit integer:" },
      { condition { valueTwo = {} }, "seccomp.syscalls[1].args[0].valueTwo: expected a number, got a table" },
    }
    for _, case in ipairs(cases) do
      it(case[2], function()
        local result, message, errno = seccomp.compile(case[1])
        assert.is_nil(result)
        assert.equal(case[2], message:sub(1, #case[2]))
        assert.equal(EINVAL, errno)
      end)
    end

    it("a program longer than the kernel takes", function()
      local many = {}
      for i = 1, 3000 do
        many[i] = { names = { "read" }, action = "SCMP_ACT_ALLOW",
          args = { { index = 0, value = i << 33, op = "SCMP_CMP_EQ" } } }
      end
      local result, message, errno = seccomp.compile(profile { syscalls = many })
      assert.is_nil(result)
      assert.equal("seccomp: more than 4096 instructions: Argument list too long", message)
      assert.equal(7, errno)
    end)
  end)

  it("raises for a value that is no table", function()
    assert.has_error(function()
      seccomp.compile "profile"
    end)
  end)

  it("keeps no descriptor", function()
    local before = support.open_descriptors()
    for _ = 1, 20 do
      assert(seccomp.compile(engine_profile()))
    end
    assert.equal(before, support.open_descriptors())
  end)
end)
