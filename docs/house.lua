--- Reads how the Lua modules rest on each other: for the test of the floors (spec/house_spec.lua) and for the drawing
-- (docs/draw.lua).
local house = {}

--- The floors, from the ground up: a module may require those of its own floor and below. `ctrexec` is the public
-- module, which joins exec and policy.
house.floors = { { "lib" }, { "oci" }, { "container" }, { "exec" }, { "policy" }, { "ctrexec", "site" }, { "command" },
  { "busted" } }

--- How long a file may be.
house.MOST_LINES = 600

local level_of = {}
for level, names in ipairs(house.floors) do
  for _, name in ipairs(names) do level_of[name] = level end
end

--- The folder of a module: "lib" of "ctrexec.lib.json". The public module and `ctrexec.busted` stand for themselves.
function house.folder_of(module)
  local name = module:match "^ctrexec%.([^.]*)"
  return name and level_of[name] and name or "ctrexec"
end

--- The floor of a module, from 1.
function house.level_of(module)
  return level_of[house.folder_of(module)]
end

-- What stands at a place of a Lua text: its kind, its last place and, of a name or a quoted string, its value.
local KINDS = {
  { "skip", "^%s+" },
  { "comment", "^%-%-[^\n]*" },
  { "string", "^\"[^\"\n]*\"" },
  { "string", "^'[^'\n]*'" },
  { "name", "^[%a_][%w_.]*" },
  { "other", "^." },
}

local function token_at(text, at)
  local _, stop, equals = text:find("^%-%-%[(=*)%[", at)
  if not stop then _, stop, equals = text:find("^%[(=*)%[", at) end
  if stop then return "skip", select(2, text:find("]" .. equals .. "]", stop, true)) or #text end
  for _, kind in ipairs(KINDS) do
    _, stop = text:find(kind[2], at)
    if stop then return kind[1], stop end
  end
end

