-- Recordings: what is asked for, what becomes of it, and the file. What a recorder writes is in core/recorder_spec.lua.
local cjson = require "cjson"
local core = require "ctrexec.core"
local recordings = require "ctrexec.policy.recording"
local support = require "spec.core.support"
local tool = require "tests.lib.tool"

local folder

before_each(function() folder = tool.folder() end)
after_each(function() tool.remove(folder) end)

local function about_with(process, fields)
  local about = {
    container = { id = "web", runtime = "crun" }, event = "0123456789abcdef",
    caller = { uid = 1000, user = "alice", login_uid = 1000, engine = "docker", pid = 5, ancestry = { { pid = 1 } } },
    process = { args = { "sh", "-c", "id" }, user = { uid = 1, gid = 2 }, env = { "TERM=xterm", "SECRET=1" } },
  }
  for name, value in pairs(process or {}) do about.process[name] = value end
  for name, value in pairs(fields or {}) do about[name] = value end
  return about
end

-- A recording in a new file, or nil, message, code, and the warnings.
local function open(settings, about)
  local warnings = {}
  settings = assert(recordings.settings(settings or folder .. "/file", nil, "web"))
  local recording, message, code = recordings.open(settings, about or about_with(), warnings)
  return recording, message, code, warnings
end

local function header_of(path)
  return cjson.decode(tool.read(path):match "^[^\n]*\n")
end

describe("what keeps a session from being recorded", function()
  it("is nothing where all streams come by", function()
    assert.is_nil(recordings.obstacle { records = true })
    assert.is_nil(recordings.obstacle({ records = true, preserve_fds = 0 }, true))
    assert.is_nil(recordings.obstacle({ records = true, preserve_fds = 2 }))
  end)

  it("is a command that nobody waits for", function()
    assert.equal("nobody would be there to record a detached command",
      recordings.obstacle { detach = true, records = true })
  end)

  it("is a descriptor that would get past it, where a policy wants it", function()
    assert.matches("^what goes to descriptors of %-%-preserve%-fds", recordings.obstacle(
      { records = true, preserve_fds = 1 }, true))
  end)

  it("is a program that does not copy the streams", function()
    assert.matches("^the command's streams would not pass by the recorder", recordings.obstacle {})
  end)
end)

