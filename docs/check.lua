-- Refuses an undocumented public function: `lua5.4 docs/check.lua FILE...`, Lua and C files.
-- In Lua that is a field of the table the module returns (`function users.find`, `users.find = function`) and a method
-- of any object (`function handle:close`); in C it stands in a luaL_Reg table. Each needs a documentation comment
-- directly above its definition; in Lua it must name every parameter.

local failures = 0

local function complain(path, line, what)
  io.stderr:write(("%s:%d: %s\n"):format(path, line, what))
  failures = failures + 1
end

local function read_lines(path)
  local lines = {}
  for line in io.lines(path) do lines[#lines + 1] = line end
  return lines
end

-- The comment block that ends directly above line `at`, top line first; "" when there is none.
local function comment_above(lines, at, is_comment)
  local from = at
  while from > 1 and is_comment(lines[from - 1]) do from = from - 1 end
  return table.concat(lines, "\n", from, at - 1)
end

-- The parameters that a block describes: `@param NAME`, `@tparam TYPE NAME`, `@string NAME` and its like.
local function described(block)
  local names = {}
  for tag, rest in block:gmatch "@(%w+)%S*[ \t]+([^\n]*)" do
    local name = rest:match(tag == "tparam" and "^%S+%s+(%S+)" or "^(%S+)")
    if name then names[name] = true end
  end
  return names
end

local function check_block(path, line, name, block, opens, parameters)
  if not block:find(opens) then
    return complain(path, line, ("%s has no documentation comment"):format(name))
  end
  local names = described(block)
  for parameter in parameters:gmatch "[%w_.]+" do
    if not names[parameter] then
      complain(path, line, ("%s: parameter '%s' is not documented"):format(name, parameter))
    end
  end
end

local function is_lua_comment(line) return line:find "^%s*%-%-" ~= nil end

local function check_lua(path)
  local lines = read_lines(path)
  local module
  for at, line in ipairs(lines) do
    if line:find "^return" then
      module = line:match "^return ([%w_]+)%s*$"
      if not module then complain(path, at, "what the module returns has no name: write `return NAME`") end
    end
  end
  for at, line in ipairs(lines) do
    local owner, separator, name, parameters = line:match "^function ([%w_]+)([.:])([%w_.:]+)%s*(%b())"
    if not owner then
      owner, separator, name, parameters = line:match "^([%w_]+)(%.)([%w_]+)%s*=%s*function%s*(%b())"
    end
    -- Metamethods are described where their object is.
    if owner and (owner == module or separator == ":") and not name:find "^__" then
      check_block(path, at, owner .. separator .. name, comment_above(lines, at, is_lua_comment), "^%s*%-%-%-",
        parameters)
    end
  end
end

-- The definition of a C function, which this house writes `static int name(lua_State *L)` on one line.
local function definition_of(lines, name)
  for at, line in ipairs(lines) do
    if line:find("^[%w_ ]*%f[%w_]" .. name .. "%(lua_State %*L%)%s*$") then return at end
  end
end

-- The `/***` block that ends above line `at`, as text.
local function c_block_above(lines, at)
  if at == 1 or not lines[at - 1]:find "%*/%s*$" then return "" end
  local from = at - 1
  while from > 1 and not lines[from]:find "/%*" do from = from - 1 end
  return table.concat(lines, "\n", from, at - 1)
end

-- A failure is documented in one form, `@return[2] nil`, `@treturn[2] string error message`, `@treturn[2] int errno`;
-- types are those of ldoc's own tags: int, bool.
local OTHER_FORMS = { "@treturn%S* nil", "@return nil,", "@t[rp]%a+%S* %S*integer", "@t[rp]%a+%S* %S*boolean" }

local function check_forms(path, lines)
  for at, line in ipairs(lines) do
    for _, form in ipairs(OTHER_FORMS) do
      local found = line:match(form)
      if found then complain(path, at, ("'%s' is written otherwise: see OTHER_FORMS"):format(found)) end
    end
  end
end

local function check_c(path)
  local lines = read_lines(path)
  check_forms(path, lines)
  local source = table.concat(lines, "\n")
  for entries in source:gmatch "luaL_Reg%s+[%w_]+%[%]%s*=%s*(%b{})" do
    for name, func in entries:gmatch '{%s*"([%w_]+)"%s*,%s*([%w_]+)%s*}' do
      local at = definition_of(lines, func)
      if at and not name:find "^__" then
        local block = c_block_above(lines, at)
        -- @function names the binding; a method may share its function's block.
        if not block:find "^%s*/%*%*%*" then
          complain(path, at, ("%s has no documentation comment"):format(name))
        end
      end
    end
  end
end

for _, path in ipairs(arg) do
  if path:find "%.c$" then check_c(path) else check_lua(path) end
end
if #arg == 0 then complain("docs/check.lua", 0, "no file to check") end
os.exit(failures == 0)
