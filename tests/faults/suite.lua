-- Makes every system call of an exec fail in turn, in the cgroup view of this process.
-- usage: suite.lua [sample] [WORD...]     the cases whose names have one of the words; sample: only the first call of
-- each kind
-- exit: 0 when every exec ended as it should; 77 with the reason where no exec can be tried
package.path = "./?.lua;./lua/?.lua;./lua/?/init.lua;" .. package.path
package.cpath = "./build/lua/?.so;./build/tests/?.so;" .. package.cpath

local containers = require "tests.lib.containers"
local inject = require "inject"
local lib = require "tests.faults.lib"
local tool = require "tests.lib.tool"
local variants = require "tests.lib.variants"

local view = tool.view()
local runtime = tool.runtime()
local reason = variants.missing(runtime) or not inject.available and "tests/helpers/inject.c is for x86-64"
if reason then
  print(reason)
  os.exit(77)
end

local words = table.move(arg, 1, #arg, 1, {})
local sample = words[1] == "sample" and table.remove(words, 1) ~= nil

local function wanted(case)
  if case.views and case.views ~= view then return false end
  for _, word in ipairs(words) do
    if case.name:find(word, 1, true) then return true end
  end
  return #words == 0
end

local function describe(target)
  return ("%s: %s %d (%s) with %s"):format(target.role, target.call, target.ordinal, tostring(target.detail),
    target.error.name)
end

-- Runs a case, and returns how many calls were made to fail and how many execs ended wrongly.
local function try(case)
  local ct = variants.get(case.on or "plain", runtime)
  lib.run(case, ct) -- leaves the cache beside the state, as later runs find it
  local reference = lib.run(case, ct)
  assert(reference.status == 0 and reference.message == "" and reference.output ~= "",
    ("%s: status %s: %s"):format(case.name, reference.status, reference.message))
  local count = { ran = 0, refused = 0, unknown = 0, wrong = 0, missed = 0 }
  local targets = lib.targets(case, reference, sample)
  for _, target in ipairs(targets) do
    local result = lib.run(case, ct, target)
    local judgement = lib.judge(case, reference, result, target)
    count[judgement.how] = count[judgement.how] + 1
    if not result.injected then count.missed = count.missed + 1 end
    if os.getenv "FAULTS_VERBOSE" then print(describe(target), judgement.how, judgement.message) end
    if #judgement.problems > 0 then
      count.wrong = count.wrong + 1
      print("  WRONG " .. describe(target))
      for index = 1, math.min(#judgement.problems, 8) do print("        " .. judgement.problems[index]) end
    end
    io.flush()
  end
  containers.await_empty(ct)
  local failed = #targets - count.missed
  print(("%s, %s: %d calls failed, %d execs went on, %d were refused, %d calls were not made again; wrong: %d"):format(
    case.name, runtime, failed, count.ran - count.missed, count.refused, count.missed, count.wrong))
  return failed, count.wrong
end

local ok, problem = xpcall(function ()
  local failed, wrong = 0, 0
  for _, case in ipairs(require "tests.faults.cases") do
    if wanted(case) then
      local more_failed, more_wrong = try(case)
      failed, wrong = failed + more_failed, wrong + more_wrong
    end
  end
  print(("calls failed: %d, wrong outcomes: %d"):format(failed, wrong))
  return failed > 0 and wrong == 0
end, debug.traceback)
variants.remove_all()
if not ok then print(problem) end
os.exit(ok and problem == true)
