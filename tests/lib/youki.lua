--- Writes the state that youki would write, for a container that another runtime has made: youki itself is not
-- packaged.

local cjson = require "cjson"
local containers = require "tests.lib.containers"
local lfs = require "lfs"
local tool = require "tests.lib.tool"

--- Writes its state of a container.
-- @tparam table ct of `ctrexec.busted`
-- @tparam string root an existing directory, the one to look in for the container
-- @tparam[opt] function change is given the files before they are written: `state`, `youki_config`, `config`
return function (ct, root, change)
  local files = {
    state = { ociVersion = "1.0.2", id = ct.id, status = "running", pid = ct.pid, bundle = ct.bundle,
      annotations = { ["org.example.key"] = "value" }, created = "2026-01-02T03:04:05Z", useSystemd = false },
    youki_config = { cgroup_path = "/" .. containers.cgroup_name(ct) },
    config = cjson.decode(tool.read(ct.bundle .. "/config.json")),
  }
  if change then change(files) end
  assert(lfs.mkdir(("%s/%s"):format(root, ct.id)))
  for name, content in pairs(files) do
    tool.write(("%s/%s/%s.json"):format(root, ct.id, name), cjson.encode(content))
  end
end
