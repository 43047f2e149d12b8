-- Runs one case in one form: `one.lua FILE INDEX WITHOUT [hasty]`. WITHOUT lists the protections that are switched off;
-- it is empty for none. The last line of output is the verdict.

package.path = "./?.lua;./lua/?.lua;./lua/?/init.lua;" .. package.path

-- ctrexec waits a minute for an entry; with `hasty`, for a case in which the entry is certain to hang, three seconds.
local HASTY = { entry_deadline = 3 }

local file, index, without = arg[1], math.tointeger(tonumber(arg[2])), arg[3]

local build = without == "" and "build" or without:find "build:dynamic" and "build-hostile/dynamic" or "build-hostile"
package.cpath = ("./%s/lua/?.so;%s"):format(build, package.cpath)
require "tests.hostile.guards".install(without, arg[4] == "hasty" and HASTY)

local lib = require "tests.hostile.lib"
local case = dofile("tests/hostile/cases/" .. file)[index]
local t = lib.new { build = build, without = without }
local ok, worked, word = xpcall(case.attack, function (problem)
  return type(problem) == "table" and problem or debug.traceback(tostring(problem), 2)
end, t)
t:close()
if ok then
  print(("%s: %s"):format(worked and "worked" or "failed", word or ""))
elseif type(worked) == "table" and worked.cannot then
  print("cannot: " .. worked.cannot)
else
  print(worked)
  os.exit(1)
end
