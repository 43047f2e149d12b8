--- The system calls that the helper makes under an early seccomp filter, traced on real containers: those of
-- core/common/late.h, which the filter is asked about, and none besides.
local cjson = require "cjson"
local containers = require "tests.lib.containers"
local late_calls = require "late_calls"
local suite = require "tests.lib.suite"
local tool = require "tests.lib.tool"

local skip = containers.missing "runc"
  or (os.getenv "SANITIZE" or "") ~= "" and "the runtime of the sanitizers makes calls of its own" or nil

-- Calls that runc also makes under the filter (libcontainer's finalizeNamespace): those that set the command's user.
local PR_CAPBSET_READ, PR_CAPBSET_DROP, PR_SET_KEEPCAPS, PR_CAP_AMBIENT = 23, 24, 8, 47
local IDENTITY = { setgroups = true, setresgid = true, setresuid = true, capset = true }
local IDENTITY_PRCTL = { [PR_CAPBSET_READ] = true, [PR_CAPBSET_DROP] = true, [PR_SET_KEEPCAPS] = true,
  [PR_CAP_AMBIENT] = true }

-- Calls whose two arguments a filter can judge. The arguments of the others are addresses, descriptors or values of the
-- plan.
local JUDGED = { prctl = true, ioctl = true }

local folder, ct
local check = suite(_ENV, skip, function ()
  folder = tool.folder()
  ct = containers.new { config = function (config)
    config.process.noNewPrivileges = false
    config.linux.seccomp = { defaultAction = "SCMP_ACT_ALLOW",
      syscalls = { { names = { "swapon" }, action = "SCMP_ACT_ERRNO" } } }
  end }
  return ct
end)

teardown(function ()
  if folder then tool.remove(folder) end
end)

-- The calls of the helper's processes from the filter on to the command's execve, in order: { name =, text = }.
local function trace(command)
  local path = folder .. "/trace"
  assert(os.execute(("strace -f -qq -X raw -e signal=none -o %s %s >%s/output 2>&1"):format(path, command, folder)),
    tool.read(folder .. "/output"))
  local calls, before, helper, final = {}, {}, nil, nil
  for line in io.lines(path) do
    local pid, name, text = line:match "^(%d+)%s+([%w_]+)%((.*)$"
    if not helper then
      before[pid or ""] = true
      -- What libseccomp asks the kernel has no program.
      if name == "seccomp" and text:find "{len=" then helper = pid end
    elseif name and (pid == helper or not before[pid]) then
      if pid ~= helper then final = pid end
      calls[#calls + 1] = { name = name, text = text }
      if name == "execve" and pid == final then return calls end
    end
  end
  error "no execve after the filter"
end

local function number_at(text, index)
  local words = {}
  for word in (text .. ","):gmatch "%s*([^,]*)," do words[#words + 1] = word end
  return math.tointeger(tonumber((words[index] or ""):match "^[%xx]+"))
end

local function is(call, entry)
  if call.name ~= entry.name then return false end
  if call.name == "clone" then return math.tointeger(tonumber(call.text:match "flags=(%w+)")) == entry.first end
  return not JUDGED[call.name] or number_at(call.text, 1) == entry.first and number_at(call.text, 2) == entry.second
end

local function entry_of(call)
  for _, entry in ipairs(late_calls) do
    if is(call, entry) then return entry.place end
  end
  if IDENTITY[call.name] or call.name == "prctl" and IDENTITY_PRCTL[number_at(call.text, 1)] then return "identity" end
end

-- Executes the command and returns which of the list's calls it made.
local function places(command)
  local found = {}
  for _, call in ipairs(trace(command)) do
    local place = entry_of(call)
    assert(place, ("%s(%s is not in core/common/late.h"):format(call.name, call.text))
    found[place] = true
  end
  return found
end

local function process_file(fields)
  local process = { args = { "true" }, cwd = "/", env = { "PATH=/bin" }, user = { uid = 1000, gid = 1000 } }
  for name, value in pairs(fields) do process[name] = value end
  tool.write(folder .. "/process.json", cjson.encode(process))
  return ("%s --root %s exec --process %s/process.json %s"):format(tool.ctrexec(), ct.root, folder, ct.id)
end

local PREPARED = [[
package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path
package.cpath = "./build/lua/?.so;" .. package.cpath
local web = assert(require "ctrexec".open(%q, { root = %q }))
local process <close> = assert(web:prepare { "true", terminal = true })
assert(process:start())
assert(process:wait().code == 0)]]

describe("under an early filter the helper makes the calls of the list", function ()
  local all = {}

  local function look(command)
    for place in pairs(places(command)) do all[place] = true end
  end

  check("for a plain command", function ()
    look(("%s --root %s exec %s true"):format(tool.ctrexec(), ct.root, ct.id))
  end)

  check("for one with a user, limits and a scheduling policy", function ()
    local own = { "CAP_KILL" }
    look(process_file { scheduler = { policy = "SCHED_BATCH", nice = 3 },
      rlimits = { { type = "RLIMIT_NOFILE", soft = 64, hard = 64 } },
      capabilities = { bounding = own, permitted = own, inheritable = own, effective = own, ambient = own } })
  end)

  check("for one with a terminal that waits for its start", function ()
    tool.write(folder .. "/prepared.lua", PREPARED:format(ct.id, ct.root))
    look(("lua5.4 %s/prepared.lua"):format(folder))
  end)

  -- The member process may end after the command has begun; the second chdir is for a file system that squashes root.
  local SELDOM = { LATE_EXIT = true, LATE_CHDIR = true }

  check("and all of them", function ()
    for _, entry in ipairs(late_calls) do
      if not SELDOM[entry.place] then assert(all[entry.place], entry.place .. " is never made") end
    end
  end)
end)
