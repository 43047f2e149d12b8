local commands = require "ctrexec.command.commands"
local help = require "ctrexec.command.help"
local options = require "ctrexec.command.options"

local function lines(text)
  local result = {}
  for line in text:gmatch "([^\n]*)\n" do result[#result + 1] = line end
  return result
end

-- All help texts by topic.
local function each_text(visit)
  visit("the tool", help.text())
  for _, name in ipairs(commands.order) do visit(name, help.text(name)) end
end

describe("help", function()
  it("fits in 80 columns, without a tab or a blank at a line's end", function()
    each_text(function(topic, text)
      for _, line in ipairs(lines(text)) do
        assert.truthy(#line < 80, topic .. ": " .. line)
        assert.is_nil(line:find "\t", topic .. ": " .. line)
        assert.is_nil(line:find "%s$", topic .. ": " .. line)
      end
      assert.equal("\n", text:sub(-1))
    end)
  end)

  it("starts with the way the command is written", function()
    assert.equal("ctrexec [GLOBAL-OPTION...] COMMAND [OPTION...] [ARGUMENT...]", lines(help.text())[1])
    assert.equal("ctrexec exec [OPTION...] CONTAINER COMMAND [ARG...]", lines(help.text "exec")[1])
  end)

  it("names every command of the tool, with its text", function()
    local text = help.text()
    for _, name in ipairs(commands.order) do
      assert.truthy(text:find("\n  " .. name .. " +" .. commands.by_name[name].about:sub(1, 20)), name)
    end
  end)

  it("names every option, its short form and its metavar", function()
    local function check(entries, command, text)
      for _, entry in ipairs(entries) do
        local spelling, metavar = "--" .. entry.name, commands.texts(entry, command)
        if entry.short then spelling = "-" .. entry.short:sub(1, 1) .. ", " .. spelling end
        if metavar then spelling = spelling .. " " .. metavar end
        assert.truthy(text:find(spelling, 1, true), spelling)
      end
    end
    check(options.global, nil, help.text())
    for name, command in pairs(options.commands) do check(command, name, help.text(name)) end
  end)

  it("aligns the texts of the options", function()
    each_text(function(topic, text)
      for _, line in ipairs(lines(text)) do
        local left = line:match "^  [- ][-%a ][, ] ?%-%-%S+[^ ]* ?%S*  +"
        if left then assert.equal(31, #left, topic .. ": " .. line) end
      end
    end)
  end)

  it("shows an option of the site's own, with its texts or without", function()
    local exec = options.commands.exec
    table.move({ { name = "as" }, { name = "via", short = "V", metavar = "HOST", help = "by this host" },
      { name = "quick", type = "bool" } }, 1, 3, #exec + 1, exec)
    local text = help.text "exec"
    local _, refused = options.parse { "exec", "--as" }
    for _ = 1, 3 do exec[#exec] = nil end
    assert.matches("\n      %-%-as VALUE\n", text)
    assert.matches("\n  %-V, %-%-via HOST +by this host\n", text)
    assert.matches("\n      %-%-quick\n", text)
    assert.equal("flag needs an argument: -as (--as VALUE)", refused)
    assert.is_nil(help.text("exec"):find("--as", 1, true))
  end)

  it("shows examples that the parser accepts", function()
    local count = 0
    each_text(function(_, text)
      for example in text:gmatch "\n  ctrexec ([^\n]+)" do
        local argv = {}
        for word in example:gsub("%s*>.*", ""):gmatch "%S+" do argv[#argv + 1] = word end
        assert(options.parse(argv), example)
        count = count + 1
      end
    end)
    assert.truthy(count >= 10, count)
  end)

  it("refuses a topic that is no command", function()
    local text, message, code = help.text "exce"
    assert.is_nil(text)
    assert.equal('unknown command "exce" (did you mean "exec"?)', message)
    assert.equal("usage", code)
  end)
end)
