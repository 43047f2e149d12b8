-- Modules of a site in the place of ctrexec's own. What `require` finds and has loaded is as before after each test.
local modules = require "ctrexec.site.modules"
local tool = require "tests.lib.tool"

local folder, searchers, loaded

before_each(function()
  folder = tool.folder()
  searchers, loaded = { table.unpack(package.searchers) }, {}
  for name, module in pairs(package.loaded) do loaded[name] = module end
end)

after_each(function()
  for index = math.max(#searchers, #package.searchers), 1, -1 do package.searchers[index] = searchers[index] end
  for name in pairs(package.loaded) do package.loaded[name] = loaded[name] end
  tool.remove(folder)
end)

-- Writes a module of the site.
local function write(name, text, mode)
  local path = ("%s/%s.lua"):format(folder, name:gsub("%.", "/"))
  tool.sh("umask 022; mkdir -p %s", path:match "^(.*)/")
  tool.write(path, text, mode or "644")
  return path
end

local function require_anew(name)
  package.loaded[name] = nil
  return require(name)
end

-- What an error says that `require` passes on, without what Lua puts before it.
local function refusal(name)
  local ok, message = pcall(require_anew, name)
  assert.is_false(ok)
  return message
end

describe("modules.install", function()
  it("lets the site's module take the place of ctrexec's, which is there as the original", function()
    local path = write("ctrexec.exec.hostenv", "return { name = ..., place = select(2, ...) }")
    local own = require_anew "ctrexec.exec.hostenv"
    modules.install(folder)
    local module = require_anew "ctrexec.exec.hostenv"
    assert.same({ name = "ctrexec.exec.hostenv", place = path }, module)
    assert.equal(module, require "ctrexec.exec.hostenv")
    local original = require "original.ctrexec.exec.hostenv"
    assert.is_function(original.add)
    assert.not_equal(own, module)
    assert.equal(original, require "original.ctrexec.exec.hostenv")
  end)

  it("lets the site's module build on the original", function()
    write("ctrexec.exec.hostenv", [[
      local hostenv = require "original.ctrexec.exec.hostenv"
      local add = hostenv.add
      function hostenv.add(env, names)
        env[#env + 1] = "SITE=1"
        return add(env, names)
      end
      return hostenv]])
    modules.install(folder)
    local env = {}
    assert.is_true(require_anew "ctrexec.exec.hostenv".add(env, {}))
    assert.same({ "SITE=1" }, env)
  end)

  it("takes ctrexec's own where the site has none", function()
    modules.install(folder)
    assert.is_function(require_anew "ctrexec.exec.hostenv".add)
    assert.is_function(require "original.ctrexec.exec.hostenv".add)
    modules.install(folder .. "/none")
    assert.is_function(require_anew "ctrexec.exec.hostenv".add)
  end)

  it("has no original of what ctrexec does not have, and says where it was looked for", function()
    write("ctrexec.command.word_of_the_site", "return { site = true }")
    modules.install(folder)
    assert.is_true(require "ctrexec.command.word_of_the_site".site)
    assert.matches("no original of 'ctrexec.command.word_of_the_site'",
      refusal "original.ctrexec.command.word_of_the_site")
    local message = refusal "ctrexec.no.such.module"
    assert.is_truthy(message:find(("no file '%s/ctrexec/no/such/module.lua'"):format(folder), 1, true), message)
  end)

  it("touches no other module", function()
    write("other", "return 'site'")
    write("ctrexecother", "return 'site'")
    write("ctrexec", "return 'site'")
    modules.install(folder)
    assert.matches("module 'other' not found", refusal "other")
    assert.matches("module 'ctrexecother' not found", refusal "ctrexecother")
    assert.is_table(require_anew "ctrexec")
  end)

  it("leaves alone what a program has put into package.preload", function()
    write("ctrexec.exec.hostenv", "return 'site'")
    modules.install(folder)
    finally(function() package.preload["ctrexec.exec.hostenv"] = nil end)
    package.preload["ctrexec.exec.hostenv"] = function() return "program" end
    assert.equal("program", require_anew "ctrexec.exec.hostenv")
  end)
end)

describe("a name of ctrexec 0.1", function()
  it("gives the module as it is called now, and its original", function()
    modules.install(folder)
    assert.equal(require "ctrexec.exec.hostenv", require "ctrexec.hostenv")
    assert.equal(require "original.ctrexec.exec.hostenv", require "original.ctrexec.hostenv")
    assert.equal(require "ctrexec.policy.keeper", require "ctrexec.watch")
  end)

  it("is good for a module of the site, unless the site has one of the name of now", function()
    write("ctrexec.hostenv", "return { site = 'old' }")
    modules.install(folder)
    assert.equal("old", require_anew "ctrexec.exec.hostenv".site)
    assert.equal(require "ctrexec.exec.hostenv", require_anew "ctrexec.hostenv")
    write("ctrexec.exec.hostenv", "return { site = 'new' }")
    assert.equal("new", require_anew "ctrexec.exec.hostenv".site)
  end)
end)

describe("a module of the site", function()
  it("fails to load when others may write it, or it is no Lua, or raises an error", function()
    local path = write("ctrexec.exec.hostenv", "return {}", "666")
    modules.install(folder)
    local message = refusal "ctrexec.exec.hostenv"
    assert.is_truthy(message:find(path, 1, true) and message:find("by group or others (mode 0666)", 1, true), message)
    write("ctrexec.exec.hostenv", "return {")
    assert.matches("/exec/hostenv.lua:1: unexpected symbol near <eof>", refusal "ctrexec.exec.hostenv")
    write("ctrexec.exec.hostenv", "error 'broken'")
    assert.matches("/exec/hostenv.lua:1: broken", refusal "ctrexec.exec.hostenv")
    write("ctrexec.exec.hostenv", string.dump(function() return 5 end))
    assert.matches("attempt to load a binary chunk", refusal "ctrexec.exec.hostenv")
  end)

  it("that cannot be looked at is never taken for one that is not there", function()
    modules.install(folder)
    tool.sh("mkdir -p %s && ln -s /no/such/module %s", folder .. "/ctrexec/exec", folder .. "/ctrexec/exec/hostenv.lua")
    assert.matches("[Nn]o such file", refusal "ctrexec.exec.hostenv")
    tool.remove(folder .. "/ctrexec")
    tool.write(folder .. "/ctrexec", "no folder")
    assert.matches("[Nn]ot a directory", refusal "ctrexec.exec.hostenv")
  end)
end)

describe("modules.setup", function()
  it("is the code by which another Lua state has the same modules", function()
    write("ctrexec.exec.hostenv", "return { site = 'mine' }")
    local program = ("assert(load(%q))(); io.write(require 'ctrexec.exec.hostenv'.site)"):format(modules.setup(folder))
    assert.equal("mine", tool.output(("%s lua5.4 -e %s"):format(tool.lua_paths(), tool.quote(program))))
  end)

  it("is good for any folder", function()
    local odd = folder .. "/it's \"odd\"\n"
    tool.sh("mkdir -p %s", odd .. "/ctrexec/exec")
    tool.write(odd .. "/ctrexec/exec/hostenv.lua", "return { site = 'odd' }")
    assert(load(modules.setup(odd)))()
    assert.equal("odd", require_anew "ctrexec.exec.hostenv".site)
  end)
end)
