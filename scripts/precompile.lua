#!/usr/bin/lua5.4 -E
-- Compiles the modules that an exec loads into one file: scripts/precompile.lua FOLDER OUTPUT, where FOLDER holds
-- ctrexec/init.lua. ctrexec uses an entry only while the module's source has the size and the time of last change that
-- the entry notes, so an edited or replaced source is always used itself.
local folder, output = arg[1], arg[2]
package.cpath = output:match "^(.*)/ctrexec/[^/]*$" .. "/?.so;" .. package.cpath
local file = require "ctrexec.core".file

-- Modules that no exec loads are left out.
local SKIPPED = { ["ctrexec.command.help"] = true, ["ctrexec.command.completion"] = true, ["ctrexec.busted"] = true,
  ["ctrexec.command.refusal"] = true, ["ctrexec.command.replay"] = true }

local function modules(path, name, found)
  for _, entry in ipairs(assert(file.list(path))) do
    local child = path .. "/" .. entry
    if entry == "init.lua" then
      found[name] = child
    elseif entry:find "%.lua$" then
      found[name .. "." .. entry:match "^(.*)%.lua$"] = child
    elseif assert(file.stat(child)).type == "directory" then
      modules(child, name .. "." .. entry, found)
    end
  end
  return found
end

local names, found = {}, modules(folder .. "/ctrexec", "ctrexec", {})
for name in pairs(found) do
  if not SKIPPED[name] then names[#names + 1] = name end
end

-- The modules that every exec loads come first, because a module is looked for from the first entry to the last.
local early = {}
local function note(name)
  if early[name] or not found[name] then return end
  early[name] = true
  for line in io.lines(found[name]) do note(line:match '^local .*require "([%w.]+)"') end
end
for _, name in ipairs { "ctrexec.command", "ctrexec.command.open", "ctrexec.command.exec", "ctrexec" } do note(name) end

table.sort(names, function(one, other)
  if early[one] ~= early[other] then return early[one] or false end
  return one < other
end)

-- The output: the number of modules; for each its name, the size and time of its source, and the offset and size of its
-- code; then the code of all.
local entries, code, offset = {}, {}, 0
for index, name in ipairs(names) do
  local about = assert(file.stat(found[name]))
  code[index] = string.dump(assert(loadfile(found[name])), true)
  entries[index] = string.pack("s1jnjj", name, about.size, about.mtime, offset, #code[index])
  offset = offset + #code[index]
end
local head = string.pack("j", #names) .. table.concat(entries)
assert(file.write_atomic(output, string.pack("s", head) .. table.concat(code), 420)) -- 0644
