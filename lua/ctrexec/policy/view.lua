--- What a policy sees of a request: its fields, and methods for common tasks.
--
-- This chunk runs in the policies' process. `ctrexec.policy.worker` calls it with a function `ask(what)`, which sends a
-- question to the parent and returns the answer.
-- @module ctrexec.policy.view
local ask = ...

-- Locals, so that this code does not depend on globals that a policy could reach.
local next, type, select, error, tostring, ipairs, setmetatable =
  next, type, select, error, tostring, ipairs, setmetatable
local table_remove, table_insert, math_tointeger = table.remove, table.insert, math.tointeger
local format, sub, match, find, upper = string.format, string.sub, string.match, string.find, string.upper
local tonumber = tonumber

local view = {}

local function read_only()
  error("this is read only: a policy may edit request.process and request.options", 2)
end

-- A read-only view of a table and of the tables in it. `find_out`, where given, is called with a name that the table
-- lacks, or with nil before all names are listed: it may add what is missing.
local function locked(target, find_out)
  local function get(_, key)
    if find_out and target[key] == nil then find_out(key) end
    local value = target[key]
    if type(value) == "table" then return locked(value) end
    return value
  end
  return setmetatable({}, {
    __metatable = false,
    __index = get,
    __newindex = read_only,
    __len = function() return #target end,
    __pairs = function(self)
      if find_out then find_out() end
      return function(_, key)
        local name = next(target, key)
        return name, name ~= nil and get(self, name) or nil
      end, self, nil
    end,
  })
end

local function copy(source)
  local result = {}
  for name, value in next, source do result[name] = value end
  return result
end

