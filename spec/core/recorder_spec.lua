local cjson = require "cjson"
local core = require "ctrexec.core"
local support = require "spec.core.support"
local tool = require "tests.lib.tool"

local errno = support.errno
local HEADER = '{"version": 2}'

local folder
local count = 0

setup(function() folder = tool.folder() end)
teardown(function() tool.remove(folder) end)

-- A recorder on a new file, and the file's path.
local function new(options)
  count = count + 1
  local path = ("%s/%d"):format(folder, count)
  local fd = assert(core.file.open(path, { write = true, create = true }, 420))
  return assert(core.recorder.new(fd, HEADER, options)), path
end

-- The events in a file: an array of {time, code, data}.
local function events_of(path)
  local text, events = tool.read(path), {}
  assert.equal(HEADER .. "\n", text:sub(1, #HEADER + 1))
  assert.is_nil(text:find "[%z\1-\9\11-\31\127]", "a raw control character")
  for line in text:sub(#HEADER + 2):gmatch "([^\n]*)\n" do events[#events + 1] = cjson.decode(line) end
  assert.equal("\n", text:sub(-1))
  return events
end

local function data_of(path, code)
  local parts = {}
  for _, event in ipairs(events_of(path)) do
    if event[2] == code then parts[#parts + 1] = event[3] end
  end
  return table.concat(parts)
end

-- The events that the recorder makes of pieces of output.
local function recorded(...)
  local recorder, path = new()
  for _, piece in ipairs { ... } do assert.is_true(recorder:record("output", piece)) end
  assert.is_true(recorder:finish())
  return data_of(path, "o")
end

local BAD = "\u{fffd}"

-- RFC 3629; how many replacements there are is the Unicode standard's recommendation (section 3.9).
local SEQUENCES = {
  { "A\u{e9}\u{20ac}\u{1f600}", "A\u{e9}\u{20ac}\u{1f600}" },
  { "\u{80}\u{9f}\u{a0}\u{7ff}\u{800}\u{d7ff}\u{e000}\u{ffff}\u{10000}\u{10ffff}" },
  { "\x80", BAD }, { "\xff\xfe", BAD .. BAD }, { "\xc0\xaf", BAD .. BAD }, { "\xc1\x81", BAD .. BAD },
  { "\xe0\x80\x80", BAD .. BAD .. BAD }, { "\xed\xa0\x80", BAD .. BAD .. BAD },
  { "\xf0\x8f\xbf\xbf", BAD .. BAD .. BAD .. BAD }, { "\xf4\x90\x80\x80", BAD .. BAD .. BAD .. BAD },
  { "\xf5\x80\x80\x80", BAD .. BAD .. BAD .. BAD }, { "\xe2\x82A", BAD .. "A" },
  { "\xe2\x82\xe2\x82\xac", BAD .. "\u{20ac}" },
  { "\xf0\x9f\x98", BAD }, { "a\xc3", "a" .. BAD }, { "\xc3\n", BAD .. "\r\n" },
}

describe("core.recorder", function()
  it("writes what can be decoded to what was output, wherever reads cut it", function()
    for _, case in ipairs(SEQUENCES) do
      local text, expected = case[1], case[2] or case[1]
      assert.equal(expected, recorded(text), ("%q"):format(text))
      for cut = 1, #text - 1 do
        assert.equal(expected, recorded(text:sub(1, cut), text:sub(cut + 1)), ("%q cut at %d"):format(text, cut))
      end
    end
  end)

  it("makes valid UTF-8 of any bytes, the same for any cuts", function()
    math.randomseed(20)
    for _ = 1, 50 do
      local bytes, pieces = {}, {}
      for index = 1, 200 do
        bytes[index] = string.char(math.random(3) == 1 and math.random(0, 127) or math.random(128, 255))
      end
      local text, at = table.concat(bytes), 1
      while at <= #text do
        local length = math.random(1, 9)
        pieces[#pieces + 1] = text:sub(at, at + length - 1)
        at = at + length
      end
      local whole = recorded(text)
      assert.is_truthy(utf8.len(whole))
      assert.equal(whole, recorded(table.unpack(pieces)))
    end
  end)

  it("keeps streams apart", function()
    local recorder, path = new { input = true }
    recorder:record("output", "\xe2\x82")
    recorder:record("error", "e\xe2")
    recorder:record("input", "i\n")
    recorder:record("output", "\xac")
    recorder:record("error", "\x82\xac")
    recorder:finish()
    assert.equal("e\u{20ac}\u{20ac}", data_of(path, "o"))
    assert.equal("i\n", data_of(path, "i"))
  end)

  it("gives a newline its return, and no second one", function()
    assert.equal("a\r\nb\r\n\r\nc\rd", recorded("a\nb\r\n\nc\rd"))
    assert.equal("a\r\n", recorded("a\r", "\n"))
  end)

  it("lets nothing end its event, or reach the terminal of who looks at the file", function()
    local all = {}
    for byte = 0, 127 do all[#all + 1] = string.char(byte) end
    local text = table.concat(all) .. '"]\n[0, "o", "forged"]\n\\u0022\u{9b}31m'
    local recorder, path = new()
    recorder:record("output", text)
    recorder:finish()
    assert.equal(1, #events_of(path))
    assert.equal(text:gsub("\n", "\r\n"), events_of(path)[1][3])
    assert.is_nil(tool.read(path):find "\u{9b}")
  end)

  it("records input only when asked", function()
    for _, wanted in ipairs { true, false } do
      local recorder, path = new { input = wanted }
      recorder:record("input", "typed")
      recorder:finish()
      assert.equal(wanted and "typed" or "", data_of(path, "i"))
    end
  end)

  it("records sizes that are new", function()
    local recorder, path = new { rows = 24, columns = 80 }
    for _, size in ipairs { { 24, 80 }, { 50, 132 }, { 50, 132 }, { 24, 80 } } do recorder:resize(size[1], size[2]) end
    recorder:finish()
    local sizes = {}
    for index, event in ipairs(events_of(path)) do sizes[index] = event[2] .. event[3] end
    assert.same({ "r132x50", "r80x24" }, sizes)
    assert.has_error(function() new { rows = -1 } end)
    assert.has_error(function() new():resize(0, 80) end)
    assert.has_error(function() new():record("stdout", "x") end)
  end)

  it("stamps events with seconds that do not fall", function()
    local recorder, path = new()
    for _ = 1, 5 do
      recorder:record("output", "x")
      core.poll.wait({}, 2)
    end
    recorder:finish()
    local last = 0
    for _, event in ipairs(events_of(path)) do
      assert.is_true(event[1] >= last and event[1] < 60)
      last = event[1]
    end
    assert.is_true(last > 0)
  end)

  it("holds no more than some 64 KiB, and whole lines", function()
    local recorder, path = new()
    recorder:record("output", ("\1"):rep(1 << 20))
    local text = tool.read(path)
    assert.is_true(#text > 6 * (1 << 20) - 120 * 1024)
    assert.equal("\n", text:sub(-1))
    assert.equal(#text, recorder:size())
    recorder:finish()
    assert.equal(1 << 20, #data_of(path, "o"))
    assert.equal(core.file.stat(path).size, recorder:size())
  end)

  it("writes what has waited", function()
    local recorder, path = new()
    recorder:record("output", "x")
    assert.equal(HEADER .. "\n", tool.read(path))
    tool.eventually(function()
      assert.is_true(recorder:tick())
      return #tool.read(path) > #HEADER + 1
    end, "the rest in the file")
    assert.equal("x", data_of(path, "o"))
  end)

  it("writes the rest when it is collected, and closes the file", function()
    local recorder, path = new()
    recorder:record("output", "x\xc3")
    recorder = nil -- luacheck: ignore
    collectgarbage()
    assert.equal("x" .. BAD, data_of(path, "o"))
  end)

  it("says that the header cannot be written, and leaves the descriptor to its owner", function()
    local full <close> = assert(core.file.open("/dev/full", { write = true }))
    local recorder, message, number = core.recorder.new(full, HEADER)
    assert.is_nil(recorder)
    assert.equal("write: No space left on device", message)
    assert.equal(errno.ENOSPC, number)
    assert.is_true(core.fd.is_open(full))
    assert.has_error(function() core.recorder.new(1, HEADER) end)
  end)

  it("stops at a failed write, which ends the session only if it is required", function()
    for _, required in ipairs { true, false } do
      local reader, writer = core.fd.pipe()
      local recorder = assert(core.recorder.new(writer, HEADER, { required = required }))
      assert.has_error(function() core.fd.is_open(writer) end) -- the recorder owns the descriptor now
      reader:close()
      local result, message, number = recorder:record("output", ("x"):rep(100000))
      if required then
        assert.same({ nil, "write: Broken pipe", errno.EPIPE }, { result, message, number })
        assert.is_nil(recorder:tick())
      else
        assert.is_true(result)
        assert.is_true(recorder:tick())
      end
      for _ = 1, 2 do assert.same({ nil, "write: Broken pipe", errno.EPIPE }, { recorder:finish() }) end
    end
  end)

  it("quotes a text by the same rules", function()
    assert.equal('"a\\"\\\\\\n\\u001b\\u009b' .. BAD .. '"', core.recorder.quote 'a"\\\n\27\u{9b}\xff')
    assert.equal('"' .. BAD .. '"', core.recorder.quote "\xe2\x82")
    assert.equal('""', core.recorder.quote "")
  end)
end)
