local users = require "ctrexec.oci.users"

local PASSWD = table.concat({
  "root:x:0:0:root:/root:/bin/sh",
  "# a comment",
  "+nis:x:9:9::/:",
  "alice:x:1000:1001:Alice,,,:/home/alice:/bin/ash",
  "alice:x:2000:2000:the second:/home/other:",
  "short:x:5:6",
  "negative:x:-1:0::/:/bin/sh",
  "huge:x:4294967295:0::/:/bin/sh",
  "long:x:99999999999999999999:0::/:/bin/sh",
  "nul\0byte:x:7:7::/:",
  "nobody:x:4294967294:65534::/:",
  "last:x:8:8::/last:/bin/last",
}, "\n")

local GROUP = table.concat({
  "root:x:0:",
  "adm:x:4:alice,bob",
  "wheel:x:10:bob,alice",
  "again:x:4:alice",
  "alicelike:x:11:alice2,malice",
  "none:x:12",
  "bad:x:x:alice",
  "own:x:1001:alice",
}, "\n")

describe("users", function()
  it("finds a user by name, the first line winning", function()
    assert.same({ name = "alice", uid = 1000, gid = 1001, home = "/home/alice", shell = "/bin/ash" },
      users.user(PASSWD, "alice"))
  end)

  it("finds a user by id", function()
    assert.equal("root", users.user_by_id(PASSWD, 0).name)
    assert.equal("nobody", users.user_by_id(PASSWD, 4294967294).name)
    assert.is_nil(users.user_by_id(PASSWD, 12345))
  end)

  it("reads a last line without a newline", function()
    assert.equal("/bin/last", users.user(PASSWD, "last").shell)
  end)

  it("gives no home where the line ends before it", function()
    local entry = users.user(PASSWD, "short")
    assert.equal(5, entry.uid)
    assert.is_nil(entry.home)
  end)

  for _, name in ipairs { "negative", "huge", "long", "+nis", "nis", "nul\0byte", "nul", "# a comment", "", "x" } do
    it("does not find " .. ("%q"):format(name), function()
      assert.is_nil(users.user(PASSWD, name))
    end)
  end

  it("finds a group by name", function()
    assert.equal(10, users.group(GROUP, "wheel").gid)
    assert.equal(12, users.group(GROUP, "none").gid)
    assert.is_nil(users.group(GROUP, "bad"))
    assert.is_nil(users.group(GROUP, "missing"))
  end)

  it("gives a user's supplementary groups, each once, without the primary", function()
    assert.same({ 4, 10 }, users.groups_of(GROUP, "alice", 1001))
    assert.same({ 4, 10, 1001 }, users.groups_of(GROUP, "alice"))
    assert.same({}, users.groups_of(GROUP, "ali"))
  end)

  it("takes a name that could match a list of members for no one", function()
    assert.same({}, users.groups_of(GROUP, "alice,bob"))
    assert.same({}, users.groups_of(GROUP, ""))
  end)

  it("skips a line longer than the limit, and goes on after it", function()
    local text = ("a"):rep(users.MAX_LINE + 1) .. ":x:1:1::/:\nok:x:2:2::/:\n"
    assert.equal(2, users.user(text, "ok").uid)
    assert.is_nil(users.user_by_id(text, 1))
  end)

  it("refuses more groups than a process can have", function()
    local lines = {}
    for gid = 1, users.MAX_GROUPS + 1 do lines[gid] = ("g%d:x:%d:eve"):format(gid, gid) end
    local gids, message, code = users.groups_of(table.concat(lines, "\n"), "eve")
    assert.is_nil(gids)
    assert.equal("user eve is a member of more than 65536 groups", message)
    assert.equal("invalid", code)
  end)

  it("survives bytes that are no text", function()
    local noise = {}
    for index = 1, 20000 do noise[index] = string.char(index * 7919 % 256) end
    assert.is_nil(users.user(table.concat(noise), "root"))
    assert.is_nil(users.group(("\n"):rep(100000), "root"))
    assert.is_nil(users.user(("::::::\n"):rep(1000), ""))
  end)
end)
