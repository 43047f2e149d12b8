-- The site's rules for the command: containers opened under them are processes that need no runtime.
local config = require "ctrexec.site.config"
local exec = require "spec.exec.support"
local fixtures = require "spec.container.support"
local opens = require "ctrexec.command.open"
local support = require "spec.core.support"
local tool = require "tests.lib.tool"

local folder, init

before_each(function()
  folder, init = tool.folder(), support.sleeper()
end)

after_each(function()
  support.finish(init)
  tool.remove(folder)
end)

-- Writes a file of the site.
local function write(path, text, mode)
  path = folder .. "/site/" .. path
  tool.sh("umask 022; mkdir -p %s", path:match "^(.*)/")
  tool.write(path, text, mode or "644")
end

local function load_site()
  return opens.load(folder .. "/site")
end

-- Opens the child, as a container without state.
local function open(files)
  return assert(load_site():open(nil, { pid = init.pid }, files))
end

-- What the policies of a container say of a plain exec: the message of a denial, or nil.
local function denial(container)
  return container.policy:check { process = exec.object { "true" }, options = {}, container = {} }.message
end

local DENIES = "return { check = function() return deny '%s' end }"

describe("a machine without a site", function()
  it("has the settings of none, and no policies", function()
    local site = load_site()
    assert.is_nil(site.fault)
    assert.same({}, site.settings.policy_directories)
    local container <close> = open()
    assert.is_nil(container.policy)
    assert.is_falsy(container.owns_policy)
    assert.is_true(container.one_exec)
  end)

  it("obeys the policies that the caller names", function()
    tool.write(folder .. "/mine.lua", DENIES:format "mine", "644")
    local container <close> = open { folder .. "/mine.lua" }
    assert.equal("denied by policy mine: mine", denial(container))
  end)
end)

describe("a site", function()
  it("has its policies asked before the caller's", function()
    write("policy.d/10-first.lua", "return { check = function(r) if r.env.A then return deny 'first' end end }")
    tool.write(folder .. "/mine.lua", DENIES:format "mine", "644")
    local container <close> = open { folder .. "/mine.lua" }
    assert.equal("denied by policy mine: mine", denial(container))
    write("policy.d/10-first.lua", DENIES:format "first")
    local again <close> = open { folder .. "/mine.lua" }
    assert.equal("denied by policy 10-first: first", denial(again))
  end)

  it("has a chain also for its trail, its recordings and its time limit alone", function()
    for _, text in ipairs { "audit = { syslog = true }", "record = { folder = '/x' }", "limits = { exec_timeout = 5 }",
    } do
      write("config.lua", ("return { policy_directories = {}, %s }"):format(text))
      local container <close> = open()
      assert.is_true(container.policy:is_empty(), text)
    end
    write("config.lua", "return { policy_directories = {}, limits = { policy_time = 5 } }")
    local container <close> = open()
    assert.is_nil(container.policy)
  end)

  it("denies every exec when its configuration cannot be used, and says why", function()
    for text, mode in pairs { ["return { wrong = 1 }"] = "644", ["return {}"] = "666" } do
      write("config.lua", text, mode)
      local site = load_site()
      assert.matches("config", site.fault)
      assert.same(config.defaults(), site.settings)
      local container <close> = open()
      assert.equal("denied by policy config: " .. site.fault, denial(container))
    end
  end)

  it("names the folders in which containers are looked for", function()
    local root = folder .. "/root"
    local dir = fixtures.install("crun-1.8.1-v2", root, "web")
    fixtures.adopt(dir, { pid = init.pid, start_time = require "ctrexec.core".process.stat(init.pid).start_time })
    write("config.lua", ("return { roots = { %q } }"):format(root))
    for _, options in ipairs { {}, { root = "" }, { root = root } } do
      local container <close> = assert(load_site():open("web", options))
      assert.equal("web", container.id)
    end
    assert.same({ nil, "container does not exist", "no_such_container" },
      { load_site():open("web", { root = folder .. "/site" }) })
  end)

  it("ends the policies' process with the container, and also when there is no container", function()
    write("policy.d/10-first.lua", DENIES:format "first")
    local before = tool.children()
    local container = open()
    assert.is_true(container.owns_policy)
    assert.equal(#before + 1, #tool.children())
    container:close()
    assert.same(before, tool.children())
    assert.same({ nil, "process 2147483647 does not exist", "no_such_container" },
      { load_site():open(nil, { pid = (1 << 31) - 1 }) })
    assert.same(before, tool.children())
  end)
end)

describe("a site's modules", function()
  local searchers, loaded

  before_each(function()
    searchers, loaded = { table.unpack(package.searchers) }, {}
    for name, module in pairs(package.loaded) do loaded[name] = module end
  end)

  after_each(function()
    for index = math.max(#searchers, #package.searchers), 1, -1 do package.searchers[index] = searchers[index] end
    for name in pairs(package.loaded) do package.loaded[name] = loaded[name] end
  end)

  it("take the place of ctrexec's from then on, in other Lua states too", function()
    write("config.lua", ("return { module_directory = %q }"):format(folder .. "/modules"))
    tool.sh("umask 022; mkdir -p %s", folder .. "/modules/ctrexec/exec")
    tool.write(folder .. "/modules/ctrexec/exec/hostenv.lua", "return { site = 'mine' }", "644")
    package.loaded["ctrexec.exec.hostenv"] = nil
    local site = load_site()
    assert.equal("mine", require "ctrexec.exec.hostenv".site)
    local program = ("load(%q)(); io.write(require 'ctrexec.exec.hostenv'.site)"):format(site.settings.setup)
    assert.equal("mine", tool.output(("%s lua5.4 -e %s"):format(tool.lua_paths(), tool.quote(program))))
  end)

  it("are ctrexec's own where the site names no folder", function()
    write("config.lua", "return {}")
    assert.is_nil(load_site().settings.setup)
    assert.equal(#searchers, #package.searchers)
  end)
end)
