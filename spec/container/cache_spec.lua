-- The digest beside a runc state: it gives the same container as the state, and is not used once the state has changed.

local core = require "ctrexec.core"
local container = require "ctrexec.container"
local json = require "cjson"
local tool = require "tests.lib.tool"

describe("ctrexec.container.cache", function ()
  local root

  local function profile(action)
    return { default_action = 4, architectures = { "amd64" }, syscalls = { { name = "keyctl", action = action } } }
  end

  -- A state whose process is this one.
  local function state(config)
    local own = core.process.ids().pid
    config.labels = { "bundle=" .. root .. "/bundle", "team=web" }
    -- 2^64-1, which cjson cannot write
    return (json.encode {
      id = "ct", init_process_pid = own, init_process_start = core.process.stat(own).start_time,
      cgroup_paths = { pids = "/sys/fs/cgroup/pids/none" }, config = config,
    }:gsub('"UNLIMITED"', "18446744073709551615"))
  end

  local function put(config)
    tool.write(root .. "/ct/state.json", state(config))
  end

  local function open()
    return assert(container.open("ct", { root = root, digest = true }))
  end

  -- What an exec does.
  local function use()
    local record <close> = open()
    local process = assert(record:process())
    if record.settings.seccomp then assert(record:filter()) end
    record:remember()
    return process
  end

  local function is_from_digest(record)
    return not record.digest.news
  end

  before_each(function ()
    root = tool.folder()
    assert(os.execute(("umask 022; mkdir %s/ct %s/bundle"):format(root, root)))
    tool.write(root .. "/bundle/config.json", json.encode { process = { cwd = "/one", args = { "sh" } } })
    put { seccomp = profile(2), umask = 18, rlimits = { { type = 7, soft = 1024, hard = "UNLIMITED" } } }
  end)

  after_each(function ()
    tool.remove(root)
  end)

  it("gives what the state gives", function ()
    local first <close> = open()
    assert.is_false(is_from_digest(first))
    use()
    local second <close> = open()
    assert.is_true(is_from_digest(second))
    for _, name in ipairs { "id", "runtime", "pid", "start_time", "bundle", "labels", "annotations", "cgroup_paths",
      "systemd", "rootless", "owner", "status", "dir", "root" } do
      assert.same(first[name], second[name], name)
    end
    assert.same(first:filter(), second.compiled)
    assert.equal(second.compiled, (second:filter()))
    first.settings.seccomp, second.settings.seccomp = nil, nil
    assert.same(first.settings, second.settings)
    assert.equal("float", math.type(second.settings.rlimits[1].hard))
    assert.same({ cwd = "/one", args = { "sh" } }, second:process())
  end)

  it("does not outlive the state", function ()
    use()
    put { seccomp = profile(3), umask = 19 }
    local record <close> = open()
    assert.is_false(is_from_digest(record))
    assert.equal(19, record.settings.umask)
    assert.equal("SCMP_ACT_TRAP", record.settings.seccomp.syscalls[1].action)
  end)

  it("does not outlive the bundle's configuration", function ()
    use()
    tool.write(root .. "/bundle/config.json", json.encode { process = { cwd = "/two", args = { "sh" } } })
    assert.equal("/two", use().cwd)
    local record <close> = open()
    assert.is_true(is_from_digest(record))
    assert.equal("/two", record:process().cwd)
  end)

  it("demands of the bundle what reading it demands", function ()
    use()
    assert(os.execute(("chmod 666 %s/bundle/config.json"):format(root)))
    local record <close> = open()
    assert.is_nil(record:process())
    assert.equal("untrusted", select(3, record:process()))
  end)

  it("is not believed when others could have written it", function ()
    use()
    assert(os.execute(("chmod 666 %s/ct/ctrexec.digest"):format(root)))
    local writable <close> = open()
    assert.is_false(is_from_digest(writable))
    os.remove(root .. "/ct/ctrexec.digest")
    assert(os.execute(("ln -s %s/elsewhere %s/ct/ctrexec.digest"):format(root, root)))
    local linked <close> = open()
    assert.is_false(is_from_digest(linked))
  end)

  it("is not believed when it is damaged", function ()
    use()
    local path = root .. "/ct/ctrexec.digest"
    local whole = tool.read(path)
    for _, data in ipairs { "", whole:sub(1, #whole // 2), "\0" .. whole, core.value.pack { key = 1 } } do
      tool.write(path, data)
      local record <close> = open()
      assert.is_false(is_from_digest(record))
    end
  end)

  it("is readable by its owner alone", function ()
    use()
    assert.equal(tonumber("600", 8), core.file.stat(root .. "/ct/ctrexec.digest").mode)
  end)

  it("is not left for a profile that has a listener", function ()
    local listening = profile(7)
    listening.listener_path = "/run/listener"
    put { seccomp = listening }
    use()
    assert.is_nil((core.file.stat(root .. "/ct/ctrexec.digest")))
  end)

  it("is neither used nor left where nobody asked", function ()
    local record <close> = assert(container.open("ct", { root = root }))
    assert.is_nil(record.digest)
    assert(record:process())
  end)
end)
