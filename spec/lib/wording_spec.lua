local wording = require "ctrexec.lib.wording"

describe("wording.quote", function()
  local function shown(expected, text)
    it("shows " .. expected, function() assert.equal(expected, wording.quote(text)) end)
  end

  shown([["plain /text"]], "plain /text")
  shown([[""]], "")
  shown([["a\"b\\c"]], 'a"b\\c')
  shown([["\a\b\f\n\r\t\v"]], "\a\b\f\n\r\t\v")
  shown([["\x00\x1b\x7f"]], "\0\27\127")
  shown('"\u{e9}\u{1f600}"', "\u{e9}\u{1f600}")
  shown([["\xff\xc3 ok"]], "\255\195 ok")
  shown([["\xff\u009b]] .. '\u{e9}"', "\255\u{9b}\u{e9}")
end)

describe("wording.reason", function()
  it("is what stands behind the last colon, as Go begins it", function()
    assert.equal("no such file or directory", wording.reason "open /a: b: No such file or directory")
    assert.equal("permission denied", wording.reason "Permission denied")
    assert.equal("exec format error", wording.reason "execve: exec format error")
  end)
end)

describe("wording.nearest", function()
  local names = { "user", "env", "env-file", "detach", "process", "pid-file", "t" }

  for word, name in pairs {
    usr = "user", uesr = "user", users = "user", enf = "env", ["env-"] = "env-file", detatch = "detach",
    proc = "process", pidfile = "pid-file", ["pid_file"] = "pid-file", pro = "process", de = "detach",
  } do
    it("of " .. word .. " is " .. name, function() assert.equal(name, wording.nearest(word, names)) end)
  end

  for _, word in ipairs { "x", "", "zzz", "attach-to" } do
    it(("of %q is none"):format(word), function() assert.is_nil(wording.nearest(word, names)) end)
  end
end)
