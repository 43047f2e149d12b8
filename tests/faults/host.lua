-- A host program of the module: runs one exec between two marks, and checks what the exec has changed in this process.
-- usage: host.lua ROOT ID     exit: 0 with the command's output; 255 with one line, in the form of ctrexec's errors
package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path
package.cpath = "./build/lua/?.so;" .. package.cpath

local core = require "ctrexec.core"
local ctrexec = require "ctrexec"
local lfs = require "lfs"

local own = core.process.ids().pid

-- Read once more where that fails: the call that is to fail may be one of this program's own, after the exec.
local function status()
  for _ = 1, 2 do
    local file <close> = io.open "/proc/self/status"
    local text = file and file:read "a" or ""
    if text ~= "" then return text end
  end
  error "/proc/self/status cannot be read"
end

-- The state of this process that an exec must leave as it was: descriptors, children, signals, working directory.
local function state()
  local lines = {}
  for _, name in ipairs(core.file.list "/proc/self/fd") do
    lines[#lines + 1] = "fd " .. name .. " " .. (lfs.symlinkattributes("/proc/self/fd/" .. name, "target") or "")
  end
  for line in status():gmatch "[^\n]+" do
    if line:find "^Sig%u%l+:" or line:find "^Umask:" then lines[#lines + 1] = line end
  end
  lines[#lines + 1] = "cwd " .. core.file.realpath "."
  table.sort(lines)
  return table.concat(lines, "\n")
end

local function children()
  local file <close> = assert(io.open(("/proc/self/task/%d/children"):format(own)))
  return file:read "l" or ""
end

local container = assert(ctrexec.open(arg[2], { root = arg[1] }))
assert(container:exec { "/report" }) -- loads the modules, which later execs find loaded
local before = state()
io.open "/ctrexec-faults-begin"
local called, result, message, code = pcall(container.exec, container, { "/report" })
io.open "/ctrexec-faults-end"
local after = state()
if before ~= after then
  io.stderr:write(("changed:\n%s\nto:\n%s\n"):format(before, after))
elseif children() ~= "" then
  io.stderr:write "left: a child\n"
elseif not called then
  io.stderr:write("raised: " .. tostring(result) .. "\n")
elseif not result and type(code) ~= "string" then
  io.stderr:write("code: " .. tostring(code) .. "\n")
elseif not result then
  io.stderr:write(('time="now" level=error msg="exec failed: %s"\n'):format(message))
else
  io.stdout:write(result.stdout)
  os.exit(result.code)
end
os.exit(255)
