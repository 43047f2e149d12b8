-- The table of an exec's fields, and everything that is made from it.
local fields = require "ctrexec.exec.fields"
local options = require "ctrexec.command.options"
local requests = require "ctrexec.policy.request"
local texts = require "ctrexec.exec.field_texts"

-- Every row, with the name under which its texts stand.
local function each_row(visit)
  for _, row in ipairs(fields.options) do visit(row.field or row.name, row, row.field) end
  for name, row in pairs(fields.others) do visit(name, row, name) end
end

-- The error that an exec of this spec raises, without its position.
local function refusal(spec)
  local ok, message = pcall(fields.demand, spec, "exec", {}, 1)
  return not ok and message:match "spec.*$" or nil
end

describe("the rows", function()
  it("and the texts have the same names", function()
    local names = {}
    each_row(function(name)
      assert.is_nil(names[name], name)
      names[name] = true
    end)
    for _, text in ipairs(texts) do
      assert.is_truthy(names[text[1]], text[1] .. ": texts without a row")
      names[text[1]] = nil
    end
    assert.is_nil((next(names)))
    for name in pairs(fields.open) do names[name] = true end
    for _, text in ipairs(texts.open) do
      assert.is_true(names[text[1]])
      names[text[1]] = nil
    end
    assert.is_nil((next(names)))
  end)

  it("have all texts that the help and the guides show", function()
    each_row(function(name, row, field)
      local text = texts.of(name)
      if row.name then
        assert.is_string(text.help, name)
        assert.equal(row.type ~= "bool", text.metavar ~= nil, name)
      end
      if field then
        assert.is_string(text.value, name)
        assert.is_string(text.means or text.help, name)
      end
      assert.equal(row.conflicts ~= nil, text.conflict ~= nil, name)
      assert.equal(row.keys ~= nil, text.keys ~= nil, name)
    end)
  end)

  it("have known types, and name other fields that there are", function()
    local known = { exec = true, spawn = true, policies = true, keeper = true }
    each_row(function(_, _, field) known[field or ""] = true end)
    each_row(function(name, row, field)
      if row.type and field then
        assert.is_function(fields.type_of(row), name)
      end
      for _, other in ipairs { row.conflicts, row.despite, table.unpack(row.needs or {}) } do
        assert.is_truthy(known[other], name .. ": " .. other)
      end
    end)
  end)

  it("are the options of exec, and --help", function()
    assert.equal(#fields.options + 1, #options.commands.exec)
    for index, row in ipairs(fields.options) do assert.equal(row, options.commands.exec[index]) end
  end)

  it("are in the tables of the guides", function()
    assert.is_true(os.execute "scripts/tables.lua --check")
  end)
end)

describe("a field that is misspelt", function()
  it("is refused, with the one that was meant, whichever it is", function()
    each_row(function(_, _, field)
      if not field then return end
      local word = field:sub(1, 2) .. "x" .. field:sub(3)
      assert.equal(("spec.%s: unknown field (did you mean %s?)"):format(word, field),
        refusal { "true", [word] = 1 })
    end)
  end)

  it("is the same one of two every time", function()
    for _ = 1, 20 do
      assert.equal("spec.alpha: unknown field", refusal { "true", zeta = 1, alpha = 1, mid = 1 })
    end
  end)

  it("is refused where the keys are no names", function()
    assert.equal("spec[0]: unknown field", refusal { "true", [0] = "x" })
    assert.equal("spec.false: unknown field", refusal { "true", [false] = "x" })
  end)
end)

describe("what a policy may set", function()
  it("is of the type of its field", function()
    assert.is_nil(requests.fault { timeout = 1.5, tools = { "/a:/b" }, record = true, audit = { a = 1 } })
    assert.equal("timeout: expected a number of seconds, got a string", requests.fault { timeout = "5" })
    assert.equal("timeout: must be less than 1000000000 seconds", requests.fault { timeout = 1e9 })
    assert.equal("login_uid: must be in range 0 to 4294967294, got -1", requests.fault { login_uid = -1 })
    assert.equal('options.host_env[1]: expected the name of a variable, got "a=b"',
      requests.fault({ host_env = { "a=b" } }, "options"))
    assert.equal("options.audit.x: expected a string, number or boolean, got an object",
      requests.fault({ audit = { x = {} } }, "options"))
    assert.equal("record: expected true, an absolute path, or a table, got a number", requests.fault { record = 7 })
  end)

  it("is all that it may change", function()
    local asked = { detach = true, timeout = 5 }
    assert.is_nil(requests.change_fault(asked, asked, { detach = true }))
    assert.equal("options.detach cannot be removed", requests.change_fault(asked, asked, {}))
    assert.equal("options.detach cannot be changed by a policy",
      requests.change_fault(asked, asked, { detach = false }))
    assert.equal("options.tree cannot be changed by a policy",
      requests.change_fault(asked, asked, { detach = true, tree = true }))
  end)

  it("is the policy's also where it took something away", function()
    local spec = requests.apply({ timeout = 5, cwd = "/", tools = { "/a" } }, { tools = { "/b" } })
    assert.is_nil(spec.timeout)
    assert.equal("/", spec.cwd)
    assert.same({ "/b" }, spec.tools)
  end)
end)
