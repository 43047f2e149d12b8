-- What is lent to a command: opened here, mounted or copied by the helper.
local core = require "ctrexec.core"
local exec = require "spec.exec.support"
local support = require "spec.core.support"
local tool = require "tests.lib.tool"
local tools = require "ctrexec.exec.tools"

local folder

before_each(function() folder = tool.folder() end)
after_each(function() tool.remove(folder) end)

local MAY_MOUNT = { bounding = { "CAP_KILL", "CAP_SYS_ADMIN" } }
local MAY_NOT = { bounding = { "CAP_KILL" } }

local function object_with(capabilities, env)
  return { capabilities = capabilities, env = env or {} }
end

-- A container whose configuration says what its processes may do.
local function container_with(capabilities)
  return exec.container { configuration = { process = { capabilities = capabilities } } }
end

local function file(name, text)
  tool.write(folder .. "/" .. name, text or "text")
  return folder .. "/" .. name
end

-- The one thing that is opened, as a copy unless told otherwise. It is closed with the scope.
local function open(word, object, container)
  local list, message, code = tools.open({ word }, object or object_with(MAY_MOUNT), container or container_with())
  if not list then return nil, message, code end
  assert.equal(1, #list)
  return setmetatable(list[1], { __close = function(mount) mount.fd:close() end })
end

local function assert_fails(message, expected, ok, text, code)
  assert.is_nil(ok)
  assert.equal(message, text)
  assert.equal(expected, code)
end

describe("tools.open", function()
  it("lends nothing where nothing is named", function()
    local object = object_with(MAY_NOT, { "A=1" })
    for _, list in ipairs { false, {} } do
      assert.same({ n = 1 }, table.pack(tools.open(list or nil, object, container_with())))
    end
    assert.same({ "A=1" }, object.env)
  end)

  it("lends under the same path, or another", function()
    local path = file "tool"
    local same <close> = assert(open(path))
    assert.equal(path, same.target)
    local colon <close> = assert(open(path .. ":"))
    assert.equal(path, colon.target)
    local other <close> = assert(open(path .. ":/usr/bin/x..y"))
    assert.equal("/usr/bin/x..y", other.target)
  end)

  it("refuses what is no pair of absolute paths", function()
    for _, word in ipairs { "", "tool", "tool:/x", ":/x" } do
      assert_fails(("tool %s: expected PATH[:DEST], both absolute"):format(word), "invalid", open(word))
    end
    local path = file "tool"
    for _, target in ipairs { "x", "/", "/x/", "/a/../b", "/a/..", "/./a", "/a/.", "//a", "/a//b", "/a:/b/" } do
      assert_fails(("tool %s:%s: the destination must be an absolute path without . and .."):format(path, target),
        "invalid", open(path .. ":" .. target))
    end
  end)

  it("refuses what is not there, and what is neither a file nor a folder", function()
    local none, fifo = folder .. "/none", folder .. "/fifo"
    assert_fails(("tool %s: %s"):format(none, (select(2, core.file.stat(none)))), "invalid", open(none))
    tool.sh("mkfifo %s", fifo)
    for _, capabilities in ipairs { MAY_MOUNT, MAY_NOT } do
      assert_fails(("tool %s: neither a file nor a directory"):format(fifo), "invalid",
        open(fifo, object_with(capabilities), container_with {}))
    end
  end)

  it("closes what it has opened when one of them is refused", function()
    local words, container = { file "one", file "two", "three" }, container_with()
    assert.equal(0, support.left_open(function()
      assert.is_nil(tools.open(words, object_with(MAY_MOUNT), container))
    end))
  end)

  it("gives busybox its names, and nothing else", function()
    local busybox <close> = assert(open(file "busybox" .. ":/bin/bb"))
    assert.matches("\nls\n", busybox.links)
    assert.matches("^%[\n", busybox.links)
    assert.is_nil(busybox.links:find "[ /]")
    local other <close> = assert(open(file "notbusybox" .. ":/bin/busybox"))
    assert.is_nil(other.links)
  end)
end)

describe("a lent tool is a copy", function()
  local function assert_copied(object, container)
    local mount <close> = assert(open(file("tool", "content"), object, container))
    assert.is_true(mount.copy)
    assert.equal("content", core.file.read_all(mount.fd, 100))
    assert.is_nil(core.fd.write(mount.fd, "x"))
  end

  it("where the command may mount", function()
    assert_copied(object_with(MAY_MOUNT), container_with(MAY_NOT))
  end)

  it("where the container may", function()
    assert_copied(object_with(MAY_NOT), container_with(MAY_MOUNT))
  end)

  it("where nobody knows what the container may", function()
    assert_copied(object_with(MAY_NOT), exec.container())
  end)

  it("of a file that is not too large", function()
    local path = file "large"
    tool.sh("truncate -s 134217728 %s", path)
    local mount <close> = assert(open(path))
    assert.is_true(mount.copy)
    tool.sh("truncate -s 134217729 %s", path)
    assert_fails(("tool %s: too large to be copied, as it must be where the command or the container has "
      .. "CAP_SYS_ADMIN"):format(path), "invalid", open(path))
  end)

  it("and a folder is none", function()
    assert_fails(("tool %s: only a file can be lent where the command or the container has CAP_SYS_ADMIN")
      :format(folder), "invalid", open(folder))
  end)
end)

describe("a lent tool is mounted", function()
  -- Whether this process may do what is needed for it.
  local function unable()
    local fd <close>, message = core.mount.clone "/"
    return not fd and message or nil
  end

  local function mounted(word, capabilities)
    local object = object_with(MAY_NOT)
    object.capabilities = capabilities
    return open(word, object, container_with(capabilities))
  end

  it("read-only where neither the command nor the container may mount", function()
    local reason = unable()
    if reason then return pending(reason) end
    local path = file "tool"
    for _, capabilities in ipairs { MAY_NOT, {}, false } do
      local mount <close> = assert(mounted(path, capabilities or nil))
      assert.is_falsy(mount.copy)
      assert.equal(core.file.stat(path).ino, core.file.stat(mount.fd).ino)
      local opened, _, errno = core.file.open(("/proc/self/fd/%d"):format(mount.fd:fd()), { write = true })
      assert.is_nil(opened)
      assert.equal(support.errno.EROFS, errno)
    end
  end)

  it("also when it is a folder", function()
    local reason = unable()
    if reason then return pending(reason) end
    file "inside"
    local mount <close> = assert(mounted(folder .. ":/opt", MAY_NOT))
    assert.same({ "inside" }, core.file.list(mount.fd))
    assert.equal("/opt", mount.target)
  end)

  it("or not lent at all where this process may not mount", function()
    local clone = core.mount.clone
    finally(function() core.mount.clone = clone end)
    core.mount.clone = function() return nil, "clone the mount: Operation not permitted", support.errno.EPERM end
    assert_fails("clone the mount: Operation not permitted", "system", mounted(file "tool", MAY_NOT))
  end)
end)

describe("the PATH of a command", function()
  local function path_of(env, ...)
    local object, list = object_with(MAY_MOUNT, env), {}
    for index, target in ipairs { ... } do list[index] = file "tool" .. ":" .. target end
    tools.close(assert(tools.open(list, object, container_with())))
    return object.env
  end

  it("gets the folders of what is lent, each once", function()
    assert.same({ "A=1", "PATH=/bin:/opt/x", "Z=2" }, path_of({ "A=1", "PATH=/bin", "Z=2" }, "/opt/x/t"))
    assert.same({ "PATH=/bin:/opt:/a" }, path_of({ "PATH=/bin" }, "/opt/t", "/a/t", "/opt/u"))
    assert.same({ "PATH=/bin:/" }, path_of({ "PATH=/bin" }, "/t"))
  end)

  it("keeps what has the folder already", function()
    for _, entry in ipairs { "PATH=/opt", "PATH=/opt:/bin", "PATH=/a:/opt:/bin", "PATH=/bin:/opt" } do
      assert.same({ entry }, path_of({ entry }, "/opt/t"))
    end
    assert.same({ "PATH=/opt/x:/optional:/opt" }, path_of({ "PATH=/opt/x:/optional" }, "/opt/t"))
  end)

  it("is made where there is none, or an empty one", function()
    assert.same({ "A=1", "PATH=/opt" }, path_of({ "A=1" }, "/opt/t"))
    assert.same({ "PATH=/opt" }, path_of({ "PATH=" }, "/opt/t"))
  end)
end)

describe("tools.close", function()
  it("closes all of them, and nothing where nothing is lent", function()
    local list = assert(tools.open({ file "a", file "b" }, object_with(MAY_MOUNT), container_with()))
    tools.close(list)
    for _, mount in ipairs(list) do assert.equal(-1, mount.fd:fd()) end
    tools.close(nil)
  end)
end)
