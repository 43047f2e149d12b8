-- The state and the bundle belong to an unprivileged user, who could decide with them what the command may do.

local lib = require "tests.hostile.lib"
local cjson = require "cjson"

-- Makes a second root with the same container, whose bundle asks for all capabilities.
local function forge(ct)
  local root = ct.dir .. "/forged"
  assert(lib.host("cp -a %s %s && cp -a %s %s", ct.root, root, ct.bundle .. "/config.json", root))
  local state = cjson.decode(lib.read(root .. "/" .. ct.id .. "/state.json"))
  for index, label in ipairs(state.config.labels) do
    if label:find "^bundle=" then state.config.labels[index] = "bundle=" .. root end
  end
  lib.write(root .. "/" .. ct.id .. "/state.json", cjson.encode(state))
  local config = cjson.decode(lib.read(root .. "/config.json"))
  for _, set in ipairs { "bounding", "effective", "permitted" } do
    table.insert(config.process.capabilities[set], "CAP_SYS_ADMIN")
  end
  lib.write(root .. "/config.json", cjson.encode(config))
  return root
end

local function try(ct, root)
  local handle <close>, message = require "ctrexec".open(ct.id, { root = root })
  local result
  if handle then result, message = handle:exec { "/attack", "show" } end
  if not result then return false, message end
  local effective = tonumber(result.stdout:match "eff=(%x+)", 16)
  return effective & 1 << 21 ~= 0, ("the command had the capabilities %x"):format(effective)
end

local function case(name, spoil)
  return {
    name = name, without = { "trust" },
    attack = function (t)
      local ct = t:container()
      local root = forge(ct)
      assert(lib.host(spoil, root))
      return try(ct, root)
    end,
  }
end

return {
  case("the root folder belongs to another user", "chown -R 1000:1000 %s"),
  case("the state file belongs to another user", "chown 1000 %s/*/state.json"),
  case("anybody may write the container's folder", "chmod 777 %s/ct"),
  case("the bundle's configuration belongs to another user", "chown 1000 %s/config.json"),
  case("the group may write the bundle's configuration", "chmod 664 %s/config.json"),
  {
    name = "the process file is 200 MB of nothing",
    without = { "process_limit" },
    attack = function (t)
      local ct = t:container()
      assert(lib.host("truncate -s 200M %s", ct.dir .. "/process.json"))
      local status, _, message = t:command(ct, { "exec", "--process", ct.dir .. "/process.json", ct.id })
      assert(status == 255, message)
      return not message:find "larger than", message:match 'msg="(.-)"\n'
    end,
  },
}
