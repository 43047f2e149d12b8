--- A site for tests: a folder that stands for /etc/ctrexec, and the command run under it.
--
-- The command always reads /etc/ctrexec, so it runs in a mount namespace whose /etc is a copy with the site's folder in
-- it.

local cjson = require "cjson"
local containers = require "tests.lib.containers"
local tool = require "tests.lib.tool"
local write_youki = require "tests.lib.youki"

local site = {}
site.__index = site

--- Makes a site with an empty policy folder.
function site.new()
  local dir = tool.folder()
  tool.sh("cp -a /etc %s/etc && rm -rf %s/etc/ctrexec && umask 022 && mkdir -p %s/etc/ctrexec/policy.d", dir, dir, dir)
  return setmetatable({ dir = dir, folder = dir .. "/etc/ctrexec" }, site)
end

function site:remove()
  tool.remove(self.dir)
end

--- Removes the configuration, the policies and the events of the test before.
function site:clear()
  tool.sh("rm -rf %s/* && umask 022 && mkdir -p %s/policy.d && rm -f %s/events %s/hook", self.folder, self.folder,
    self.dir, self.dir)
end

--- Writes a file of the site; root owns it, and its mode is 0644.
function site:write(path, text)
  path = self.folder .. "/" .. path
  tool.sh("umask 022; mkdir -p %s", path:match "^(.*)/")
  tool.write(path, text, "644")
end

--- Installs a policy of the gallery; `changes` maps plain text of it to the text that replaces it.
function site:gallery(name, changes)
  local text = assert(tool.read(tool.repository .. "/scripts/policies/" .. name .. ".lua"))
  for from, to in pairs(changes or {}) do
    local start, stop = text:find(from, 1, true)
    assert(start, name .. ": not found: " .. from)
    text = text:sub(1, start - 1) .. to .. text:sub(stop + 1)
  end
  self:write("policy.d/" .. name .. ".lua", text)
end

--- Makes the configuration write events to a file that `events` reads; `more` is further Lua in the table.
function site:record_events(more)
  self:write("config.lua", ("return { audit = { file = %q, %s } }"):format(self.dir .. "/events", more or ""))
end

--- The events recorded so far, in order; of one kind if that is given.
function site:events(kind)
  local events = {}
  for line in (tool.read(self.dir .. "/events") or ""):gmatch "[^\n]*\n" do
    local event = cjson.decode(line)
    if not kind or event.kind == kind then events[#events + 1] = event end
  end
  return events
end

--- The kinds of the events recorded so far, in order.
function site:kinds()
  local kinds = {}
  for index, event in ipairs(self:events()) do kinds[index] = event.kind end
  return kinds
end

--- Waits for an event of that kind, as of a detached command's end.
function site:wait_for_event(kind)
  return tool.eventually(function () return self:events(kind)[1] end, "event " .. kind)
end

--- Shell words that run shell text in a mount namespace with the site's /etc.
function site:command(text)
  return "unshare --mount --propagation private sh -c "
    .. tool.quote(("mount --bind %s/etc /etc && %s"):format(self.dir, text))
end

--- Runs shell text in a mount namespace with the site's /etc.
-- @treturn table `code`, `stdout`, `stderr`
function site:shell(text, input)
  return tool.run("exec " .. self:command(text), { input = input, files = self.dir })
end

--- Runs `ctrexec --root ROOT WORDS...`; `options`: `before` (shell words before the command), `input`, `logged` (to a
-- JSON log, as engines have it).
-- @treturn table `code`, `stdout`, `stderr`; `log`, the entries when it was logged
function site:run(ct, words, options)
  options = options or {}
  local log = self.dir .. "/log"
  local result = self:shell(("exec %s %s --root %s %s %s"):format(options.before or "", tool.ctrexec(), ct.root,
    options.logged and "--log-format json --log " .. log or "", tool.quote_all(words)), options.input)
  if options.logged then
    result.log = {}
    for entry in io.lines(log) do result.log[#result.log + 1] = cjson.decode(entry) end
    os.remove(log)
  end
  return result
end

--- Runs the same command line at a pseudo-terminal, as a person does.
function site:run_on_terminal(ct, words, options)
  local line = ("%s --root %s %s"):format(tool.ctrexec(), ct.root, tool.quote_all(words))
  local result = self:shell(("exec script -qec %s /dev/null 2>&1"):format(tool.quote(line)), options and options.input)
  -- script(1) ends the input with a character that the terminal may echo
  result.stdout = result.stdout:gsub("\r", ""):gsub("%^[@D]\b*", "")
  return result
end

--- The report of `ctrexec explain --format json exec WORDS...`.
function site:explain(ct, words)
  local all = { "explain", "--format", "json", "exec", table.unpack(words) }
  local result = self:run(ct, all)
  local ok, report = pcall(cjson.decode, result.stdout)
  assert(ok, result.stdout .. result.stderr)
  report.code = result.code
  return report
end

--- A container for policies: with docker's usual capabilities, of the runtime of this view.
function site.container(options)
  options = options or {}
  local change = options.config
  function options.config(config, ct)
    local names = { "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
      "CAP_SETUID", "CAP_KILL", "CAP_AUDIT_WRITE", "CAP_NET_BIND_SERVICE" }
    for _, set in ipairs { "bounding", "effective", "permitted" } do config.process.capabilities[set] = names end
    config.process.noNewPrivileges = false
    if change then change(config, ct) end
  end
  return containers.new(options)
end

--- The same container with a state as youki writes it.
function site.youki(ct)
  local root = tool.folder(ct.dir)
  write_youki(ct, root)
  return setmetatable({ root = root }, { __index = ct })
end

return site
