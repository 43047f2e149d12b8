#!/usr/bin/lua5.4 -E
-- Writes the tables of fields in the guides, from the rows of lua/ctrexec/exec/fields.lua: scripts/tables.lua [--check]
-- The tables stand between `<!-- fields: NAME -->` and `<!-- end -->`. --check changes nothing, and fails if a table
-- differs from the rows.
local root = arg[0]:gsub("[^/]*$", "") .. "../"
package.path = root .. "lua/?.lua;" .. package.path
local fields = require "ctrexec.exec.fields"
local texts = require "ctrexec.exec.field_texts"

local function code(name) return "`" .. name .. "`" end

local ROWS = {} -- by the name of the field
for name, row in pairs(fields.others) do ROWS[name] = row end
for _, row in ipairs(fields.options) do ROWS[row.field or ""] = row end

local function is_for_exec_alone(row) return row.needs and #row.needs == 1 and row.needs[1] == "exec" end

-- Describes what a field does, and with which others it cannot be used.
local function meaning(row, text)
  local words = { text.means or text.help }
  if row.needs and not is_for_exec_alone(row) then words[#words + 1] = "Only " .. texts.where(row.needs, code) end
  if row.conflicts then
    local unless = row.despite and ", unless " .. texts.where({ row.despite }, code) or ""
    words[#words + 1] = "Not with " .. code(row.conflicts) .. unless
  end
  return table.concat(words, ". ")
end

local function spec_row(row, text)
  return { code(text[1]), text.value, row.name and code("--" .. row.name) or "", meaning(row, text) }
end

local SPEC = { { "field", "value", "option", "means" } }

local function spec_table(belongs)
  local lines = { table.unpack(SPEC) }
  for _, text in ipairs(texts) do
    local row = ROWS[text[1]]
    if row and belongs(row, text) then lines[#lines + 1] = spec_row(row, text) end
  end
  return lines
end

local TABLES = {}

function TABLES.spec()
  return spec_table(function(row, text) return not text.part and not is_for_exec_alone(row) end)
end

TABLES["only with exec"] = function() return spec_table(is_for_exec_alone) end

function TABLES.program()
  return spec_table(function(_, text) return text.part == "program" end)
end

function TABLES.open()
  local lines = { { "option", "value", "means" } }
  for index, text in ipairs(texts.open) do
    lines[index + 1] = { code(text[1]), text.value, meaning(fields.open[text[1]], text) }
  end
  return lines
end

TABLES["request.options"] = function()
  local lines = { { "option", "value", "may be set", "means" } }
  for _, text in ipairs(texts) do
    local row = ROWS[text[1]]
    if row and row.policy then
      lines[#lines + 1] = { code(text[1]), text.policy_value or text.value, row.policy == "edit" and "yes" or "",
        text.policy or text.means or text.help }
    end
  end
  return lines
end

local function markdown(name)
  local lines = TABLES[name]()
  table.insert(lines, 2, {})
  for index in ipairs(lines[1]) do lines[2][index] = "---" end
  for index, cells in ipairs(lines) do lines[index] = ("| %s |\n"):format(table.concat(cells, " | ")) end
  return (table.concat(lines):gsub(" +|", " |"):gsub("| %-%-%-", "|---"):gsub("%-%-%- |", "---|"))
end

local function file_of(path, mode) return assert(io.open(root .. path, mode)) end

local status = true
for _, path in ipairs { "docs/embedding.md", "docs/policy.md" } do
  local file = file_of(path, "r")
  local text = file:read "a"
  file:close()
  local made = text:gsub("(<!%-%- fields: ([^\n]*) %-%->\n).-(<!%-%- end %-%->)", function(head, name, tail)
    return head .. markdown(name) .. tail
  end)
  if made ~= text and arg[1] == "--check" then
    io.stderr:write(path, ": the tables of fields are not what lua/ctrexec/exec says: scripts/tables.lua writes them\n")
    status = false
  elseif made ~= text then
    file = file_of(path, "w")
    file:write(made)
    file:close()
  end
end
os.exit(status)
