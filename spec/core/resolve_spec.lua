local core = require "ctrexec.core"
local support = require "spec.core.support"

local errno = support.errno
local DENY = "build/tests/deny openat2 "
local ENOSYS = errno.ENOSYS

-- Opens each path with each set of flags, and prints what came of it: the file's identity, or the errno.
local PROGRAM = [[
local core = require "ctrexec.core"
local confined = { beneath = true, no_symlinks = true, no_magiclinks = true, no_xdev = true }
local function report(base, path, flags, resolve)
  local fd, _, errno = core.file.openat(base, path, flags, resolve)
  local about = fd and core.file.stat(fd)
  print(path:sub(1, 20), about and about.type .. ":" .. about.ino or errno)
  if fd then fd:close() end
end
]]

local directory, remove

setup(function ()
  directory, remove = support.directory()
  assert(os.execute(("cd %s && mkdir -p base/a/b outside && echo in >base/a/file && echo out >outside/file && " ..
    "ln -s a base/link && ln -s file base/a/link && ln -s ../outside base/out && ln -s /etc base/etc && " ..
    "ln -s link base/loop && ln -s /proc/self/fd/0 base/magic && mkfifo base/a/pipe && ln -s /nowhere base/gone")
    :format(support.quote(directory))))
end)

teardown(function ()
  remove()
end)

local function is_built()
  return core.file.stat "build/tests/deny" ~= nil
end

local function complete(cases)
  return PROGRAM .. ("local base = assert(core.file.open(%q, { path = true, directory = true }))\n")
    :format(directory .. "/base") .. cases
end

local function with_kernel(cases)
  return support.lua("", complete(cases))
end

local function with_fallback(cases, refusal)
  return support.lua(DENY .. (refusal or ENOSYS), complete(cases))
end

local function check(title, test)
  it(title, function ()
    if not is_built() then return pending "needs tests/helpers/deny (make test-helpers)" end
    return test()
  end)
end

describe("where openat2 is refused, a confined path", function ()
  check("opens the same files, and fails with the same errors", function ()
    local cases = [[
      for _, path in ipairs { ".", "a", "a/", "a//b", "a/b/.", "./a/file", "a/file", "a/./file", "missing",
          "a/missing/file", "a/file/", "a/file/below", "link", "link/", "link/file", "a/link", "out", "out/file", "etc",
          "etc/passwd", "loop", "magic", "gone", "/etc/passwd", "/", "", ("x"):rep(256), ("a/./"):rep(1500) } do
        report(base, path, { path = true }, confined)
        report(base, path, { path = true, directory = true }, confined)
        report(base, path, { path = true, nofollow = true }, confined)
        report(base, path, { read = true, nonblock = true }, confined)
        report(base, path, { read = true, directory = true }, confined)
      end
    ]]
    local fallback = with_fallback(cases)
    assert.equal(with_kernel(cases), fallback)
    assert.matches("a/file\tfile:%d+", fallback)
    assert.matches("link/file\t" .. errno.ELOOP, fallback)
    assert.matches("out/file\t" .. errno.ELOOP, fallback)
  end)

  check("never goes up, not even where the kernel would", function ()
    local fallback = with_fallback [[
      for _, path in ipairs { "..", "../outside/file", "a/..", "a/../a/file", "a/b/../../../outside/file", "./.." } do
        report(base, path, { path = true }, confined)
        report(base, path, { read = true }, confined)
      end
    ]]
    for line in fallback:gmatch "[^\n]+" do assert.matches("\t" .. errno.EXDEV .. "$", line) end
  end)

  check("writes, too, but makes and empties no file", function ()
    local cases = [[
      report(base, "a/file", { write = true }, confined)
      report(base, "a/link", { write = true }, confined)
    ]]
    assert.equal(with_kernel(cases), with_fallback(cases))
    local refused = with_fallback [[
      report(base, "a/new", { write = true, create = true }, confined)
      report(base, "a/file", { write = true, truncate = true }, confined)
    ]]
    assert.equal(("a/new\t%d\na/file\t%d\n"):format(ENOSYS, ENOSYS), refused)
    assert.equal("in\n", support.output("cat " .. support.quote(directory .. "/base/a/file")))
  end)

  check("is refused where a promise cannot be kept", function ()
    local fallback = with_fallback [[
      report(base, "a/file", { read = true }, { in_root = true })
      report(base, "a/file", { read = true }, { beneath = true })
      report(base, "a/file", { read = true }, { no_symlinks = true })
      report(base, "a/file", { read = true }, { no_magiclinks = true })
      report(base, "a/file", { read = true }, { in_root = true, no_symlinks = true, beneath = true })
    ]]
    for line in fallback:gmatch "[^\n]+" do assert.matches("\t" .. ENOSYS .. "$", line) end
  end)

  check("stays on one mount, also of the same file system", function ()
    if core.process.ids().euid ~= 0 then return pending "needs root, to mount" end
    local base = support.quote(directory .. "/base")
    local mounts = ("mount --bind %s/a %s/a/b && mount --bind /etc/passwd %s/a/file"):format(base, base, base)
    local cases = complete [[
      for _, path in ipairs { "a", "a/b", "a/b/", "a/b/file", "a/b/.", "a/file" } do
        report(base, path, { path = true }, confined)
        report(base, path, { read = true }, confined)
        report(base, path, { path = true }, { beneath = true, no_symlinks = true })
      end
    ]]
    local kernel, reason = support.lua_in_mounts(mounts, cases)
    if not kernel then return pending(reason) end
    local deny = ("exec %s%d"):format(support.output "pwd":gsub("\n", "") .. "/" .. DENY, ENOSYS)
    local fallback = support.lua_in_mounts(mounts .. "\n" .. deny .. " lua5.4 -e " .. support.quote(cases), "")
    assert.equal(kernel, fallback)
    assert.matches("a/b/file\t" .. errno.EXDEV, fallback)
  end)

  check("without limits is the plain call, whatever the refusal is", function ()
    local cases = [[
      report(base, "link/../a/file", { read = true })
      report(base, "a/file", { read = true }, confined)
    ]]
    assert.equal(with_kernel(cases), with_fallback(cases, errno.EPERM))
  end)

  check("leaves no descriptor open", function ()
    local fallback = with_fallback [[
      local function count() return #core.file.list "/proc/self/fd" end
      local before = count()
      for _, path in ipairs { "a/b/.", "a/b/missing/x", "link/file", "a/..", "a/b/c/../d", "a/file" } do
        local fd = core.file.openat(base, path, { read = true }, confined)
        if fd then fd:close() end
      end
      print(before == count())
    ]]
    assert.equal("true\n", fallback)
  end)
end)
