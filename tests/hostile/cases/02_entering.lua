-- A container that may trace processes attacks the helper between its entry and its execve (CVE-2016-9962).

local cjson = require "cjson"
local lib = require "tests.hostile.lib"

local EXECS = math.tointeger(tonumber(os.getenv "EXECS" or 10000))
local SECRET = assert(os.getenv "CTREXEC_HOSTILE_SECRET")

local PTRACE = { "CAP_SYS_PTRACE" }

-- The files that the container may find open in the helper: its own, pipes to the caller, and the sealed image.
local HARMLESS = {
  "^ready$", "^samples ", "^fd pipe:", "^stdio /dev/null$", "^stdio pipe:", "^stdio /dev/pts/N$", "^exe /memfd:ctrexec",
  "^cwd /$", "^root /$", "^environ CTX_TEST_WITHOUT", "^map /memfd:ctrexec", "^map %[", "^map anonymous$",
}

local function findings(said)
  local list = {}
  for text in said:gmatch "[^\n]+" do
    local harmless = false
    for _, pattern in ipairs(HARMLESS) do harmless = harmless or text:find(pattern) ~= nil end
    if not harmless then list[#list + 1] = text end
  end
  return list
end

local function sampled(said)
  local samples, readable = 0, 0
  for s, r in said:gmatch "samples (%d+) readable (%d+)" do samples, readable = tonumber(s), tonumber(r) end
  return samples, readable
end

-- Runs execs until the spy has taken its samples. The caller has a secret in its memory and its environment.
local function spy(t, options)
  local ct = t:container { attack = { "spy", SECRET }, caps = options.caps, config = options.config }
  local keep = { SECRET:rep(1000) }
  -- On a busy machine the helper may be gone before the spy runs, so more execs follow.
  local count, enough = 0, math.max(10, options.execs // 50)
  local function go_on()
    if count % 20 ~= 0 then return true end
    if t.without ~= "" and #findings(t:said(ct)) > 0 then return false end
    return count < options.execs or count < 20 * options.execs and sampled(t:said(ct)) < enough
  end
  while go_on() do
    count = count + 1
    local result, message = ct:exec(options.spec or { "true" })
    assert(result and result.code == 0, message)
  end
  assert(#keep == 1)
  local said = t:said(ct)
  local samples, readable = sampled(said)
  local list = findings(said)
  local figure = ("%d execs, seen %d times, its descriptors %d times"):format(count, samples, readable)
  if #list > 0 then return true, table.concat(list, "; ", 1, math.min(#list, 4)) end
  assert(samples >= enough and (options.blind or readable == samples), figure)
  return false, figure
end

local function case(name, without, options)
  return { name = name, without = without, attack = function (t) return spy(t, options) end }
end

local function seccomp(allow_fork)
  return function (config)
    local names = { "clone3", "keyctl" }
    if not allow_fork then names[3] = "clone" end
    config.linux.seccomp = cjson.decode(cjson.encode {
      defaultAction = "SCMP_ACT_ALLOW", syscalls = { { names = names, action = "SCMP_ACT_ERRNO", errnoRet = 38 } },
    })
  end
end

return {
  case("reads /proc/PID/{fd,mem,maps,environ,exe,cwd,root,status}: descriptors of the host", { "early_close" },
    { caps = PTRACE, execs = EXECS }),
  case("the same: capabilities that the container does not have", { "early_drop" },
    { caps = PTRACE, execs = math.min(EXECS, 1000) }),
  case("the same, under a seccomp profile without no_new_privs", { "early_drop" },
    { caps = PTRACE, execs = math.min(EXECS, 1000), config = seccomp(true) }),
  case("the same: the caller's environment", { "clean_environment" },
    { caps = PTRACE, execs = math.min(EXECS, 1000) }),
  case("the same, without CAP_SYS_PTRACE, as root of the container", { "dumpable", "early_close" },
    { execs = math.min(EXECS, 1000), blind = true }),
  case("the same, with a terminal", { "early_close" },
    { caps = PTRACE, execs = math.min(EXECS, 1000), spec = { "true", terminal = true } }),
  {
    name = "takes the entering process over with ptrace(2) and uses its capabilities",
    without = { "early_drop" },
    attack = function (t)
      local ct = t:container { attack = { "hijack" }, caps = PTRACE }
      for _ = 1, lib.TRIES do
        ct:exec { "true" }
        if t:said(ct):find "sethostname" then break end
      end
      local said = t:said(ct)
      if not said:find "sethostname" then t:cannot "the process could not be caught in so many tries" end
      return said:find "process: done" ~= nil, said:match "sethostname[^\n]*"
    end,
  },
}
