#!/usr/bin/lua5.4 -E
-- Writes the manual page ctrexec(8), in mdoc(7), from the texts of --help: scripts/man.lua VERSION DATE >ctrexec.8
package.path = arg[0]:gsub("[^/]*$", "") .. "../lua/?.lua;" .. package.path
local commands = require "ctrexec.command.commands"
local options = require "ctrexec.command.options"

local version, date = arg[1], arg[2]

-- Escapes what mdoc would interpret: a leading dot or quote, a backslash, and a minus, which must stay one that can be
-- typed.
local function text(words)
  return (words:gsub("\\", "\\e"):gsub("%-", "\\-"):gsub("^[.']", "\\&%0"))
end

local function say(...)
  io.write(table.concat({ ... }, " "), "\n")
end

-- Quotes text as one argument of a macro.
local function argument(word)
  return '"' .. text(word):gsub('"', '""') .. '"'
end

local function list_options(entries, command)
  say ".Bl -tag -width Ds"
  for _, entry in ipairs(entries) do
    local metavar, about = commands.texts(entry, command)
    local value = metavar and " Ar " .. argument(metavar) or ""
    local short = entry.short and ("Fl %s , "):format(entry.short:sub(1, 1)) or ""
    say((".It %sFl \\-%s%s"):format(short, text(entry.name), value))
    say(text(about))
  end
  say ".El"
end

local function examples(lines)
  say ".Pp"
  for _, line in ipairs(lines) do say(".Dl", argument(line)) end
end

say(".Dd", date)
say ".Dt CTREXEC 8"
say(".Os ctrexec", version)
say ".Sh NAME"
say ".Nm ctrexec"
say ".Nd start a process inside a container that is already running"
say ".Sh SYNOPSIS"
for _, name in ipairs(commands.order) do
  say ".Nm"
  say ".Op Ar global-option ..."
  say(".Cm", name)
  say(text(commands.by_name[name].usage))
end
say ".Sh DESCRIPTION"
say "The job of runc exec, for containers of runc, crun and youki and for any process."
say "A container is named by its id or by the beginning of one."
say ".Pp"
say "Global options:"
list_options(options.global)
for _, name in ipairs(commands.order) do
  local command = commands.by_name[name]
  say(".Ss", argument("ctrexec " .. name))
  say(text(command.about:gsub("^%l", string.upper)) .. ".")
  list_options(options.commands[name], name)
  examples(command.examples)
end
say ".Sh FILES"
say ".Bl -tag -width Ds"
for _, entry in ipairs {
  { "/etc/ctrexec/config.lua", "The operator's settings: roots, policy folders, audit, limits." },
  { "/etc/ctrexec/policy.d/*.lua", "Policies; every exec passes them in the order of their names." },
} do
  say(".It Pa", argument(entry[1]))
  say(text(entry[2]))
end
say ".El"
say ".Sh EXIT STATUS"
say(text(commands.by_name.exec.notes))
say "The status is 124 when the time\\-out ended the command."
say ".Sh SEE ALSO"
say ".Xr nsenter 1 ,"
say ".Xr setns 2 ,"
say ".Xr capabilities 7 ,"
say ".Xr cgroups 7 ,"
say ".Xr namespaces 7 ,"
say ".Xr runc 8"
