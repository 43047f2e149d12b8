-- Users and groups by a container's own files: here those of a process with an /etc of its own.
local names = require "ctrexec.container.names"
local support = require "spec.core.support"
local tool = require "tests.lib.tool"

describe("names.find", function()
  local folder, init, reason, container

  local PASSWD = "root:x:0:0::/root:/bin/sh\nweb:x:33:34::/srv:/bin/false\n"
  local GROUP = "root:x:0:\nweb:x:34:\nadm:x:4:web,other\nlogs:x:5:web\n"

  setup(function()
    reason = not os.execute "unshare --mount true 2>/dev/null" and "no mount namespace can be made here (needs root)"
      or nil
    if reason then return end
    folder = tool.folder()
    local script = ("mount --bind %s /etc && echo ready && exec %s"):format(tool.quote(folder), support.sleep)
    init = support.child("exec unshare --mount --propagation private sh -c " .. tool.quote(script))
    assert.equal("ready", init.stdout:read "l")
    container = { runtime = "runc", pid = init.pid, pidfd = init.pidfd, settings = {} }
  end)

  teardown(function()
    if reason then return end
    support.finish(init)
    tool.remove(folder)
  end)

  -- Declares a test with the container's files as they are above.
  local function check(title, test)
    it(title, function()
      if reason then return pending(reason) end
      tool.write(folder .. "/passwd", PASSWD)
      tool.write(folder .. "/group", GROUP)
      test()
    end)
  end

  check("finds users and groups in the container's files", function()
    assert.same({ name = "web", uid = 33, gid = 34, home = "/srv", shell = "/bin/false" },
      names.find(container, {}, "user", "web"))
    assert.equal(4, names.find(container, {}, "group", "adm").gid)
  end)

  check("finds nothing where there is no such name, and says nothing", function()
    for _, kind in ipairs { "user", "group" } do
      local found, message = names.find(container, {}, kind, "none")
      assert.is_nil(found)
      assert.is_nil(message)
    end
  end)

  check("finds the groups of a user by its number, without its own", function()
    assert.same({ 4, 5 }, names.find(container, {}, "groups", { uid = 33, gid = 34 }))
    assert.same({ 4 }, names.find(container, {}, "groups", { uid = 33, gid = 5 }))
    assert.same({}, names.find(container, {}, "groups", { uid = 0, gid = 0 }))
    assert.same({}, names.find(container, {}, "groups", { uid = 77, gid = 0 }))
  end)

  check("reads each file once for all look-ups of an exec", function()
    local files = {}
    assert.is_table(names.find(container, files, "user", "web"))
    assert.is_table(names.find(container, files, "group", "adm"))
    os.remove(folder .. "/passwd")
    os.remove(folder .. "/group")
    assert.equal(0, names.find(container, files, "user", "root").uid)
    assert.same({ 4, 5 }, names.find(container, files, "groups", { uid = 33, gid = 34 }))
    assert.is_nil(names.find(container, {}, "user", "root"))
  end)

  check("says why it cannot read a file", function()
    os.remove(folder .. "/passwd")
    assert.same({ nil, "/etc/passwd: no such file or directory" }, { names.find(container, {}, "user", "web") })
    assert.same({ nil, "/etc/passwd: no such file or directory" },
      { names.find(container, {}, "groups", { uid = 33, gid = 34 }) })
    assert.is_table(names.find(container, {}, "group", "adm"))
    os.remove(folder .. "/group")
    for _, kind in ipairs { "group", "groups" } do
      assert.same({ nil, "/etc/group: no such file or directory" },
        { names.find(container, {}, kind, kind == "groups" and { uid = 33, gid = 34 } or "adm") })
    end
  end)

  check("looks at nobody else's files", function()
    tool.write(folder .. "/passwd", "other:x:5:6::/:\n")
    assert.is_nil(names.find(container, {}, "user", "root"))
    assert.equal(5, names.find(container, {}, "user", "other").uid)
  end)
end)