-- The tokens of a Lua text, each `kind`, `value` and `line`, and by line whether a comment is there.
local function tokens_of(text)
  local tokens, comments, at, line = {}, {}, 1, 1
  while at <= #text do
    local kind, stop = token_at(text, at)
    local value = text:sub(at, stop)
    if kind == "comment" then
      comments[line] = true
    elseif kind ~= "skip" then
      tokens[#tokens + 1] = { kind = kind, value = kind == "string" and value:sub(2, -2) or value, line = line }
    end
    line = line + select(2, value:gsub("\n", ""))
    at = stop + 1
  end
  return tokens, comments
end

local OPENS = { ["function"] = true, ["do"] = true, ["then"] = true, ["repeat"] = true }
local CLOSES = { ["end"] = true, ["until"] = true, ["elseif"] = true }

-- Follows the blocks of a text: after each name it knows how many functions the place is in.
local function follow(blocks, word)
  if OPENS[word] then
    blocks[#blocks + 1] = word
    if word == "function" then blocks.functions = blocks.functions + 1 end
  elseif CLOSES[word] and table.remove(blocks) == "function" then
    blocks.functions = blocks.functions - 1
  end
end

-- Whether a comment stands beside a line, or above its group of late modules.
local function is_explained(line, comments, late_lines)
  if comments[line] then return true end
  while late_lines[line - 1] and not comments[line - 1] do line = line - 1 end
  return comments[line - 1] or false
end

-- The modules that a text requires: each `module`, `line`, `late`, `prefix` (only the beginning of the name stands
-- there), `inside` (a function) and `explained` (a comment says why it is late).
local function requires_of(text)
  local tokens, comments = tokens_of(text)
  local found, late_lines, blocks = {}, {}, { functions = 0 }
  for index, token in ipairs(tokens) do
    if token.kind == "name" then follow(blocks, token.value) end
    local paren = tokens[index + 1] and tokens[index + 1].value == "("
    local name = (token.value == "require" or token.value == "late") and tokens[index + (paren and 2 or 1)]
    if name and name.kind == "string" then
      local after = tokens[index + 3]
      found[#found + 1] = { module = name.value:gsub("%.$", ""), line = token.line, late = token.value == "late",
        inside = blocks.functions > 0, prefix = paren and after and after.value == "." }
      late_lines[token.line] = token.value == "late" or late_lines[token.line]
    end
  end
  for _, entry in ipairs(found) do entry.explained = is_explained(entry.line, comments, late_lines) end
  return found
end

--- Reads the modules.
-- @tparam table texts source by module
-- @treturn table by module: `requires` (array), `lines`
function house.read(texts)
  local modules = {}
  for name, text in pairs(texts) do
    modules[name] = { requires = requires_of(text), lines = select(2, text:gsub("\n", "")) }
  end
  return modules
end

--- The sources of the tree below the current directory, by module.
function house.sources()
  local texts = {}
  for path in io.popen "find lua -name '*.lua' | sort":lines() do
    local file <close> = assert(io.open(path))
    texts[path:gsub("^lua/", ""):gsub("%.lua$", ""):gsub("/init$", ""):gsub("/", ".")] = file:read "a"
  end
  return texts
end

--- The arrows: `from`, `to`, `late`. A name of which only the beginning is written stands for all modules below it, and
-- `original.X` for X; what is not of ctrexec's Lua modules is no arrow.
function house.arrows(modules)
  local arrows = {}
  local function add(from, to, late)
    if modules[to] and to ~= from then arrows[#arrows + 1] = { from = from, to = to, late = late } end
  end
  local names = {}
  for name in pairs(modules) do names[#names + 1] = name end
  table.sort(names)
  for _, from in ipairs(names) do
    for _, entry in ipairs(modules[from].requires) do
      local to = entry.module:gsub("^original%.", "")
      if not entry.prefix then add(from, to, entry.late) end
      for _, name in ipairs(entry.prefix and names or {}) do
        if name:sub(1, #to + 1) == to .. "." and not name:find(".", #to + 2, true) then add(from, name, true) end
      end
    end
  end
  return arrows
end

-- A way from a module back to itself, as an array of names; nil when there is none.
local function circle_from(start, targets)
  local seen, path = {}, {}
  local function walk(name)
    path[#path + 1] = name
    for _, to in ipairs(targets[name] or {}) do
      if to == start then return true end
      if not seen[to] then
        seen[to] = true
        if walk(to) then return true end
      end
    end
    path[#path] = nil
  end
  return walk(start) and path or nil
end

--- What is wrong with the house.
-- @tparam table modules of `read`
-- @treturn {string,...} one line a fault, sorted
function house.faults(modules)
  local faults, targets = {}, {}
  local function add(...) faults[#faults + 1] = string.format(...) end
  for _, arrow in ipairs(house.arrows(modules)) do
    targets[arrow.from] = targets[arrow.from] or {}
    table.insert(targets[arrow.from], arrow.to)
    if house.level_of(arrow.to) > house.level_of(arrow.from) then
      add("%s requires %s of a higher floor", arrow.from, arrow.to)
    elseif arrow.to == "ctrexec" and house.level_of(arrow.from) <= house.level_of "site" then
      add("%s requires the public module", arrow.from)
    end
  end
  for name, module in pairs(modules) do
    if module.lines > house.MOST_LINES then add("%s: %d lines", name, module.lines) end
    local circle = circle_from(name, targets)
    if circle then add("%s requires itself: %s", name, table.concat(circle, " -> ")) end
    for _, entry in ipairs(module.requires) do
      local allowed = entry.late and entry.prefix
      if entry.inside and not allowed then add("%s:%d: a module is named within a function", name, entry.line) end
      if entry.late and not entry.explained then add("%s:%d: no word why it is late", name, entry.line) end
    end
  end
  table.sort(faults)
  return faults
end

return house
