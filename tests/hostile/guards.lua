--- Switches protections in Lua off by their names, as core/common/protect.h does with those in C.
--
-- A guard is a line of a module that ends with the comment `-- guard: NAME`; for users it is an ordinary line. This
-- file changes the source of such a module while it is loaded:
--
--   local SECONDS = 5 -- guard: read_deadline      a limit: it becomes a thousand times as high
--   shield_terminals(spec) -- guard: shield        anything else: the line is left out
--
-- Where the module needs something in place of the line, INSTEAD has it.

local lfs = require "lfs"
local tool = require "tests.lib.tool"

local guards = {}

local INSTEAD = {
  recorded_cgroup = 'local paths = require "ctrexec.container.cgroups".of(container.pid)',
  cgroup_beneath = 'local folder, message = core.file.open(base .. "/" .. below, { path = true })',
}

-- The files below a folder whose names match `ending`.
local function files(folder, ending, found)
  found = found or {}
  for name in lfs.dir(folder) do
    local path = folder .. "/" .. name
    if name:sub(1, 1) ~= "." and lfs.attributes(path, "mode") == "directory" then
      files(path, ending, found)
    elseif name:find(ending) then
      found[#found + 1] = path
    end
  end
  table.sort(found)
  return found
end

--- The guards of the modules in Lua.
-- @treturn table from the name of a guard to an array of paths, which must have one item
function guards.in_lua()
  local places = {}
  for _, path in ipairs(files("lua", "%.lua$")) do
    for name in (tool.read(path) .. "\n"):gmatch "%-%- guard: ([%w_]+)\n" do
      places[name] = places[name] or {}
      table.insert(places[name], path)
    end
  end
  return places
end

--- The names of the protections in C: those that stand in PROTECTED, in the files of the hostile build, too.
-- @treturn table set
function guards.in_c()
  local names = {}
  for _, folder in ipairs { "core", "tests/hostile" } do
    for _, path in ipairs(files(folder, "%.[ch]$")) do
      for name in tool.read(path):gmatch "PROTECTED%(([%l_]+)%)" do names[name] = true end
    end
  end
  names.name = nil -- the macro's own parameter
  return names
end

--- The source of a module without a guard.
-- @tparam string source
-- @tparam string name
-- @tparam[opt] number limit the new value of the limit, instead of a thousand times the old one
-- @treturn string
-- @raise when the guard does not stand in the source exactly once, or `limit` is given and the guard is no limit
function guards.without(source, name, limit)
  local marker, lines, count = "^%s*(.-)%s*%-%- guard: " .. name .. "$", {}, 0
  for line in source:gmatch "([^\n]*)\n?" do
    local statement = line:match(marker)
    if statement then
      count = count + 1
      local target, number = statement:match "^([%w_. ]+) = ([%d.*+ <]+)$"
      assert(number or not limit, name .. ": is no limit")
      if number then
        line = ("%s = %s"):format(target, limit or ("1000 * (%s)"):format(number))
      else
        line = INSTEAD[name] or ""
      end
    end
    lines[#lines + 1] = line
  end
  assert(count == 1, ("guard %s: stands there %d times"):format(name, count))
  return table.concat(lines, "\n")
end

local function module_of(path)
  return (path:gsub("^lua/", ""):gsub("%.lua$", ""):gsub("/init$", ""):gsub("/", "."))
end

--- Makes `require` load the modules without some guards.
-- @tparam string without the names, separated by commas; a name that is not in Lua must be in C or begin with "build:"
-- @tparam[opt] table limits from the name of a guard to the new value of its limit
function guards.install(without, limits)
  local in_lua, in_c, sources, gone = guards.in_lua(), guards.in_c(), {}, {}
  local function take_out(name, limit)
    if gone[name] then return end
    gone[name] = true
    local places = in_lua[name]
    assert(#places == 1, ("guard %s: stands in %s"):format(name, table.concat(places, ", ")))
    local path = places[1]
    sources[path] = guards.without(sources[path] or tool.read(path), name, limit)
  end
  for name in without:gmatch "[^,]+" do
    if in_lua[name] then
      take_out(name)
    else
      assert(in_c[name] or name:find "^build:", "no guard is called " .. name)
    end
  end
  for name, limit in pairs(limits or {}) do take_out(name, limit) end
  -- A missing guard ends the process at once: the case is broken, and must not catch the error.
  local modules = {}
  for path, source in pairs(sources) do modules[module_of(path)] = assert(load(source, "@" .. path)) end
  table.insert(package.searchers, 2, function (name) return modules[name] end)
end

return guards
