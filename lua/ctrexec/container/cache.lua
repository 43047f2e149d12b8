--- The digest: a file beside the state of a container of runc, with what one exec found out and the next one can use.
--
-- Decoding a state with a seccomp profile, and compiling the profile, takes longer than all the rest of an exec. The
-- digest has the results, and the process section of the bundle's configuration. It is used only with the very files it
-- was made from, which are known by device, inode, size and times. It lies in the container's state directory, is
-- removed with it, and is under the same rules (`ctrexec.lib.trust`): only a user who may write the state could write
-- the digest. An exec without a digest takes longer, and nothing else differs.
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

-- The status of the source file that reads runc's states: a site may have replaced that module by its own.
local function reader_status()
  for template in package.path:gmatch "[^;]+" do
    local status = core.file.stat((template:gsub("%?", "ctrexec/container/runc")))
    if status then return status end
  end
end

-- Names the state file as it is now, and what the digest depends on: the versions of ctrexec and the kernel, and the
-- reader. A digest with another key is not used.
local function key_of(status)
  local reader = reader_status()
  return table.concat({ FORMAT, core.VERSION, core.kernel.release(), identity(status),
    reader and identity(reader) or "" }, " ")
end

--- Makes the object that reads and writes the digest of a container.
-- @tparam table found where the container's state is: `dir`, `directory`, `file` and `path`
-- @treturn table the digest, not yet read
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
-- @treturn ?table the fields that the state's reader would return, with `compiled`, the program of the seccomp profile,
-- instead of the profile; nil when there is no digest of this state
function Digest:load(found)
  local text = unwind.guarded(read, found, self.path)
  local known = text and core.value.unpack(text)
  if type(known) ~= "table" or known.key ~= self.key then return nil end
  self.known = known
  local fields = shallow_copy(known.fields)
  if known.program then fields.settings.seccomp, fields.compiled = {}, known.program end
  return fields
end

--- Keeps what the state's reader returned, for `save`. It must be called before other fields are added.
-- @tparam string runtime
-- @tparam table fields
function Digest:learn(runtime, fields)
  if runtime ~= "runc" then return end
  self.known, self.news = { key = self.key, fields = shallow_copy(fields) }, true
end

--- Keeps the process section of the container's configuration, for `save`.
-- @tparam table status of the file config.json
-- @tparam table process the section
function Digest:learn_process(status, process)
  self.known.process, self.known.process_key = process, identity(status)
  self.news = true
end

--- Whether the digest has a process section.
-- @treturn boolean
function Digest:knows_process()
  return self.known.process ~= nil
end

--- The process section of the container's configuration.
-- @tparam table status of the file config.json as it is now
-- @treturn ?table the section; nil when it was read from another file
function Digest:process(status)
  return self.known.process_key == identity(status) and self.known.process or nil
end

--- Writes the digest for the next exec, if this exec has found out something new. A failure is ignored: the next exec
-- then reads the state itself.
-- @tparam ?table compiled the program of the seccomp profile, if it was needed
function Digest:save(compiled)
  local known = self.known
  local profile = known.fields.settings.seccomp
  -- Only the compiled program of a profile is kept. A profile with a listener is needed itself: it has the listener's
  -- path and metadata.
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
