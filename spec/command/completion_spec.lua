local completion = require "ctrexec.command.completion"
local options = require "ctrexec.command.options"
local tool = require "tests.lib.tool"

local directory

local function path(name) return directory .. "/" .. name end

local function write(name, text) tool.write(path(name), text) end

local function read(name) return tool.read(path(name)) or "" end

local function sh(command)
  local result = tool.run(command .. " >output 2>&1", { directory = directory, deadline = 60 })
  return result.code == 0
end

local function needs(...)
  local reason = tool.missing(...)
  if reason then pending(reason) end
end

-- A program in place of ctrexec: it lists containers by root, and writes down every other command line.
local FAKE = [[
#!/bin/sh
root=default
case $1 in
  --root) root=$2; shift 2 ;;
  --root=*) root=${1#*=}; shift ;;
esac
if [ "$1 $2" = "list --quiet" ]; then
  case $root in
    default) printf 'alpha\nalpine\nweb-1\n$(touch evil)\n' ;;
    *) echo "in-${root#/}" ;;
  esac
else
  for word; do printf '<%s>' "$word" >>calls; done
  echo >>calls
fi
]]

-- Each row: the text before the TAB, and the words that are offered, in any order. zsh offers options where it has
-- nothing else.
local OFFERS = {
  { "ctrexec ", { "exec", "explain", "list", "policy", "replay", "completion", "help" } },
  { "ctrexec ex", { "exec", "explain" } },
  { "ctrexec --root / exe", { "exec" } },
  { "ctrexec --debug --log-f", { "--log-format" } },
  { "ctrexec --l", { "--log", "--log-format", "--log-level" } },
  { "ctrexec --log-format ", { "text", "json" } },
  { "ctrexec --log-format=", { "text", "json" } },
  { "ctrexec --log-format=j", { "json" } },
  { "ctrexec --cgroup-manager s", { "systemd" } },
  { "ctrexec exec ", { "alpha", "alpine", "web-1", "$(touch evil)" } },
  { "ctrexec exec alp", { "alpha", "alpine" } },
  { "ctrexec exec -t -u 33:33 --env=A=b:c --cgroup cpu:/x -e B=1 w", { "web-1" } },
  { "ctrexec exec --detach=true -- w", { "web-1" } },
  { "ctrexec exec -u exec w", { "web-1" } },
  { "ctrexec --root /x exec ", { "in-x" } },
  { "ctrexec --root=/x exec ", { "in-x" } },
  { "ctrexec --log-format json exec w", { "web-1" } },
  { "ctrexec exec --det", { "--detach" } },
  { "ctrexec exec --tty --no", { "--no-new-privs" } },
  { "ctrexec exec --env A=1 --env", { "--env", "--env-file" } },
  { "ctrexec exec --process fi", { "first.json" } },
  { "ctrexec exec --process=fi", { "first.json" } },
  { "ctrexec exec -p fi", { "first.json" } },
  { "ctrexec exec web-1 --he", {} },
  { "ctrexec exec web-1 ", {} },
  { "ctrexec exec --cwd ", {} },
  { "ctrexec explain --format ", { "text", "json" } },
  { "ctrexec explain ", { "exec" } },
  { "ctrexec explain -f json exec al", { "alpha", "alpine" } },
  { "ctrexec explain exec --det", { "--detach" } },
  { "ctrexec list --q", { "--quiet" } },
  { "ctrexec list -f ", { "table", "json" } },
  { "ctrexec list ", {}, zsh = { "--format", "--help", "--quiet", "-f", "-h", "-q" } },
  { "ctrexec policy ", { "check", "test" } },
  { "ctrexec policy check se", { "second.lua" } },
  { "ctrexec completion ", { "bash", "zsh" } },
  { "ctrexec completion bash ", {} },
  { "ctrexec help ex", { "exec", "explain" } },
}

-- Each row: a line with TABs in it, and the words that the program then gets.
local LINES = {
  { "ctrexec exe\t-u 33:33 we\t id", "<exec><-u><33:33><web-1><id>" },
  { "ctrexec --log-form=js\t", "<--log-form=js>" },
  { "ctrexec --log-format=js\tlis\t", "<--log-format=json><list>" },
  { "ctrexec --root /x exec \t", "<exec><in-x>" },
  { "ctrexec exec --det\t--process=fi\twe\t", "<exec><--detach><--process=first.json><web-1>" },
}

