local cjson = require "cjson"
local kernel = require "ctrexec.lib.kernel"
local process = require "ctrexec.oci.process"
local validate = require "ctrexec.oci.validate"

local real_selinux = validate.selinux_enabled

local function record(defaults, options)
  options = options or {}
  return {
    runtime = options.runtime or "runc",
    settings = options.settings or {},
    process = function()
      if options.failure then return nil, options.failure, "bad_state" end
      return cjson.decode(cjson.encode(defaults or { cwd = "/work", args = { "sleep" }, env = { "PATH=/bin", "A=1" },
        user = { uid = 7, gid = 8, additionalGids = { 5 } }, noNewPrivileges = true, terminal = true }))
    end,
  }
end

local function built(spec, defaults, options)
  return assert(process.build(record(defaults, options), spec))
end

local function refused(message, spec, defaults, options)
  local result, text, code = process.build(record(defaults, options), spec)
  assert.is_nil(result)
  assert.equal(message, text)
  assert.equal("invalid", code)
end

describe("process.build from the container's defaults", function()
  it("starts from the container's own process, without its command and terminal", function()
    assert.same({
      args = { "id", "-u" }, cwd = "/work", env = { "PATH=/bin", "A=1" }, terminal = false, noNewPrivileges = true,
      user = { uid = 7, gid = 8, additionalGids = { 5 } },
    }, (built { "id", "-u" }))
  end)

  it("gives integers though JSON gave floats", function()
    local user = built({ "id" }).user
    assert.equal("integer", math.type(user.uid))
    assert.equal("integer", math.type(user.additionalGids[1]))
  end)

  it("does not change the spec", function()
    local spec = { "id", env = { B = "2" }, user = { uid = 1 }, additional_gids = { 3 }, caps = {} }
    built(spec)
    assert.same({ "id", env = { B = "2" }, user = { uid = 1 }, additional_gids = { 3 }, caps = {} }, spec)
  end)

  it("overrides cwd, but not by an empty one", function()
    assert.equal("/tmp", built({ "id", cwd = "/tmp" }).cwd)
    assert.equal("/work", built({ "id", cwd = "" }).cwd)
  end)

  it("lets the last of a variable's values win, in the place of the first", function()
    assert.same({ "PATH=/bin", "A=3", "B=x=y" }, built({ "env", env = { "A=2", "B=x=y", "A=3" } }).env)
  end)

  it("takes the environment as a map, in the order of the names", function()
    assert.same({ "PATH=/bin", "A=2", "B=", "C=3" }, built({ "env", env = { C = "3", A = "2", B = "" } }).env)
  end)

  it("reads user as runc does: a group is kept unless given", function()
    assert.same({ uid = 33, gid = 8, additionalGids = { 5 } }, built({ "id", user = "33" }).user)
    assert.same({ uid = 33, gid = 34, additionalGids = { 5 } }, built({ "id", user = "33:34" }).user)
    assert.same({ uid = 1, gid = 8, additionalGids = { 5 } }, built({ "id", user = "+1" }).user)
    assert.same({ uid = 33, gid = 8, additionalGids = { 5 } }, built({ "id", user = 33 }).user)
    assert.equal(7, built({ "id", user = "" }).user.uid)
    assert.equal(2147483647, built({ "id", user = "2147483647" }).user.uid)
    assert.equal(4294967294, built({ "id", user = "4294967294" }, nil, { runtime = "crun" }).user.uid)
    assert.equal(12, built({ "id", user = "00000000000000000000012" }).user.uid)
  end)

  it("takes an OCI user object over the defaults", function()
    assert.same({ uid = 1, gid = 8, umask = 23, additionalGids = {} },
      built({ "id", user = { uid = 1, umask = 23, additionalGids = {} } }).user)
  end)

  it("adds groups", function()
    assert.same({ 5, 33, 34 }, built({ "id", additional_gids = { 33, "34" } }).user.additionalGids)
  end)

  it("takes the terminal and no_new_privs from the spec alone", function()
    assert.is_true(built({ "sh", terminal = true }).terminal)
    assert.is_false(built({ "sh", no_new_privs = false }).noNewPrivileges)
  end)

  it("replaces plain fields", function()
    local result = built({ "x", rlimits = { { type = "RLIMIT_CORE", soft = 1, hard = 2 } }, oomScoreAdj = -5,
      apparmorProfile = "p", consoleSize = { height = 10, width = 20 },
      scheduler = { policy = "SCHED_FIFO", priority = 3, flags = { "SCHED_FLAG_RESET_ON_FORK" } },
      ioPriority = { class = "IOPRIO_CLASS_BE", priority = 4 }, execCPUAffinity = { initial = "0", final = "0-3,7" } })
    assert.same({ { type = "RLIMIT_CORE", soft = 1, hard = 2 } }, result.rlimits)
    assert.equal(-5, result.oomScoreAdj)
    assert.equal("p", result.apparmorProfile)
    assert.same({ height = 10, width = 20 }, result.consoleSize)
    assert.equal("SCHED_FIFO", result.scheduler.policy)
    assert.equal(4, result.ioPriority.priority)
    assert.equal("0-3,7", result.execCPUAffinity.final)
  end)

  local CAPS = { bounding = { "CAP_KILL" }, effective = { "CAP_KILL" }, permitted = { "CAP_KILL" } }

  describe("with --cap", function()
    local function with_core(name, test)
      it(name, function()
        test()
      end)
    end

    with_core("adds to bounding, effective and permitted", function()
      local sets = built({ "x", caps = { "CAP_CHOWN" } }, { cwd = "/", capabilities = CAPS }).capabilities
      local both = { "CAP_KILL", "CAP_CHOWN" }
      assert.same({ bounding = both, effective = both, permitted = both, inheritable = {}, ambient = {} }, sets)
    end)

    with_core("adds to ambient when there are inheritable ones", function()
      local sets = built({ "x", caps = { "CAP_CHOWN" } },
        { cwd = "/", capabilities = { inheritable = { "CAP_KILL" } } }).capabilities
      assert.same({ "CAP_CHOWN" }, sets.ambient)
      assert.same({ "CAP_KILL" }, sets.inheritable)
    end)

    with_core("adds to the container's settings when its process has none", function()
      local sets = built({ "x", caps = { "CAP_CHOWN" } }, { cwd = "/" }, { settings = { capabilities = CAPS } })
      assert.same({ "CAP_KILL", "CAP_CHOWN" }, sets.capabilities.effective)
    end)

    with_core("replaces the sets of a crun container, as crun does", function()
      local sets = built({ "x", caps = { "CAP_CHOWN" } }, { cwd = "/", capabilities = CAPS }, { runtime = "crun" })
      assert.same({ "CAP_CHOWN" }, sets.capabilities.effective)
    end)

    with_core("warns of unknown names as runc does", function()
      local _, warnings = built({ "x", caps = { "sys_chroot", "CAP_BOGUS" } }, { cwd = "/" })
      assert.same({ { level = "warning",
        message = "ignoring unknown or unavailable capabilities: [CAP_BOGUS sys_chroot]" } }, warnings)
    end)
  end)

  describe("refuses", function()
    local uid = "parsing %s as int for uid failed: strconv.Atoi: parsing %s"
    local range = "unable to start container process: unable to setup user: "
      .. "uids and gids must be in range 0-2147483647"
    local start = "unable to start container process: "
    local cases = {
      { "process args cannot be empty", {} },
      { "process args cannot be empty", { args = {} } },
      { "args: give the command either as positional values or as args, not both", { "x", args = { "y" } } },
      { uid:format("x", '"x": invalid syntax'), { "id", user = "x" } },
      { uid:format("", '"": invalid syntax'), { "id", user = ":5" } },
      { uid:format(" 1", '" 1": invalid syntax'), { "id", user = " 1" } },
      { uid:format("1_0", '"1_0": invalid syntax'), { "id", user = "1_0" } },
      { uid:format("0x10", '"0x10": invalid syntax'), { "id", user = "0x10" } },
      { uid:format('"\n', [["\"\n": invalid syntax]]), { "id", user = '"\n' } },
      { uid:format("99999999999999999999", '"99999999999999999999": value out of range'),
        { "id", user = "99999999999999999999" } },
      { "parsing y as int for gid failed: strconv.Atoi: parsing \"y\": invalid syntax", { "id", user = "x:y" } },
      { "parsing  as int for gid failed: strconv.Atoi: parsing \"\": invalid syntax", { "id", user = "1:" } },
      { range, { "id", user = "-1" } },
      { range, { "id", user = "2147483648" } },
      { range, { "id", user = { gid = 2 ^ 31 } } },
      { range, { "id", additional_gids = { 2 ^ 31 } } },
      { "process.user.uid: must be in range 0 to 4294967295, got -1", { "id", user = { uid = -1 } } },
      { "process.user.gid: must be in range 0 to 4294967295, got 4294967296", { "id", user = { gid = 2 ^ 32 } } },
      { "additional-gids must be a positive number -1", { "id", additional_gids = { -1 } } },
      { "additional-gids must be a positive number -1", { "id", additional_gids = { "-1" } } },
      { "additional_gids: expected an array, got a number", { "id", additional_gids = 4 } },
      { "caps: expected an array, got a number", { "id", caps = 1.5 } },
      { 'user: expected a string "UID[:GID]" or an object, got a boolean', { "id", user = true } },
      { "Cwd must be an absolute path", { "id", cwd = "rel" } },
      { start .. 'invalid environment variable: "C"', { "id", env = { "C" } } },
      { start .. 'invalid environment variable: ""', { "id", env = { "" } } },
      { start .. "environment variable name can't be empty: \"=x\"", { "id", env = { "=x" } } },
      { start .. [[environment variable name can't contain null(\x00): "A\x00=b"]], { "id", env = { "A\0=b" } } },
      { start .. [[environment variable value can't contain null(\x00): "A=\x00"]], { "id", env = { "A=\0" } } },
      { 'env: the name "A=B" contains =', { "id", env = { ["A=B"] = "1" } } },
      { "env.A: expected a string, got a number", { "id", env = { A = 1 } } },
      { "env: unexpected key true", { "id", env = { [true] = "x" } } },
      { "env: expected an array or an object, got a string", { "id", env = "A=1" } },
      { "process.args[2]: contains a NUL byte", { "id", "a\0b" } },
      { "process.args[1]: expected a string, got a number", { 5 } },
    }
    for index, case in ipairs(cases) do
      it(("%d: %s"):format(index, case[1]), function() refused(case[1], case[2]) end)
    end

    it("what the container's files refuse, with their code", function()
      local result, message, code = process.build(record(nil, { failure = "config.json: broken" }), { "id" })
      assert.is_nil(result)
      assert.equal("config.json: broken", message)
      assert.equal("bad_state", code)
    end)
  end)
end)

describe("process.build with names", function()
  local function lookup(kind, key)
    if kind == "user" and key == "www-data" then return { uid = 33, gid = 34 } end
    if kind == "group" and key == "adm" then return { gid = 4 } end
    if kind == "groups" then return { 4, key.uid } end
    if key == "unreadable" then return nil, "open etc/passwd: permission denied" end
  end

  it("takes a user's primary group with the name", function()
    local user = built({ "id", user = "www-data", lookup = lookup }).user
    assert.equal(33, user.uid)
    assert.equal(34, user.gid)
  end)

  it("takes a group's name", function()
    assert.equal(4, built({ "id", user = "www-data:adm", lookup = lookup }).user.gid)
    assert.same({ 5, 4 }, built({ "id", additional_gids = { "adm" }, lookup = lookup }).user.additionalGids)
  end)

  it("takes the groups from the container's file when asked for", function()
    local user = built({ "id", user = "www-data", groups_from_container = true, additional_gids = { 9 },
      lookup = lookup }).user
    assert.same({ 4, 33, 9 }, user.additionalGids)
  end)

  it("refuses an unknown name, and what cannot be a name with runc's message", function()
    refused("unable to find user eve: no matching entries in passwd file", { "id", user = "eve", lookup = lookup })
    refused("unable to find group eves: no matching entries in group file",
      { "id", user = "www-data:eves", lookup = lookup })
    refused('parsing 0x5 as int for uid failed: strconv.Atoi: parsing "0x5": invalid syntax',
      { "id", user = "0x5", lookup = lookup })
    refused("unable to start container process: unable to setup user: open etc/passwd: permission denied",
      { "id", user = "unreadable", lookup = lookup })
    refused("groups_from_container: the container's group file cannot be read",
      { "id", groups_from_container = true })
  end)
end)

describe("process.build with a whole process", function()
  local FILE = { args = { "id" }, cwd = "/" }

  it("takes nothing of a runc container's process", function()
    assert.same({ args = { "id" }, cwd = "/", env = {}, terminal = false, noNewPrivileges = false,
      user = { uid = 0, gid = 0, additionalGids = {} } }, (built { process = FILE }))
  end)

  it("takes what runc's state holds: capabilities, labels, rlimits, oom score, umask", function()
    local settings = { capabilities = { bounding = {} }, apparmor_profile = "a", oom_score_adj = 7, umask = 18,
      rlimits = { { type = "RLIMIT_CORE", soft = 0, hard = 0 } }, no_new_privileges = true }
    local result = built({ process = FILE }, nil, { settings = settings })
    assert.same({ bounding = {} }, result.capabilities)
    assert.equal("a", result.apparmorProfile)
    assert.equal(7, result.oomScoreAdj)
    assert.equal(18, result.user.umask)
    assert.equal("RLIMIT_CORE", result.rlimits[1].type)
    assert.is_false(result.noNewPrivileges)
  end)

  it("prefers the file's own fields to the container's", function()
    local file = { args = { "id" }, cwd = "/", user = { umask = 63 }, oomScoreAdj = 500, capabilities = {} }
    local result = built({ process = file }, nil,
      { settings = { umask = 18, oom_score_adj = 7, capabilities = { bounding = { "CAP_KILL" } } } })
    assert.equal(63, result.user.umask)
    assert.equal(500, result.oomScoreAdj)
    assert.same({}, result.capabilities)
  end)

  it("fills user, env and capabilities for a crun container", function()
    local defaults = { cwd = "/work", env = { "A=1" }, user = { uid = 7, gid = 8 }, capabilities = {},
      noNewPrivileges = true, rlimits = { { type = "RLIMIT_CORE", soft = 0, hard = 0 } } }
    local result = built({ process = FILE }, defaults, { runtime = "crun", settings = { umask = 63 } })
    assert.same({ args = { "id" }, cwd = "/", env = { "A=1" }, terminal = false, noNewPrivileges = false,
      capabilities = {}, user = { uid = 7, gid = 8, additionalGids = {} } }, result)
  end)

  it("starts a crun container's command line from the same parts", function()
    local defaults = { cwd = "/work", env = { "A=1" }, user = { uid = 7, gid = 8 }, noNewPrivileges = true }
    local result = built({ "id", env = { "B=2" } }, defaults, { runtime = "crun" })
    assert.equal("/", result.cwd)
    assert.same({ "A=1", "B=2" }, result.env)
    assert.equal(7, result.user.uid)
    assert.is_false(result.noNewPrivileges)
  end)

  it("keeps the no_new_privs of a bare pid", function()
    local options = { runtime = "pid", settings = { no_new_privileges = true } }
    assert.is_true(built({ process = FILE }, nil, options).noNewPrivileges)
  end)

  it("does not change the object it was given", function()
    local file = { args = { "id" }, cwd = "/", user = { uid = 1 } }
    built({ process = file }, nil, { settings = { umask = 18 } })
    assert.same({ args = { "id" }, cwd = "/", user = { uid = 1 } }, file)
  end)

  it("takes null for nothing, as Go does", function()
    local file = cjson.decode [[{"args":["id"],"cwd":"/","user":null,"env":null,"rlimits":null,"capabilities":null}]]
    assert.same({}, built({ process = file }).env)
  end)
end)

describe("process.validate", function()
  before_each(function() validate.selinux_enabled = real_selinux end)
  after_each(function() validate.selinux_enabled = real_selinux end)

  local function with(name, value)
    local object = { args = { "id" }, cwd = "/" }
    object[name] = value
    return object
  end

  it("returns the checked copy", function()
    local ok, copy, warnings = process.validate(with("env", { "A=1", "A=2" }))
    assert.is_true(ok)
    assert.same({ "A=2" }, copy.env)
    assert.same({}, warnings)
  end)

  it("accepts its own result", function()
    local _, copy = process.validate(with("rlimits", { { type = "RLIMIT_AS", soft = 1, hard = 18446744073709551615 } }))
    assert.equal(kernel.RLIM_INFINITY, copy.rlimits[1].hard)
    local _, again = process.validate(copy)
    assert.same(copy, again)
  end)

  it("notes unknown fields, sorted, at every level", function()
    local object = with("zebra", 1)
    object.user = { username = "x", uid = 1 }
    local _, copy, warnings = process.validate(object)
    assert.is_nil(copy.zebra)
    assert.same({
      { level = "debug", message = "process.user.username: unknown field ignored", unknown = "process.user.username" },
      { level = "debug", message = "process.zebra: unknown field ignored", unknown = "process.zebra" },
    }, warnings)
  end)

  it("refuses an SELinux label where there is no SELinux", function()
    validate.selinux_enabled = function() return false end
    local ok, message = process.validate(with("selinuxLabel", "u:r:t:s0"))
    assert.is_nil(ok)
    assert.equal("selinux label is specified in config, but selinux is disabled or not supported", message)
    validate.selinux_enabled = function() return true end
    assert.is_true((process.validate(with("selinuxLabel", "u:r:t:s0"))))
  end)

  local null = cjson.null
  local cases = {
    { "args must not be empty", with("args", {}) },
    { "args must not be empty", with("args", null) },
    { "Cwd property must not be empty", with("cwd", nil) },
    { "Cwd property must not be empty", with("cwd", "") },
    { "Cwd must be an absolute path", with("cwd", "a") },
    { "process: expected an object, got a string", "x" },
    { "process: expected an object, got null", null },
    { "process.args: expected an array, got a string", with("args", "x") },
    { 'process.args: expected an array, got an object with the key "a"', with("args", { "x", a = 1 }) },
    { "process.args[2]: expected a string, got null", with("args", { "x", null }) },
    { "process.args[1]: expected a string, got an object", with("args", { {} }) },
    { "process.cwd: expected a string, got a number", with("cwd", 1) },
    { "process.cwd: contains a NUL byte", with("cwd", "/\0") },
    { "process.env: expected an array, got a boolean", with("env", true) },
    { "process.env[1]: expected a string, got a number", with("env", { 1 }) },
    { "process.terminal: expected a boolean, got a string", with("terminal", "x") },
    { "process.consoleSize: expected an object, got a number", with("consoleSize", 1) },
    { "process.consoleSize.height: must be in range 0 to 65535, got -1", with("consoleSize", { height = -1 }) },
    { "process.consoleSize.width: expected an integer, got 1.5", with("consoleSize", { width = 1.5 }) },
    { "process.user: expected an object, got a string", with("user", "0:0") },
    { "process.user: expected an object, got an array", with("user", { 0, 0 }) },
    { "unable to start container process: unable to setup user: uids and gids must be in range 0-4294967294",
      with("user", { additionalGids = { 4294967295 } }) },
    { "process.user.uid: expected an integer, got a string", with("user", { uid = "x" }) },
    { "process.user.uid: expected an integer, got 1.5", with("user", { uid = 1.5 }) },
    { "process.user.uid: expected an integer, got nan", with("user", { uid = 0 / 0 < 0 and 0 or -(0 / 0) }) },
    { "process.user.umask: must be in range 0 to 511, got 512", with("user", { umask = 512 }) },
    { "process.user.additionalGids: expected an array, got a number", with("user", { additionalGids = 1 }) },
    { "process.user.additionalGids[1]: expected an integer, got a string",
      with("user", { additionalGids = { "1" } }) },
    { "process.rlimits[1]: expected an object, got a string", with("rlimits", { "RLIMIT_CORE" }) },
    { "wrong rlimit value: ", with("rlimits", { { soft = 1, hard = 1 } }) },
    { "wrong rlimit value: RLIMIT_X", with("rlimits", { { type = "RLIMIT_X", soft = 1, hard = 1 } }) },
    { "process.rlimits[1].soft: expected an integer, got a string",
      with("rlimits", { { type = "RLIMIT_CORE", soft = "a" } }) },
    { "process.rlimits[1].soft: must not be negative, got -1",
      with("rlimits", { { type = "RLIMIT_CORE", soft = -1, hard = 1 } }) },
    { "process.rlimits[1].hard: expected an integer, got inf",
      with("rlimits", { { type = "RLIMIT_CORE", soft = 1, hard = math.huge } }) },
    { "unable to start container process: error setting rlimits for process: error setting rlimit type 0: "
      .. "invalid argument", with("rlimits", { { type = "RLIMIT_CPU", soft = 100, hard = 10 } }) },
    { "process.apparmorProfile: expected a string, got an object", with("apparmorProfile", {}) },
    { "process.capabilities: expected an object, got a string", with("capabilities", "CAP_KILL") },
    { "process.capabilities.bounding: expected an array, got a string",
      with("capabilities", { bounding = "CAP_KILL" }) },
    { "process.noNewPrivileges: expected a boolean, got a number", with("noNewPrivileges", 1) },
    { "process.oomScoreAdj: must be in range -1000 to 1000, got 1001", with("oomScoreAdj", 1001) },
    { "process.scheduler.policy: missing", with("scheduler", {}) },
    { 'process.scheduler.policy: unknown policy "FIFO"', with("scheduler", { policy = "FIFO" }) },
    { 'process.scheduler.flags[1]: unknown flag "X"',
      with("scheduler", { policy = "SCHED_OTHER", flags = { "X" } }) },
    { "process.scheduler.nice: must be in range -20 to 19, got 20",
      with("scheduler", { policy = "SCHED_OTHER", nice = 20 }) },
    { "process.scheduler.priority: only SCHED_FIFO and SCHED_RR have a priority",
      with("scheduler", { policy = "SCHED_OTHER", priority = 1 }) },
    { "process.scheduler.runtime: only SCHED_DEADLINE has it",
      with("scheduler", { policy = "SCHED_OTHER", runtime = 1 }) },
    { "process.selinuxLabel: expected a string, got a boolean", with("selinuxLabel", false) },
    { "process.ioPriority.class: missing", with("ioPriority", { priority = 1 }) },
    { 'process.ioPriority.class: unknown class "X"', with("ioPriority", { class = "X" }) },
    { "process.ioPriority.priority: must be in range 0 to 7, got 8",
      with("ioPriority", { class = "IOPRIO_CLASS_BE", priority = 8 }) },
    { 'process.execCPUAffinity.initial: "a" is not a list of CPUs', with("execCPUAffinity", { initial = "a" }) },
    { 'process.execCPUAffinity.final: "3-1" is not a list of CPUs', with("execCPUAffinity", { final = "3-1" }) },
    { 'process.execCPUAffinity.final: "1,,2" is not a list of CPUs', with("execCPUAffinity", { final = "1,,2" }) },
  }
  for index, case in ipairs(cases) do
    it(("%d: %s"):format(index, case[1]), function()
      local ok, message, code = process.validate(case[2])
      assert.is_nil(ok)
      assert.equal(case[1], message)
      assert.equal("invalid", code)
    end)
  end

  it("lets an error of its own through, as it is", function()
    validate.selinux_enabled = function() error "broken" end
    assert.error_matches(function() process.validate(with("selinuxLabel", "x")) end, "broken")
  end)
end)
