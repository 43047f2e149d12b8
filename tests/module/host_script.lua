-- Runs in each Lua state of the host program (host.c): execs of every kind, each of which must give the state its own
-- results.
local root, id, rounds, thread = ...
local ctrexec = require "ctrexec"

local function check(value, message)
  if not value then error(message, 2) end
  return value
end

local container <close> = assert(ctrexec.open(id, { root = root }))

for round = 1, math.tointeger(tonumber(rounds)) do
  local word, code = ("thread %d round %d"):format(thread, round), (thread + round) % 200
  local result = assert(container:exec { "sh", "-c", 'cat; echo "$WORD" >&2; exit $CODE', input = word,
    env = { WORD = word, CODE = tostring(code) } })
  check(result.stdout == word, "stdout: " .. result.stdout)
  check(result.stderr == word .. "\n", "stderr: " .. result.stderr)
  check(assert(container:exec { "true" }).code == 0, "a short command's exit status")
  check(result.code == code, "exit status: " .. result.code)
end

local named = assert(container:exec { "id", "-u", user = "alice" })
check(named.stdout == "1000\n", "a user by name: " .. named.stdout)

local process <close> = assert(container:spawn { "cat", stdin = "pipe", stdout = "null" })
assert(process:kill "KILL")
check(assert(process:wait(20)).signal == 9, "the signal is lost")

local result = assert(container:exec { "sleep", "1000", timeout = 0.05 })
check(result.timed_out and result.code == 137, "the time-out is lost")

local answer, message, code = container:exec { "no-such-program" }
check(answer == nil and code == "not_found", message)