-- request.env: the variables by name over the array of request.process.env.
local function environment_of(request)
  local function variables()
    local env = request.process.env
    if env == nil then
      env = {}
      request.process.env = env
    end
    return env
  end
  local function value_of(variable, name)
    if type(variable) == "string" and sub(variable, 1, #name + 1) == name .. "=" then
      return sub(variable, #name + 2)
    end
  end
  return setmetatable({}, {
    __metatable = false,
    __index = function(_, name)
      local env, found = variables(), nil
      for index = 1, #env do found = value_of(env[index], tostring(name)) or found end
      return found
    end,
    __newindex = function(_, name, value)
      if type(name) ~= "string" or name == "" or find(name, "[=%z]") then
        error("env: not a name of a variable: " .. format("%q", tostring(name)), 2)
      end
      if value ~= nil and type(value) ~= "string" and type(value) ~= "number" then
        error(format("env.%s: a string is expected, not a %s", name, type(value)), 2)
      end
      local env, place = variables(), nil
      for index = #env, 1, -1 do
        if value_of(env[index], name) then
          place = index
          table_remove(env, index)
        end
      end
      if value ~= nil then table_insert(env, place or #env + 1, name .. "=" .. value) end
    end,
    __pairs = function(self)
      local env, index = copy(variables()), 0
      return function()
        while index < #env do
          index = index + 1
          local name, value = match(env[index], "^([^=]+)=(.*)$")
          if name then return name, value end
        end
      end, self, nil
    end,
  })
end

local SETS = { "bounding", "effective", "inheritable", "permitted", "ambient" }

local function capability_name(name)
  if type(name) ~= "string" then error("a capability's name is expected, not a " .. type(name), 3) end
  name = upper(name)
  return find(name, "^CAP_") and name or "CAP_" .. name
end

local function remove_names(list, names)
  local kept, count = 0, #list
  for index = 1, count do
    local name = list[index]
    if not names[name] then
      kept = kept + 1
      list[kept] = name
    end
  end
  for index = kept + 1, count do list[index] = nil end
end

-- request.caps: the five sets of request.process.capabilities at once.
local function capabilities_of(request)
  local methods = {}
  local function sets()
    local all = request.process.capabilities
    if all == nil then
      all = {}
      request.process.capabilities = all
    end
    return all
  end
  local function has(set, name)
    for _, member in ipairs(sets()[set] or {}) do
      if member == name then return true end
    end
    return false
  end
  function methods.has(_, name, set)
    return has(set or "bounding", capability_name(name))
  end
  function methods.drop(_, ...)
    local names, all = {}, sets()
    for index = 1, select("#", ...) do names[capability_name((select(index, ...)))] = true end
    for _, set in ipairs(SETS) do
      if all[set] then remove_names(all[set], names) end
    end
  end
  function methods.add(_, ...)
    local all = sets()
    for index = 1, select("#", ...) do
      local name = capability_name((select(index, ...)))
      for _, set in ipairs { "bounding", "effective", "permitted" } do
        all[set] = all[set] or {}
        if not has(set, name) then table_insert(all[set], name) end
      end
      -- An ambient capability must be inheritable, too (capabilities(7)).
      if has("inheritable", name) and not has("ambient", name) then
        all.ambient = all.ambient or {}
        table_insert(all.ambient, name)
      end
    end
  end
  function methods.clear()
    request.process.capabilities = { bounding = {}, effective = {}, inheritable = {}, permitted = {}, ambient = {} }
  end
  return setmetatable({}, { __metatable = false, __index = methods, __newindex = read_only })
end

local function words(list)
  if type(list) ~= "table" then list = { list } end
  return list
end

local METHODS = {}

-- request:prepend{"nice", "-n", "5"}: the command becomes an argument of another.
function METHODS.prepend(request, list)
  for index, word in ipairs(words(list)) do table_insert(request.process.args, index, word) end
end

local function id_of(kind, word)
  if find(word, "^%d+$") then return math_tointeger(tonumber(word)) end
  local found = ask(format("%s:%s", kind, word))
  if type(found) ~= "table" then error(format("the container has no %s %q", kind, word), 3) end
  return kind == "user" and found.uid or found.gid, found.gid
end

-- request:run_as "UID[:GID]", names are those of the container.
function METHODS.run_as(request, user, groups)
  user = tostring(user)
  local name, group = match(user, "^([^:]+):?(.*)$")
  if not name then error("run_as: expected UID[:GID]", 2) end
  local uid, primary = id_of("user", name)
  local object = request.process.user
  if object == nil then
    object = {}
    request.process.user = object
  end
  object.uid = uid
  object.gid = group ~= "" and id_of("group", group) or primary or object.gid
  if groups then object.additionalGids = groups end
end

-- request:stat "/bin/sh": the status of a file in the container, nil if it does not exist. The parent resolves the path
-- within the container's root; `io.open` on /proc/PID/root would follow the container's links into the host.
function METHODS.stat(_, path)
  if type(path) ~= "string" or sub(path, 1, 1) ~= "/" then error("stat: an absolute path is expected", 2) end
  local status = ask("file:" .. path)
  return type(status) == "table" and status or nil
end

local SHELLS = {}
for name in ("ash bash busybox csh dash fish ksh mksh sh tcsh zsh"):gmatch "%a+" do SHELLS[name] = true end

-- Whether a shell with these arguments reads its commands from its standard input, or says that a person is there.
local function is_interactive_shell(args)
  local at = 1
  if match(args[1], "[^/]*$") == "busybox" then at = 2 end
  if not SHELLS[args[at] and match(args[at], "[^/]*$")] then return false end
  local has_command = false
  for index = at + 1, #args do
    local word = args[index]
    if not find(word, "^[-+].") or word == "--" then
      has_command = has_command or word ~= "-" and word ~= "--" or args[index + 1] ~= nil
      break
    elseif find(word, "^%-%a*[is]") then
      return true
    end
    has_command = has_command or find(word, "^%-%a*c") ~= nil
  end
  return not has_command
end

-- Fields that are made when a policy reads them: most policies use one or two of these.
local LAZY = {
  env = environment_of,
  caps = capabilities_of,
  -- The program's base name, as a policy wants to compare it.
  command = function(request)
    local program = request.process.args and request.process.args[1]
    return type(program) == "string" and match(program, "[^/]*$") or nil
  end,
  -- Whether a person can type commands: at a terminal, or into a shell without one (sh -i), as far as words tell.
  interactive = function(request)
    local args = request.process.args
    return request.process.terminal == true
      or type(args) == "table" and type(args[1]) == "string" and is_interactive_shell(args)
  end,
}

-- The answers of the parent in the present check, shared by all policies; each policy gets its own view of them.
local container, caller, told

-- The fields of the caller that the parent finds out only when a policy asks for them, because that takes time.
local FOUND_OUT = { user = "names", login_user = "names", ancestry = "origin", engine = "origin", sudo_user = "origin" }

local function find_out(part, into)
  if told[part] then return end
  for name, value in next, ask(part) or {} do into[name] = value end
  told[part] = true
end

local function find_out_caller(name)
  for _, part in ipairs { "names", "origin" } do
    if name == nil or FOUND_OUT[name] == part then find_out(part, caller) end
  end
end

local function find_out_container(name)
  if name ~= nil and name ~= "config" or told.config then return end
  container.config = ask "config"
  told.config = true
end

local REQUEST = {
  __metatable = false,
  __index = function(request, name)
    if METHODS[name] then return METHODS[name] end
    if name == "caller" then
      caller = caller or ask "caller" or {}
      return locked(caller, find_out_caller)
    elseif name == "container" then
      return locked(container, find_out_container)
    elseif LAZY[name] then
      return LAZY[name](request)
    end
  end,
  __newindex = function(_, name)
    error(format("request.%s cannot be set: a policy may edit request.process and request.options", tostring(name)), 2)
  end,
}

--- Begins a check, and forgets the answers of the check before.
-- @tparam table of_container what policies see of the container
function view.begin(of_container)
  container, caller, told = of_container, nil, {}
end

--- Makes the request of one policy.
-- @tparam table process the process object, which the policy may edit
-- @tparam table options request.options, which the policy may edit
-- @treturn table request
function view.request(process, options)
  return setmetatable({ process = process, options = options }, REQUEST)
end

return view
