local cgroups = require "tests.lib.cgroups"
local core = require "ctrexec.core"
local members = require "ctrexec.container.members"
local support = require "spec.core.support"
local tool = require "tests.lib.tool"

local children

before_each(function() children = {} end)

after_each(function()
  for _, child in ipairs(children) do support.finish(child) end
end)

local function in_cgroup(title, test)
  cgroups.it(_ENV, title, test)
end

local function sleeper_in(group, path)
  children[#children + 1] = support.sleeper()
  return group:enter(children[#children], path).pid
end

describe("members.pids", function()
  in_cgroup("gives the processes of a cgroup and of all below it", function(group)
    assert.same({}, members.pids(group.fd))
    group:below "a/b"
    group:below "c"
    local expected = { sleeper_in(group), sleeper_in(group), sleeper_in(group, "a"), sleeper_in(group, "a/b"),
      sleeper_in(group, "c") }
    local pids = members.pids(group.fd)
    table.sort(expected)
    table.sort(pids)
    assert.same(expected, pids)
  end)

  in_cgroup("leaves nothing open, however deep the cgroups are", function(group)
    group:below(("d/"):rep(40))
    local pid = sleeper_in(group, "d/d")
    assert.equal(0, support.left_open(function() assert.same({ pid }, members.pids(group.fd)) end))
  end)

  it("gives none where there is no cgroup", function()
    local folder = tool.folder()
    finally(function() tool.remove(folder) end)
    local fd <close> = assert(core.file.open(folder, { path = true }))
    assert.same({}, members.pids(fd))
  end)
end)

describe("members.each_folder", function()
  local function visited(folder)
    local names = {}
    members.each_folder(folder, function(parent, name, fd)
      assert.equal(core.file.stat(fd).ino, core.file.stat(assert(core.file.openat(parent, name, { path = true }))).ino)
      names[#names + 1] = name
    end)
    return names
  end

  in_cgroup("calls for each cgroup below, the deepest first", function(group)
    assert.same({}, visited(group.fd))
    group:below "a/b/c"
    assert.same({ "c", "b", "a" }, visited(group.fd))
    group:below "a/d"
    local names = visited(group.fd)
    assert.equal(4, #names)
    assert.equal("a", names[4])
  end)

  in_cgroup("can remove each", function(group)
    group:below "a/b"
    group:below "a/c/d"
    members.each_folder(group.fd, function(parent, name) assert.is_true(core.cgroup.remove(parent, name)) end)
    assert.same({}, group:names())
  end)

  in_cgroup("goes so deep that no container makes it run out of descriptors", function(group)
    group:below(("d/"):rep(60))
    local names = visited(group.fd)
    assert.is_true(#names >= 16 and #names < 60, #names)
  end)
end)
