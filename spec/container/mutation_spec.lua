-- Whatever a state file, a configuration or a status file holds: a record that can be used, or nil, a message and a
-- code; never a Lua error.
local cjson = require "cjson"
local container = require "ctrexec.container"
local support = require "spec.container.support"

local ROUNDS = 2000
-- Another seed shows other mutations: CTREXEC_SEED=N.
local SEED = tonumber(os.getenv "CTREXEC_SEED") or os.time()

local CODES = { bad_state = true, untrusted = true }

local VALUES = {
  function() return "text" end, function() return "" end, function() return -1 end, function() return 0 end,
  function() return 1.5 end, function() return 2 ^ 53 + 2 end, function() return -2 ^ 63 end,
  function() return 1e308 end, function() return true end, function() return false end,
  function() return cjson.null end, function() return {} end, function() return { "a", 1, { b = cjson.null } } end,
  function() return { a = "b", c = { 1, 2 } } end, function() return ("/.."):rep(100) end,
  function() return "\0" end, function() return { cjson.null, cjson.null } end,
}

-- Of the hundreds of system calls some from the end will do, where those with arguments are.
local function shorten(tree)
  local seccomp = (tree.config or tree.linux or {}).seccomp
  local calls = seccomp and seccomp.syscalls or {}
  if #calls > 8 then seccomp.syscalls = table.move(calls, #calls - 7, #calls, 1, {}) end
end

-- Every place in a tree: the table and the key. The order is that of the keys, so that a seed says it all.
local function places(tree, list)
  list = list or {}
  local keys = {}
  for key in pairs(tree) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  for _, key in ipairs(keys) do
    list[#list + 1] = { tree, key }
    if type(tree[key]) == "table" then places(tree[key], list) end
  end
  return list
end

local function mutate_tree(tree)
  for _ = 1, math.random(3) do
    local all = places(tree)
    if #all == 0 then return end
    local place = all[math.random(#all)]
    local parent, key = place[1], place[2]
    if math.random(3) == 1 then
      if math.type(key) then table.remove(parent, key) else parent[key] = nil end
    else
      parent[key] = VALUES[math.random(#VALUES)]()
    end
  end
end

local function mutate_text(text)
  local at = math.random(#text)
  local kind = math.random(3)
  if kind == 1 then return text:sub(1, at - 1) end
  if kind == 2 then return text:sub(1, at - 1) .. string.char(math.random(0, 255)) .. text:sub(at + 1) end
  return text:sub(1, at) .. text:sub(math.random(#text))
end

local function use(record)
  assert.is_table(record.labels)
  assert.is_table(record.cgroup_paths)
  assert.is_table(record.settings)
  assert.is_truthy(({ created = true, running = true, paused = true, stopped = true })[record.status])
  for _, path in pairs(record.cgroup_paths) do assert.equal("/", path:sub(1, 1)) end
  local process, message, code = record:process()
  if not process then
    assert.is_string(message)
    assert.is_true(CODES[code])
  end
  record:refresh()
  record:close()
end

describe("a mutated container", function()
  it("is a record or a clear refusal, whatever was done to it", function()
    print(("mutations: %d rounds, seed %d"):format(ROUNDS, SEED))
    math.randomseed(SEED)
    local scratch = support.scratch()
    finally(scratch.remove)
    local root = scratch.path .. "/root"
    local files = {}
    for fixture, state in pairs(support.STATES) do
      local dir, bundle = support.install(fixture, root, fixture)
      files[#files + 1] = { id = fixture, path = dir .. "/" .. state }
      local config = state == "state.json" and fixture ~= "youki" and bundle or dir
      files[#files + 1] = { id = fixture, path = config .. "/config.json" }
      if fixture == "youki" then files[#files + 1] = { id = fixture, path = dir .. "/youki_config.json" } end
    end
    table.sort(files, function(a, b) return a.id .. a.path < b.id .. b.path end)
    for _, file in ipairs(files) do file.text = support.read(file.path) end
    local records, refusals = 0, 0
    for round = 1, ROUNDS do
      local file = files[math.random(#files)]
      local text
      if math.random(4) == 1 then
        text = mutate_text(file.text)
      else
        local tree = cjson.decode(file.text)
        shorten(tree)
        mutate_tree(tree)
        text = cjson.encode(tree)
      end
      support.write(file.path, text)
      local ok, record, message, code = pcall(container.open, file.id, { root = root })
      assert(ok, ("round %d, %s: %s\n%s"):format(round, file.path, tostring(record), text:sub(1, 2000)))
      if record then
        local used, why = pcall(use, record)
        assert(used, ("round %d, %s: %s\n%s"):format(round, file.path, tostring(why), text:sub(1, 2000)))
        records = records + 1
      else
        assert.is_string(message)
        assert.is_nil(message:find "\n")
        assert(CODES[code], ("round %d: code %s: %s"):format(round, tostring(code), message))
        refusals = refusals + 1
      end
      support.write(file.path, file.text)
    end
    print(("mutations: %d records, %d refusals"):format(records, refusals))
    assert.is_true(records > 100 and refusals > 100)
  end)
end)
