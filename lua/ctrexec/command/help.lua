--- The help texts: `--help` and the `help` command.
-- @module ctrexec.command.help
local commands = require "ctrexec.command.commands"
local options = require "ctrexec.command.options"
local refusal = require "ctrexec.command.refusal"

local help = {}

local WIDTH = 79
local TEXT_COLUMN = 31

local function wrap(text, indent, out)
  local line = indent
  for word in text:gmatch "%S+" do
    if #line + #word + 1 > WIDTH and line:find "%S" then
      out[#out + 1] = line:gsub("%s+$", "")
      line = (" "):rep(#indent)
    end
    line = line .. word .. " "
  end
  out[#out + 1] = line:gsub("%s+$", "")
end

-- Puts a name into the left column, and its text into the right one.
local function row(name, text, out)
  local left = "  " .. name
  if #left + 2 > TEXT_COLUMN then
    out[#out + 1] = left
    left = ""
  end
  wrap(text, left .. (" "):rep(TEXT_COLUMN - #left), out)
end

-- Adds a row for each option: "-u, --user USER[:GROUP]" and its text.
local function option_rows(list, command, out)
  for _, option in ipairs(list) do
    local metavar, text = commands.texts(option, command)
    local short = option.short and "-" .. option.short:sub(1, 1) .. ", " or "    "
    row(short .. "--" .. option.name .. (metavar and " " .. metavar or ""), text, out)
  end
end

local function list_of(title, lines, out)
  out[#out + 1] = ""
  out[#out + 1] = title
  for _, line in ipairs(lines) do out[#out + 1] = "  " .. line end
end

local function tool_text(out)
  out[#out + 1] = "ctrexec [GLOBAL-OPTION...] COMMAND [OPTION...] [ARGUMENT...]"
  out[#out + 1] = ""
  wrap("Runs a command inside a container that is already running: one made by runc, crun or youki, or any process.",
    "", out)
  list_of("Commands:", {}, out)
  for _, name in ipairs(commands.order) do row(name, commands.by_name[name].about, out) end
  list_of("Global options:", {}, out)
  option_rows(options.global, nil, out)
  list_of("Examples:", {
    "ctrexec exec web -- nginx -t",
    "ctrexec --root /run/crun exec -u 33:33 web id",
    "ctrexec help exec",
  }, out)
end

local function command_text(name, out)
  local command = commands.by_name[name]
  wrap(commands.usage(name), "", out)
  out[#out + 1] = ""
  out[#out + 1] = (command.about:gsub("^%l", string.upper)) .. "."
  list_of("Options:", {}, out)
  option_rows(options.commands[name], name, out)
  list_of("Examples:", command.examples, out)
  if command.notes then
    out[#out + 1] = ""
    wrap(command.notes, "", out)
  end
end

--- The help text, at most 79 columns wide.
-- @tparam ?string command the name of a command; nil for the whole tool
-- @treturn string the text, ending in a newline
-- @return nil, message, "usage" when there is no such command
function help.text(command)
  local out = {}
  if not command then
    tool_text(out)
  elseif commands.by_name[command] then
    command_text(command, out)
  else
    return nil, refusal.words({ kind = "command", name = command }, nil, options), "usage"
  end
  return table.concat(out, "\n") .. "\n"
end

--- Prints the help text of the tool or of the command that `args` names.
-- @tparam table parsed from `ctrexec.command.options`
-- @tparam table log from `ctrexec.command.log`
-- @treturn integer 0, or 1 for an unknown command
function help.run(parsed, log)
  local text, message = help.text(parsed.args[1])
  if not text then
    log:error(message)
    return 1
  end
  io.stdout:write(text)
  return 0
end

return help
