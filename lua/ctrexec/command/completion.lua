--- Shell completion, made from the option tables: `ctrexec completion bash|zsh` prints a script.
--
-- Container ids come from `ctrexec list --quiet`, run with the `--root` that was typed. The shell never evaluates the
-- name of a container or of a directory.
-- @module ctrexec.command.completion
local commands = require "ctrexec.command.commands"
local options = require "ctrexec.command.options"

local completion = {}

-- Calls `visit` with each option of a command, or each option before the command where `command` is nil: its row,
-- metavar, text and kind of value.
local function each_option(command, visit)
  for _, row in ipairs(command and options.commands[command] or options.global) do
    visit(row, commands.texts(row, command))
  end
end

local function spellings(row)
  local words = { "--" .. row.name }
  -- "-?" is left out: the shells would take "?" for a pattern.
  for letter in (row.short or ""):gmatch "%a" do words[#words + 1] = "-" .. letter end
  return words
end

local function fill(template, values)
  return (template:gsub("@(%l+)@", values))
end

-- The spellings of an option as words of a bash case pattern: "COMMAND:--name | COMMAND:-n".
local function bash_pattern(command, row)
  local words = {}
  for i, word in ipairs(spellings(row)) do words[i] = (command or "") .. ":" .. word end
  return table.concat(words, " | ")
end

-- Two texts for bash: the pattern of all options that take a value, and the `case` lines that complete their values.
local function bash_values()
  local names, kinds = {}, {}
  local function collect(command)
    each_option(command, function(row, _, _, complete)
      if row.type == "bool" then return end
      names[#names + 1] = bash_pattern(command, row)
      local action = row.choices and ('_ctrexec_words "%s"'):format(table.concat(row.choices, " "))
        or complete and "_ctrexec_" .. complete
      if action then kinds[#kinds + 1] = ("    %s) %s ;;"):format(names[#names], action) end
    end)
  end
  collect()
  for _, name in ipairs(commands.order) do collect(name) end
  return "    " .. table.concat(names, " | \\\n      ") .. ")", table.concat(kinds, "\n")
end

local function bash_options()
  local lines = {}
  local function collect(command)
    local words = {}
    each_option(command, function(row) table.move(spellings(row), 1, 3, #words + 1, words) end)
    lines[#lines + 1] = ('    %s) _ctrexec_words "%s" ;;'):format(command or '""', table.concat(words, " "))
  end
  collect()
  for _, name in ipairs(commands.order) do collect(name) end
  return table.concat(lines, "\n")
end

local function bash_operands()
  local lines = {}
  for _, name in ipairs(commands.order) do
    local command = options.commands[name]
    local action = command.id and "_ctrexec_containers" or command.file and "_ctrexec_files" or command.actions
      and ('_ctrexec_words "%s"'):format(table.concat(command.actions, " ")) or command.wraps
      and ('_ctrexec_words "%s"'):format(command.wraps)
    if action then lines[#lines + 1] = ("    %s:0) %s ;;"):format(name, action) end
  end
  return table.concat(lines, "\n")
end

-- Readline also splits words at "=" and ":". The script joins the pieces of a word again, and offers only what belongs
-- behind the last of these characters: readline replaces $tail, and $skip is the part of the word before it.
local BASH = [=[
# bash completion of ctrexec: source <(ctrexec completion bash)
_ctrexec_add() {
  if [[ $1 == "$cur"* ]]; then COMPREPLY+=("${1#"$skip"}"); fi
}
_ctrexec_words() {
  local word
  for word in $1; do _ctrexec_add "$word"; done
}
_ctrexec_files() {
  compopt -o filenames 2>/dev/null
  mapfile -t COMPREPLY < <(compgen -f -- "$tail")
}
_ctrexec_directories() {
  compopt -o filenames 2>/dev/null
  mapfile -t COMPREPLY < <(compgen -d -- "$tail")
}
_ctrexec_containers() {
  local id
  while read -r id; do _ctrexec_add "$id"; done < <("${words[0]}" "${root[@]}" list --quiet 2>/dev/null)
}
_ctrexec_takes_value() {
  case $1 in
@takers@ ;;
    *) return 1 ;;
  esac
}
_ctrexec_value() {
  case $1 in
@values@
  esac
}
_ctrexec_options() {
  case $command in
@options@
  esac
}
_ctrexec_operand() {
  case $command:$operands in
    :*) _ctrexec_words "@commands@" ;;
@operands@
    policy:*) _ctrexec_files ;;
    help:0) _ctrexec_words "@commands@" ;;
  esac
}
_ctrexec() {
  local rest=$COMP_LINE part left words=() i
  for ((i = 0; i <= COMP_CWORD; i++)); do
    part=${COMP_WORDS[i]} left=${rest#"${rest%%[![:space:]]*}"}
    if ((i > 0)) && [[ $left == "$rest" ]]; then words[-1]+=$part; else words+=("$part"); fi
    rest=${left#"$part"}
  done
  local command='' wants='' operands=0 ended='' root=() word last=$((${#words[@]} - 1))
  for ((i = 1; i < last; i++)); do
    word=${words[i]}
    if [[ -n $wants ]]; then
      if [[ $wants == :--root ]]; then root=(--root "$word"); fi
      wants=''
    elif [[ -z $ended && $word == -- ]]; then
      ended=yes
    elif [[ -z $ended && $word == -?* ]]; then
      if [[ $command$word == --root=* ]]; then root=("$word"); fi
      if _ctrexec_takes_value "$command:$word"; then wants=$command:$word; fi
    elif [[ -z $command || $command == explain ]]; then
      command=$word ended=''
    else
      ended=yes operands=$((operands + 1))
    fi
  done
  local cur=${words[last]} tail=${COMP_WORDS[COMP_CWORD]} skip='' whole=''
  if [[ $tail == [=:] ]]; then tail=''; fi
  if [[ -z $wants$ended && $cur == -*=* ]] && _ctrexec_takes_value "$command:${cur%%=*}"; then
    wants=$command:${cur%%=*} cur=${cur#*=}
    # Where "=" does not break words it is part of what readline replaces.
    if [[ $tail == -*=* ]]; then whole=${tail%%=*}= tail=$cur; fi
  fi
  skip=${cur%"$tail"}
  COMPREPLY=()
  if [[ -n $wants ]]; then
    _ctrexec_value "$wants"
  elif [[ -z $ended && $cur == -* ]]; then
    _ctrexec_options
  else
    _ctrexec_operand
  fi
  COMPREPLY=("${COMPREPLY[@]/#/"$whole"}")
}
complete -F _ctrexec ctrexec ctrexec.lua
]=]

local function bash()
  local takers, values = bash_values()
  return fill(BASH, {
    takers = takers, values = values, options = bash_options(), commands = table.concat(commands.order, " "),
    operands = bash_operands(),
  })
end

-- Escapes the characters that would end [text] or :message: in a spec of zsh's _arguments.
local function zsh_text(text) return (text:gsub("[%[%]:\\]", "\\%0"):gsub("'", "'\\''")) end

local ZSH_FILES = { files = "_files", directories = "_files -/" }

-- Makes one spec for each spelling: '(all spellings)-u+[text]:USER:action', or '*-e+...' for a repeated option.
local function zsh_specs(command)
  local lines = {}
  each_option(command, function(row, metavar, text, complete)
    local words = spellings(row)
    local prefix = row.list and "*" or "(" .. table.concat(words, " ") .. ")"
    local value = ""
    if row.type ~= "bool" then
      local choices = row.choices and "(" .. table.concat(row.choices, " ") .. ")"
      local action = choices or ZSH_FILES[complete] or " "
      value = (":%s:%s"):format(zsh_text(metavar), action)
    end
    for _, word in ipairs(words) do
      local sign = value == "" and "" or word:find "^%-%-" and "=" or "+"
      local shown = text == "" and "" or "[" .. zsh_text(text) .. "]"
      lines[#lines + 1] = ("      '%s%s%s%s%s' \\"):format(prefix, word, sign, shown, value)
    end
  end)
  return table.concat(lines, "\n")
end

local function zsh_operands(name)
  local command = options.commands[name]
  if command.id then
    return "'1:container:_ctrexec_containers' '*::argument: '"
  elseif command.file then
    return "'1:file:_files'"
  elseif command.wraps then
    return ("'1:command:(%s)' '*::argument:->wrapped' && return\n      _ctrexec_command"):format(command.wraps)
  elseif command.actions then
    local files = command.max ~= 0 and " '*:file:_files'" or ""
    return ("'1:action:(%s)'%s"):format(table.concat(command.actions, " "), files)
  end
  return name == "help" and ("'1:command:(%s)'"):format(table.concat(commands.order, " ")) or ""
end

local function zsh_commands()
  local described, cases = {}, {}
  for _, name in ipairs(commands.order) do
    described[#described + 1] = ("    '%s:%s'"):format(name, zsh_text(commands.by_name[name].about))
    cases[#cases + 1] = ("    %s)\n      _arguments -C -s -S -A '-*' : \\\n%s\n      %s ;;")
      :format(name, zsh_specs(name), zsh_operands(name))
  end
  return table.concat(described, "\n"), table.concat(cases, "\n")
end

local ZSH = [=[
#compdef ctrexec ctrexec.lua
# zsh completion of ctrexec: a file _ctrexec in a directory of $fpath, or source <(ctrexec completion zsh)
_ctrexec_containers() {
  local -a ids
  ids=(${(f)"$($program $root list --quiet 2>/dev/null)"})
  compadd -a ids
}
# $words begins with the command.
_ctrexec_command() {
  local state line
  typeset -A opt_args
  case $words[1] in
@cases@
  esac
}
_ctrexec() {
  local curcontext=$curcontext state line program=${(Q)words[1]}
  local -a root described
  typeset -A opt_args
  described=(
@described@
  )
  _arguments -C -s -S -A '-*' : \
@specs@
      '1:command:->command' '*::argument:->argument' && return
  if (( $+opt_args[--root] )); then root=(--root ${(Q)opt_args[--root]}); fi
  case $state in
    command) _describe command described ;;
    argument) _ctrexec_command ;;
  esac
}
if [[ $funcstack[1] == _ctrexec ]]; then
  _ctrexec "$@"
else
  compdef _ctrexec ctrexec ctrexec.lua
fi
]=]

local function zsh()
  local described, cases = zsh_commands()
  return fill(ZSH, { described = described, cases = cases, specs = zsh_specs() })
end

local SHELLS = { bash = bash, zsh = zsh }

--- Makes a completion script.
-- @tparam string shell "bash" or "zsh"
-- @treturn string the script; it completes what this version of ctrexec implements
-- @return nil, message, "usage" for another shell
function completion.script(shell)
  local make = SHELLS[shell]
  if not make then return nil, ("no completion for the shell %s (bash or zsh)"):format(shell), "usage" end
  return make()
end

--- Prints the completion script of the shell that `action` names.
-- @tparam table parsed from `ctrexec.command.options`
-- @tparam table log from `ctrexec.command.log`
-- @treturn integer 0, or 1 for a shell without a script
function completion.run(parsed, log)
  local script, message = completion.script(parsed.action)
  if not script then
    log:error(message)
    return 1
  end
  io.stdout:write(script)
  return 0
end

return completion