local function sorted(words)
  local copy = table.move(words, 1, #words, 1, {})
  table.sort(copy)
  return copy
end

local function make_directory()
  directory = tool.folder()
  tool.write(path "ctrexec", FAKE, "755")
  write("first.json", "{}")
  write("second.lua", "")
  write("bash.completion", completion.script "bash")
  write("zsh.completion", completion.script "zsh")
end

local function remove_directory() tool.remove(directory) end

local function check_no_evil() assert.equal("", read "evil", "a container's name was evaluated") end

describe("bash completion", function()
  setup(make_directory)
  teardown(remove_directory)

  -- A real interactive bash under a pty reads the keys; what each TAB offers is written down.
  local function type_keys(keys)
    write("rc", "PATH=" .. directory .. ":$PATH\nsource ./bash.completion\n"
      .. '_seen() { _ctrexec; { printf "LINE %s\\n" "$COMP_LINE"; '
      .. 'printf "OFFER %s\\n" "${COMPREPLY[@]}"; } >>offers; }\n'
      .. "complete -F _seen ctrexec\n")
    write("keys", keys .. "exit\n")
    assert(sh("script -qec 'bash --noprofile --rcfile rc -i' /dev/null <keys"), read "output")
  end

  it("offers what fits", function()
    needs("bash", "script")
    local keys = {}
    for i, row in ipairs(OFFERS) do keys[i] = row[1] .. "\t\n" end
    type_keys(table.concat(keys))
    local offers, line = {}, nil
    for text in read("offers"):gmatch "[^\n]+" do
      local kind, rest = text:match "^(%u+) (.*)$"
      if kind == "LINE" then
        line = rest
        offers[line] = {}
      elseif rest ~= "" then
        table.insert(offers[line], rest)
      end
    end
    for _, row in ipairs(OFFERS) do
      assert.same({ row[1], sorted(row[2]) }, { row[1], offers[row[1]] and sorted(offers[row[1]]) })
    end
    check_no_evil()
  end)

  it("completes lines as they are typed", function()
    needs("bash", "script")
    local keys, words = {}, {}
    os.remove(path "calls")
    for i, row in ipairs(LINES) do keys[i], words[i] = row[1] .. "\n", row[2] .. "\n" end
    type_keys(table.concat(keys))
    assert.equal(table.concat(words), read "calls")
  end)

  it("also completes where = does not break words", function()
    needs("bash", "script")
    os.remove(path "offers")
    type_keys "COMP_WORDBREAKS=' '\nctrexec --log-format=j\t\nctrexec --root=/x exec \t\n"
    assert.equal("LINE ctrexec --log-format=j\nOFFER --log-format=json\nLINE ctrexec --root=/x exec \nOFFER in-x\n",
      read "offers")
  end)

  it("passes shellcheck", function()
    needs("shellcheck")
    assert(sh "shellcheck --shell bash bash.completion", read "output")
  end)
end)

describe("zsh completion", function()
  setup(make_directory)
  teardown(remove_directory)

  -- As above: an interactive zsh under zpty; compadd tells what matches. What the first one has found of the machine's
  -- completions it leaves in a file for the others.
  local DRIVER = [=[
zmodload zsh/zpty
zpty z "TERM=dumb zsh -f -i"
zpty -w z 'PROMPT= ; PATH='$PWD':$PATH; unsetopt zle_bracketed_paste prompt_sp
autoload -U compinit; compinit -u -d '$PWD'/dump
source ./zsh.completion; zstyle ":completion:*" verbose no
compadd() {
  if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then builtin compadd "$@"; return; fi
  typeset -a hits; builtin compadd -A hits "$@"; print -l -- "OFFER "$^hits; builtin compadd "$@"
}
finish() { print END; exit }
comppostfuncs=(finish)
print REA""DY'
zpty -r z seen '*READY*'
zpty -n -w z "$1"$'\t'
zpty -r -m z seen '*END*'
print -r -- "$seen"
]=]

  for _, row in ipairs(OFFERS) do
    it("offers what fits: " .. row[1], function()
      needs "zsh"
      write("driver", DRIVER)
      assert(sh("zsh -f driver " .. tool.quote(row[1])), read "output")
      local offers, seen = {}, {}
      for word in read("output"):gmatch "OFFER ([^\r\n]+)" do
        if not seen[word] then offers[#offers + 1] = word end
        seen[word] = true
      end
      assert.truthy(read("output"):find "END", read "output")
      assert.same(sorted(row.zsh or row[2]), sorted(offers))
      check_no_evil()
    end)
  end

  it("loads from a directory of fpath", function()
    needs "zsh"
    assert(sh "mkdir -p fpath && cp zsh.completion fpath/_ctrexec", read "output")
    assert(sh "zsh -fc 'fpath=($PWD/fpath $fpath); autoload -U compinit; compinit -u -D; print $_comps[ctrexec]'")
    assert.equal("_ctrexec\n", read "output")
  end)
end)

describe("completion", function()
  it("offers an option of the site's own, which has no texts", function()
    local exec = options.commands.exec
    exec[#exec + 1] = { name = "as" }
    local bash, zsh = completion.script "bash", completion.script "zsh"
    exec[#exec] = nil
    assert.matches("exec:%-%-as", bash)
    assert.matches("'%(%-%-as%)%-%-as=:VALUE: '", zsh)
    assert.is_nil(completion.script("zsh"):find("--as", 1, true))
  end)

  it("knows no other shell", function()
    local text, message, code = completion.script "fish"
    assert.is_nil(text)
    assert.equal("no completion for the shell fish (bash or zsh)", message)
    assert.equal("usage", code)
  end)
end)
