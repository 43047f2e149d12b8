--- Reads files inside a container.
--
-- The helper reads them in the container's mount namespace, where a path leads to the same file as for the container's
-- processes. Whatever the path leads to (a fifo, a device, a file system that the container serves and never answers)
-- can neither block nor mislead the caller.
-- @module ctrexec.container.inside
local core = require "ctrexec.core"
local entrance = require "ctrexec.container.entrance"
local wording = require "ctrexec.lib.wording"

local inside = {}

local EINTR, EINVAL = core.errno.EINTR, core.errno.EINVAL
local SECONDS = 5 -- guard: read_deadline
-- The same limit, in bytes, as in the helper (core/enter/files.c).
local LIMIT = 8 << 20 -- guard: read_limit

local function collect(reader, deadline)
  local pieces, size = {}, 0
  while size < LIMIT do -- at the limit the helper stops without its final NUL: the file is too large
    local left = math.ceil((deadline - core.clock.now()) * 1000)
    if left <= 0 then return nil, "timeout" end
    -- No descriptor is ready when the time is over, nor after a signal to the host program: then the time is checked.
    if core.poll.wait({ { fd = reader, read = true } }, left) then
      local piece, message = core.fd.read(reader, 65536)
      if not piece then return nil, message end
      if piece == "" then return table.concat(pieces) end
      pieces[#pieces + 1], size = piece, size + #piece
    end
  end
  return nil, "file too large"
end

-- Why the file was not read to its end.
local function problem_of(entry, deadline)
  while true do
    local left = math.max(0, math.ceil((deadline - core.clock.now()) * 1000))
    local event, message, errno = entry:next(left)
    if not event and errno ~= EINTR then return message or "timeout" end
    event = event or {}
    if event.event == "error" and event.step == "read" then
      return event.errno == EINVAL and "not a regular file" or event.message
    elseif event.event == "error" then
      return ("%s: %s"):format(event.step:gsub("_", " "), event.message)
    elseif event.event == "died" then
      return event.reason == "killed" and "the helper was killed" or "the helper ended"
    end
  end
end

--- The content of a regular file of a container.
-- @tparam table container the container, running
-- @tparam string path absolute, in the container
-- @treturn[1] string
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code "system"
function inside.read(container, path)
  local way, message, code = entrance.of(container)
  if not way then return nil, message, code end
  local _ <close> = way.root
  local names = core.namespace.names
  local reader <close>, writer = core.fd.pipe()
  if not reader then return nil, wording.reworded(writer), "system" end
  local null <close>, problem = core.file.open("/dev/null", { read = true, write = true })
  if not null then
    writer:close()
    return nil, wording.reworded(problem), "system"
  end
  local entry <close>, why = core.spawn.start {
    init = way.init, namespaces = way.namespaces & (names.user | names.mnt), root = way.root,
    become_root = way.become_root, read = path, args = { path }, cwd = "/",
    stdin = null, stdout = writer, stderr = null,
  }
  writer:close()
  if not entry then return nil, wording.reworded(why), "system" end
  local deadline = core.clock.now() + SECONDS
  local text, fault = collect(reader, deadline)
  if text and text:sub(-1) == "\0" then return text:sub(1, -2) end -- complete, says the NUL: see core/enter/files.c
  fault = fault or problem_of(entry, deadline)
  return nil, ("%s: %s"):format(path, wording.reworded(fault)), "system"
end

return inside
