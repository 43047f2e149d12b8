--- What one exec found out about a container of runc, kept for the next: a file beside the state.
--
-- Decoding a state with a seccomp profile and compiling that takes longer than all the rest of an exec. The digest has
-- the result of both, and the process section of the bundle's configuration. It counts only for the very files it was
-- made from, by device, inode, size and times. It lies in the container's state directory, goes with it, and is under
-- the same rules (`ctrexec.lib.trust`): only who may write the state could write it. Losing it costs time alone.
-- @module ctrexec.container.cache
local core = require "ctrexec.core"
local unwind = require "ctrexec.lib.unwind"
local trust = require "ctrexec.lib.trust"

local digest = {}

local NAME = "ctrexec.digest"
local FORMAT = 1
local MODE = 384 -- 0600

local Digest = {}
Digest.__index = Digest

local function shallow_copy(values)
  local copy = {}
  for name, value in pairs(values) do copy[name] = value end
  return copy
end

local function identity(status)
  return ("%d:%d:%d:%.9f:%.9f"):format(status.dev, status.ino, status.size, status.mtime, status.ctime)
end

-- The source of the reader, which the site may have put another in the place of.
local function reader_status()
  for template in package.path:gmatch "[^;]+" do
    local status = core.file.stat((template:gsub("%?", "ctrexec/container/runc")))
    if status then return status end
  end
end

-- The state as it is now, and whoever makes the digest of it.
local function key_of(status)
  local reader = reader_status()
  return table.concat({ FORMAT, core.VERSION, core.kernel.release(), identity(status),
    reader and identity(reader) or "" }, " ")
end

--- Prepares for a container's digest.
-- @tparam table found the container's place: `dir`, `directory`, `file` and `path` of the state
-- @treturn table
function digest.new(found)
  return setmetatable({ path = found.dir .. "/" .. NAME, key = key_of(trust.demand_file(found.file, found.path)) },
    Digest)
end

local function read(found, path)
  local fd <close> = trust.file(found.directory, NAME, path)
  return fd and trust.read(fd, path)
end

--- Reads the digest.
-- @tparam table found as for `new`
-- @treturn ?table the fields that the state's reader would give, and `compiled`, the program of the seccomp profile, in
-- the place of the profile; nil when there is no digest of this state
function Digest:load(found)
  local text = unwind.guarded(read, found, self.path)
  local known = text and core.value.unpack(text)
  if type(known) ~= "table" or known.key ~= self.key then return nil end
  self.known = known
  local fields = shallow_copy(known.fields)
  if known.program then fields.settings.seccomp, fields.compiled = {}, known.program end
  return fields
end

--- Takes note of what the state's reader gave, before anything is added to it.
-- @tparam string runtime
-- @tparam table fields
function Digest:learn(runtime, fields)
  if runtime ~= "runc" then return end
  self.known, self.news = { key = self.key, fields = shallow_copy(fields) }, true
end

--- Takes note of the process section of the container's configuration.
-- @tparam table status of the file it is in
-- @tparam table process
function Digest:learn_process(status, process)
  self.known.process, self.known.process_key = process, identity(status)
  self.news = true
end

--- Whether there is a process section at all.
-- @treturn boolean
function Digest:knows_process()
  return self.known.process ~= nil
end

--- The process section of the container's configuration.
-- @tparam table status of the file that it has to be of
-- @treturn ?table
function Digest:process(status)
  return self.known.process_key == identity(status) and self.known.process or nil
end

--- Leaves a digest for the next exec, when this one has learned something. A failure is not worth a word.
-- @tparam ?table compiled the program of the seccomp profile, if it was needed
function Digest:save(compiled)
  local known = self.known
  local profile = known.fields.settings.seccomp
  -- A listener's path and data are needed with the program.
  if not self.news or profile and (profile.listenerPath or not compiled) then return end
  local fields = shallow_copy(known.fields)
  fields.settings = shallow_copy(fields.settings)
  fields.settings.seccomp = nil
  local text = core.value.pack {
    key = known.key, fields = fields, process = known.process, process_key = known.process_key, program = compiled,
  }
  if text then core.file.write_atomic(self.path, text, MODE) end
end

return digest
