#!/usr/bin/lua5.4
-- Measures what ten policies of the gallery cost an exec: with the module, which loads its chain once, and with the
-- command, which starts the policies' process anew. Execs without and with policies alternate in one run; the result is
-- the median of the differences between neighbours, which a busy machine distorts least.
-- usage: policies.lua [ROUNDS]
local tree = (arg[0]:match "^(.*)/tests/bench/[^/]*$" or ".")
package.path = ("%s/lua/?.lua;%s/lua/?/init.lua;%s/?.lua;%s"):format(tree, tree, tree, package.path)
package.cpath = ("%s/build/lua/?.so;%s"):format(tree, package.cpath)

local ROUNDS = tonumber(arg[1]) or 200
local BUDGET_MS = 0.3
-- The policies that write nothing to the machine and set no time limit: a limit costs a cgroup, with or without a
-- policy.
local NAMES = { "allow-commands", "business-hours", "directives", "drop-capabilities", "lend-shell", "login-uid",
  "no-root", "prompt", "read-only-env", "require-reason" }

local clock = require "ctrexec.core".clock.now
local ctrexec = require "ctrexec"
local support = require "tests.module.support"

local function median(times)
  table.sort(times)
  return times[#times // 2 + 1] * 1000
end

-- Runs two functions in turns. Returns the medians of their times and of the differences, in milliseconds.
local function compare(one, other, rounds)
  local first, second, differences = {}, {}, {}
  for round = 1, rounds do
    local start = clock()
    one()
    local middle = clock()
    other()
    first[round], second[round] = middle - start, clock() - middle
    differences[round] = second[round] - first[round]
  end
  return median(first), median(second), median(differences)
end

local function show(what, budget, without, with, added)
  print(("  %-58s %9s %9s  %s"):format(what, ("%.2f ms"):format(without), ("%.2f ms"):format(with),
    ("%+.2f ms"):format(added) .. (budget and (" <= %g%s"):format(budget, added <= budget and "" or "  beyond") or "")))
end

local ct <close> = support.container()
local folder = ct.dir .. "/policies"
assert(os.execute(("umask 022 && mkdir %s"):format(folder)))
local files, words = {}, {}
for index, name in ipairs(NAMES) do
  files[index] = ("%s/%s.lua"):format(folder, name)
  assert(os.execute(("install -m 644 %s/scripts/policies/%s.lua %s"):format(tree, name, files[index])))
  words[index] = "--policy " .. files[index]
end

local plain <close> = assert(ctrexec.open(ct.id, { root = ct.root }))
local guarded <close> = assert(ctrexec.open(ct.id, { root = ct.root, policy = files }))
local spec = { "true", user = "1000", stdout = "inherit", stderr = "inherit" }
local function exec(container)
  return function() assert(assert(container:exec(spec)).code == 0) end
end

local command = ("%s/scripts/ctrexec.lua --root %s exec"):format(tree, ct.root)
local function run(options)
  return function() assert(os.execute(("exec %s %s -u 1000 ct true"):format(command, options))) end
end

print "\n(e) ten policies: medians without and with them, and of the difference"
compare(exec(plain), exec(guarded), ROUNDS // 10) -- both warm
show("container:exec, policies loaded once: check over ten", BUDGET_MS, compare(exec(plain), exec(guarded), ROUNDS))
show("ctrexec.lua exec with ten --policy files", nil, compare(run "", run(table.concat(words, " ")), ROUNDS // 2))
