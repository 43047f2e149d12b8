-- Helpers of the specs of the container readers: roots with copies of the fixtures, and processes in place of a
-- container's init.
local cjson = require "cjson"
local core = require "ctrexec.core"
local tool = require "tests.lib.tool"

local support = {}

support.FIXTURES = "spec/fixtures"
-- The directory name of each fixture of a state directory, with its state file.
support.STATES = {
  ["runc-1.1.5-hybrid"] = "state.json", ["runc-1.5-hybrid"] = "state.json", ["runc-1.5-v2-userns"] = "state.json",
  ["crun-1.8.1-v2"] = "status", ["crun-1.27-v2-userns"] = "status", youki = "state.json",
}

-- Copies the state directory of a fixture to ROOT/ID, and the bundle beside the root; the copies name that bundle.
-- Only the user of the tests can write them, whatever the umask of the checkout was.
function support.install(fixture, root, id)
  local bundle, dir = root .. ".bundle", root .. "/" .. id
  tool.sh("mkdir -p %s %s %s && cp %s/bundle/config.json %s", root, bundle, dir, support.FIXTURES, bundle)
  for _, name in ipairs(core.file.list(("%s/%s/web"):format(support.FIXTURES, fixture))) do
    local text = tool.read(("%s/%s/web/%s"):format(support.FIXTURES, fixture, name))
    tool.write(dir .. "/" .. name, (text:gsub("/srv/demo/bundle", bundle)))
  end
  tool.sh("chmod -R u=rwX,go=rX %s %s", root, bundle)
  return dir, bundle
end

-- Rewrites a JSON file through a function that changes its tree.
function support.edit(path, change)
  local tree = cjson.decode(tool.read(path))
  change(tree)
  tool.write(path, cjson.encode(tree))
end

-- Starts a process that lives until `stop`, or for five minutes, and is not a child of this one. `before` are shell
-- commands that run first, `words` come before the program's own.
function support.process(before, words)
  local command = ("%s; exec 3>&1 </dev/null >/dev/null 2>&1; %s sleep 300 3>&- & echo $! >&3")
    :format(before or ":", words or "")
  local process = { pid = math.tointeger(tonumber(tool.output(command))) }
  process.start_time = core.process.stat(process.pid).start_time
  local fd = assert(core.pidfd.open(process.pid))
  function process.stop()
    core.pidfd.send_signal(fd, core.signal.numbers.KILL)
    core.poll.wait({ { fd = fd, read = true } }, 5000)
    fd:close()
  end
  return process
end

-- Makes an installed container's state name a process.
function support.adopt(dir, process)
  if core.file.stat(dir .. "/status") then
    support.edit(dir .. "/status", function(tree)
      tree.pid, tree["process-start-time"] = process.pid, process.start_time
    end)
  else
    support.edit(dir .. "/state.json", function(tree)
      if tree.init_process_pid then
        tree.init_process_pid, tree.init_process_start = process.pid, process.start_time
      else
        tree.pid = process.pid
      end
    end)
  end
end

return support
