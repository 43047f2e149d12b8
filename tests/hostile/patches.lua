-- Protections that are in Lua, and how they are taken out: a change to the source of a module as it is loaded.

local patches = {}

-- An entry is waited for a minute: three seconds where it is hung up for certain.
local HASTY = { "ctrexec.exec.start", "local ENTRY_SECONDS = 60", "local ENTRY_SECONDS = 3" }

local WITHOUT = {
  ["lua:entry_deadline"] = { { "ctrexec.exec.start", "local ENTRY_SECONDS =", "local ENTRY_SECONDS = 100000 +" } },
  ["lua:read_deadline"] = { { "ctrexec.container.inside", "local SECONDS = 5", "local SECONDS = 100000" } },
  ["lua:read_limit"] = { { "ctrexec.container.inside", "local LIMIT = 8 << 20", "local LIMIT = 1 << 40" } },
  ["lua:process_limit"] = {
    { "ctrexec.command.files", "file.read_all(fd, json.MAX_SIZE)", "file.read_all(fd, 1 << 40)" },
  },
  ["lua:shield"] = {
    { "ctrexec.command.exec", "local function shield_terminals(spec)",
      "local function shield_terminals(spec) if spec then return end" },
  },
  ["lua:own_terminal"] = {
    { "ctrexec.command.exec", "if process.terminal then", "process.terminal = false\n    if false then" },
  },
  ["lua:trust"] = {
    { "ctrexec.lib.trust", "local function demand(status, path, rules)",
      "local function demand(status, path, rules) do return status end" },
  },
  ["lua:sub_path"] = {
    { "ctrexec.exec.cgroups", "local function sub_path(path)", "local function sub_path(path) do return path end" },
    { "ctrexec.exec.cgroups", 'core.cgroup.open(base, "/" .. below)',
      'core.file.open(base .. "/" .. below, {path=true})' },
  },
  ["lua:recorded_cgroup"] = {
    { "ctrexec.exec.cgroups", "options.cgroup_paths or record.cgroup_paths",
      'require "ctrexec.container.cgroups".of(record.pid)' },
  },
  ["lua:lasting_limit"] = {
    { "ctrexec.policy.limit", "lasting = timeout ~= nil and", "lasting = false and" },
  },
  ["lua:oom_kills"] = { { "ctrexec.exec.start", "core.cgroup.oom_kills(folder)", "0" } },
  ["lua:socket_deadline"] = {
    { "ctrexec.exec.sockets", "fdpass.connect(path, TIMEOUT, true)", "fdpass.connect(path)" },
    { "ctrexec.exec.listener", "fdpass.connect(path, TIMEOUT, true)", "fdpass.connect(path)" },
  },
}

local function plain(text)
  return (text:gsub("%p", "%%%0"))
end

local function changed(name, path, changes)
  local file = assert(io.open(path))
  local source = file:read "a"
  file:close()
  for _, change in ipairs(changes) do
    if change[1] == name then
      local count
      source, count = source:gsub(plain(change[2]), (change[3]:gsub("%%", "%%%%")))
      assert(count == 1, ("%s: %q is there %d times"):format(path, change[2], count))
    end
  end
  return source
end

--- Makes `require` load the changed modules.
-- @tparam string without the protections to take out, separated by commas
-- @tparam[opt] boolean hasty an entry is waited for three seconds
function patches.install(without, hasty)
  local changes, modules = { hasty and HASTY or nil }, {}
  for name in without:gmatch "lua:[%w_]+" do
    for _, change in ipairs(assert(WITHOUT[name], name)) do changes[#changes + 1] = change end
  end
  for _, change in ipairs(changes) do
    modules[change[1]:gsub("%.init$", "")] = change[1]
  end
  -- At once: a case whose change is out of date is broken, whatever it would make of the error.
  local sources = {}
  for name, changed_name in pairs(modules) do
    local path = assert(package.searchpath(name, package.path))
    sources[name] = assert(load(changed(changed_name, path, changes), "@" .. path))
  end
  table.insert(package.searchers, 2, function (name) return sources[name] end)
end

return patches
