--- The outcome of one exec as lines that can be compared: the caller's side (status, streams, log, pid file, files
-- left, processes left) and, in standard output, the command's report of what it saw.

local cjson = require "cjson"
local lfs = require "lfs"
local tool = require "tests.lib.tool"

local outcome = {}

-- Seconds: a process that still runs after these is left over.
local LINGER = 2

-- glibc's posix_spawn leaves the two signals of its own threads (32, 33) ignored in every child, and Go takes one of
-- them back. The difference is not ctrexec's, so these signals do not count.
local function without_libc_signals(name, mask)
  return ("%s:\t%016x"):format(name, tonumber(mask, 16) & ~0x180000000)
end

-- Ids and times are never the same twice; only their form counts.
local function normalise(text, run)
  text = text:gsub(run.directory:gsub("%p", "%%%0"), "DIR")
  text = text:gsub('time="%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d[Z+-][%d:]*"', 'time="RFC3339"')
  text = text:gsub('"time":"%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d[Z+-][%d:]*"', '"time":"RFC3339"')
  text = text:gsub("pid %d+ to cgroups: failed to write %d+", "pid N to cgroups: failed to write N")
  text = text:gsub("(Sig%u%l+):\t(%x+)", without_libc_signals)
  text = text:gsub("ctrexec%-fixture%.%w%w%w%w%w%w", "CGROUP")
  -- runc walks the v1 controllers in the random order of a Go map.
  text = text:gsub("/sys/fs/cgroup/[^/ ]+/CGROUP", "/sys/fs/cgroup/CONTROLLER/CGROUP")
  return (text:gsub('runc: \\"exec', 'TOOL: \\"exec'):gsub('ctrexec: \\"exec', 'TOOL: \\"exec'))
end

local function add_lines(lines, label, text)
  -- The stack of a Go program that crashed has addresses in it.
  if text:find "^panic: " then
    text = text:match "^[^\n]*\n"
  end
  for line in text:gmatch "[^\n]*\n?" do
    if line ~= "" then
      lines[#lines + 1] = label .. ": " .. line:gsub("\n$", "") .. (line:find "\n$" and "" or " (no newline)")
    end
  end
end

-- The help texts of the tools differ, but not whether a tool shows its help, nor the first line of it.
local function stdout_lines(lines, text)
  local first = text:match "^(Incorrect Usage[^\n]*)\n" or text:match "^(NAME:)\n"
  if first then
    lines[#lines + 1] = "stdout: " .. first .. " (help follows)"
  else
    add_lines(lines, "stdout", text)
  end
end

local function log_lines(lines, data, run)
  for line in data:gmatch "([^\n]*)\n" do
    local ok, entry = pcall(cjson.decode, line)
    if ok and type(entry) == "table" then
      local fields = {}
      for key, value in pairs(entry) do
        fields[#fields + 1] = key .. "=" .. normalise(tostring(value), run)
      end
      table.sort(fields)
      local text = table.concat(fields, " ")
      text = text:gsub("time=%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d[Z+-][%d:]*", "time=RFC3339")
      lines[#lines + 1] = "log json: " .. text
    else
      lines[#lines + 1] = "log text: " .. normalise(line, run)
    end
  end
  if data ~= "" and data:sub(-1) ~= "\n" then
    lines[#lines + 1] = "log: last line has no newline"
  end
end

local function pid_file_line(path)
  local data = tool.read(path) or lfs.attributes(path, "mode")
  local form = data:find "^[1-9]%d*$" and "digits only" or ("%q"):format(data)
  return ("pid file: %s, mode %s"):format(form, lfs.attributes(path, "permissions"))
end

local function file_lines(lines, run)
  local names = {}
  for name in lfs.dir(run.directory) do
    names[#names + 1] = name
  end
  table.sort(names)
  for _, name in ipairs(names) do
    local path = run.directory .. "/" .. name
    if name == "log" then
      lines[#lines + 1] = "file: log"
      log_lines(lines, tool.read(path), run)
    elseif name == "pid" then
      lines[#lines + 1] = pid_file_line(path)
    elseif name ~= "." and name ~= ".." and not run.given[name] then
      lines[#lines + 1] = "file: " .. name
    end
  end
end

-- Every process in the container's cgroup and below it, without the init.
local function processes(directory, init, found)
  for pid in (tool.read(directory .. "/cgroup.procs") or ""):gmatch "%d+" do
    if pid ~= init then
      found[#found + 1] = (tool.read("/proc/" .. pid .. "/comm") or "gone"):gsub("\n", "")
    end
  end
  for name in lfs.dir(directory) do
    if name ~= "." and name ~= ".." and lfs.attributes(directory .. "/" .. name, "mode") == "directory" then
      processes(directory .. "/" .. name, init, found)
    end
  end
  return found
end

-- A process that is just ending may still be listed: only a process that stays is left over.
local function left_lines(ct)
  if lfs.attributes(ct.cgroup, "mode") ~= "directory" then
    return {}
  end
  local found
  tool.within(function ()
    found = processes(ct.cgroup, ct.init, {})
    return #found == 0
  end, LINGER)
  for i, name in ipairs(found) do
    found[i] = "left in the container: " .. name
  end
  return found
end

-- Waits for the end of a detached process, which its pid file names: only then it has written all its output.
local function wait_for_detached(run)
  local pid = tool.read(run.directory .. "/pid")
  tool.within(function ()
    local stat = pid and pid:find "^%d+$" and tool.read("/proc/" .. pid .. "/stat")
    return not stat or stat:find "%) Z "
  end, LINGER)
end

--- @tparam table run status, container, directory, given (set of names that the test put there), and files: the
-- directory with its stdout and stderr, which a detached process may still write to
-- @treturn table list of lines
function outcome.lines(run)
  wait_for_detached(run)
  local left = left_lines(run.container)
  local lines = { "status: " .. run.status }
  stdout_lines(lines, normalise(tool.read(run.files .. "/stdout"), run))
  add_lines(lines, "stderr", normalise(tool.read(run.files .. "/stderr"), run))
  file_lines(lines, run)
  return table.move(left, 1, #left, #lines + 1, lines)
end

--- Lines that only one side has, in order: "- " only the first, "+ " only the second. Empty when both are equal.
-- Longest common subsequence: a missing line must not make every line after it differ.
function outcome.difference(first, second)
  local length = {}
  for i = #first + 1, 1, -1 do
    length[i] = {}
    for j = #second + 1, 1, -1 do
      if i > #first or j > #second then
        length[i][j] = 0
      elseif first[i] == second[j] then
        length[i][j] = length[i + 1][j + 1] + 1
      else
        length[i][j] = math.max(length[i + 1][j], length[i][j + 1])
      end
    end
  end
  local result, i, j = {}, 1, 1
  while i <= #first or j <= #second do
    if first[i] ~= nil and first[i] == second[j] then
      i, j = i + 1, j + 1
    elseif j > #second or i <= #first and length[i + 1][j] >= length[i][j + 1] then
      result[#result + 1] = "- " .. first[i]
      i = i + 1
    else
      result[#result + 1] = "+ " .. second[j]
      j = j + 1
    end
  end
  return result
end

return outcome
