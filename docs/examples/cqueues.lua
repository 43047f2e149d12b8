-- Commands in coroutines of cqueues (Debian: lua-cqueues): lua5.4 cqueues.lua CONTAINER [ROOT]
local cqueues = require "cqueues"
local core = require "ctrexec.core"
local ctrexec = require "ctrexec"

local web = assert(ctrexec.open(arg[1], { root = arg[2] }))

-- Waits in the coroutine that calls it until the descriptor can be read. The loop forgets it again, because somebody
-- else closes it.
local function readable(fd)
  cqueues.poll { pollfd = fd, events = "r" }
  cqueues.cancel(fd)
end

local function run(spec)
  spec.stdout = "pipe"
  local process <close> = assert(web:spawn(spec))
  local output = {}
  repeat
    readable(process.stdout:fd())
    local piece = assert(core.fd.read(process.stdout, 65536))
    output[#output + 1] = piece
  until piece == ""
  readable(process:fd())
  return process:wait(), table.concat(output)
end

local loop = cqueues.new()
for _, seconds in ipairs { "0.3", "0.1", "0.2" } do
  loop:wrap(function()
    local status, output = run { "sh", "-c", ("sleep %s; echo slept %s"):format(seconds, seconds) }
    print(status.code, (output:gsub("\n$", "")))
  end)
end

assert(loop:loop())
web:close()