describe("the settings of a recording", function()
  local function refused(pattern, ...)
    local settings, message, code = recordings.settings(...)
    assert.is_nil(settings)
    assert.matches(pattern, message)
    assert.equal("invalid", code)
  end

  it("are a file that was named", function()
    assert.same({ file = "/a/b", required = true }, recordings.settings("/a/b", nil, "web"))
    assert.same({ file = "/a/b", required = false, input = true, passwords = false, max_size = 5 },
      recordings.settings({ file = "/a/b", required = false, input = true, passwords = false, max_size = 5 }, nil, "x"))
  end)

  it("are a new name in the folder, with the container's", function()
    for _, wanted in ipairs { true, { folder = "/r" } } do
      local settings = assert(recordings.settings(wanted, { folder = wanted == true and "/r" or "/other" }, "we/b x"))
      assert.equal("/r", settings.folder)
      assert.equal("/r/" .. settings.name, settings.file)
      assert.matches(("^%%d+T%%d+Z%%-we_b_x%%-%d%%-%%x+%%.cast$"):format(core.process.ids().pid), settings.name)
    end
    local site = { folder = "/r" }
    assert.not_equal(recordings.settings(true, site, "web").file, recordings.settings(true, site, "web").file)
    assert.is_true(#recordings.settings(true, site, ("x"):rep(5000)).name < 255)
  end)

  it("are the site's where nothing else is said", function()
    local site = { folder = "/r", input = true, passwords = true, required = false, max_size = 7 }
    local settings = recordings.settings("/a/b", site, "web")
    assert.same({ "/a/b", nil, true, true, false, 7 }, { settings.file, settings.folder, settings.input,
      settings.passwords, settings.required, settings.max_size })
    settings = recordings.settings({ input = false, required = true }, site, "web")
    assert.same({ "/r", false, true }, { settings.folder, settings.input, settings.required })
  end)

  it("say which folder must be checked for a policy's file", function()
    local settings = recordings.settings("/a//b/c", nil, "web", true)
    assert.same({ "/a//b", "c", "/a//b/c" }, { settings.folder, settings.name, settings.file })
    settings = recordings.settings("/c", nil, "web", true)
    assert.same({ "/", "c" }, { settings.folder, settings.name })
    assert.is_nil(recordings.settings("/a/b", { folder = "/r" }, "web").folder)
  end)

  it("are none without a folder, or of a wrong type", function()
    refused("^record: no folder is configured", true, nil, "web")
    refused("^record: no folder is configured", { input = true }, {}, "web")
    for _, wanted in ipairs { 5, "relative", { file = "relative" }, { input = 1 }, { max_size = 0 }, { none = 1 } } do
      refused("^record", wanted, { folder = "/r" }, "web")
    end
  end)
end)

describe("the file of a recording", function()
  it("is new, and only its owner's", function()
    local recording = assert(open())
    assert.equal(tonumber("600", 8), core.file.stat(folder .. "/file").mode & tonumber("777", 8))
    assert.equal(folder .. "/file", recording.file)
    recording:finish {}
  end)

  it("begins with a header that says whose session it is", function()
    local recording = assert(open(nil, about_with { consoleSize = { height = 5, width = 7 },
      env = { "SHELL=/bin/ash", "TERM=one", "TERM=two" } }))
    recording:finish {}
    local header = header_of(folder .. "/file")
    assert.same({ 2, 7, 5, "web: sh", "sh -c id", { SHELL = "/bin/ash", TERM = "two" } },
      { header.version, header.width, header.height, header.title, header.command, header.env })
    assert.same({ event = "0123456789abcdef", container = "web", runtime = "crun", user = "1:2",
      caller = { uid = 1000, user = "alice", login_uid = 1000, engine = "docker", pid = 5 } }, header.ctrexec)
    assert.matches('^{ ?"version": ?2, ?"width": ?7,', tool.read(folder .. "/file"))
  end)

  it("has a usual size where there is no terminal", function()
    for index, size in ipairs { false, { height = 0, width = 7 }, { height = 7, width = 0 } } do
      local path = folder .. "/" .. index
      assert(open(path, about_with { consoleSize = size or nil })):finish {}
      local header = header_of(path)
      assert.same({ 80, 24 }, { header.width, header.height })
    end
  end)

  it("does not show what the site does not want to be shown", function()
    local process = { args = { "login", "--token=secret" } }
    assert(open(folder .. "/1", about_with(process, { audit = { redact = { "token=(%S+)" } } }))):finish {}
    assert.equal("login --token=[redacted]", header_of(folder .. "/1").command)
    assert(open(folder .. "/2", about_with(process, { audit = { command = false } }))):finish {}
    local header = header_of(folder .. "/2")
    assert.is_nil(header.command)
    assert.equal("web", header.title)
  end)

  it("takes the place of nothing that is there", function()
    tool.write(folder .. "/file", "old")
    tool.sh("ln -s target %s", folder .. "/link")
    for _, name in ipairs { "/file", "/link", "/none/file" } do
      local recording, message, code = open(folder .. name)
      assert.is_nil(recording)
      assert.matches("^the session cannot be recorded: ", message)
      assert.equal("system", code)
    end
    assert.equal("old", tool.read(folder .. "/file"))
    assert.is_false(tool.exists(folder .. "/target"))
  end)

  it("lies in no folder in which others may replace it", function()
    tool.sh("mkdir -m 777 %s", folder .. "/open")
    local recording, message, code = open { folder = folder .. "/open" }
    assert.is_nil(recording)
    assert.matches("/open.* by group or others", message)
    assert.equal("system", code)
    assert.same({}, core.file.list(folder .. "/open"))
    tool.sh("chmod 755 %s", folder .. "/open")
    assert(open { folder = folder .. "/open" }):finish {}
    assert.equal(1, #core.file.list(folder .. "/open"))
  end)

  it("is not needed where the site says so: a warning tells that there is none", function()
    local recording, message, code, warnings = open { file = folder .. "/none/file", required = false }
    assert.same({}, { recording, message, code })
    assert.equal(1, #warnings)
    assert.equal("warning", warnings[1].level)
    assert.matches("^the session cannot be recorded: ", warnings[1].message)
  end)

  it("goes away when its header cannot be written", function()
    local recorder = core.recorder.new
    finally(function() core.recorder.new = recorder end)
    core.recorder.new = function() return nil, "No space left on device" end
    local recording, message = open()
    assert.is_nil(recording)
    assert.equal(("the session cannot be recorded: %s/file: No space left on device"):format(folder), message)
    assert.is_false(tool.exists(folder .. "/file"))
  end)

  it("is the only thing that stays open", function()
    assert.equal(0, support.left_open(function() assert(open { folder = folder }):finish {} end))
  end)
end)

describe("a recording under way", function()
  it("records input only when asked", function()
    for _, input in ipairs { true, false } do
      local path = folder .. "/" .. tostring(input)
      local recording = assert(open { file = path, input = input, passwords = true })
      assert.equal(input, recording.input)
      recording.core:record("input", "typed\n")
      recording:finish {}
      assert.equal(input, tool.read(path):find("typed", 1, true) ~= nil)
    end
  end)

  it("is complete once it is finished, however often", function()
    local recording, warnings = assert(open()), {}
    recording.core:record("output", "text")
    assert.is_true(recording:finish(warnings))
    assert.is_true(recording:finish(warnings))
    assert.same({}, warnings)
    assert.matches("text", tool.read(folder .. "/file"))
    local summary = recording:summary()
    assert.same({ file = folder .. "/file", size = #tool.read(folder .. "/file") }, summary)
  end)

  -- A recording that ends early: of a file of at most so many bytes.
  local function full(required)
    local recording = assert(open { file = folder .. "/file", max_size = 400, required = required })
    recording.core:record("output", ("x"):rep(100000))
    return recording
  end

  it("is a failure when it ends early", function()
    local recording, warnings = full(true), {}
    for _ = 1, 2 do
      local complete, message = recording:finish(warnings)
      assert.is_nil(complete)
      assert.matches(("^the recording ends early: %s/file: "):format(folder:gsub("%-", "%%-")), message)
      assert.equal(message, recording:summary().error)
    end
    assert.same({}, warnings)
  end)

  it("is none where it is not required, of which one warning tells", function()
    local recording, warnings = full(false), {}
    assert.is_true(recording:finish(warnings))
    assert.is_true(recording:finish(warnings))
    assert.equal(1, #warnings)
    assert.same({ level = "warning", message = recording:summary().error }, warnings[1])
    assert.matches("^the recording ends early: ", warnings[1].message)
  end)

  it("leaves nothing when it is discarded", function()
    local recording = assert(open())
    recording.core:record("output", "text")
    recording:discard()
    assert.is_false(tool.exists(folder .. "/file"))
  end)
end)
