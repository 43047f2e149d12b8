--- A site of the tests' own: what would be in /etc/ctrexec, and the command run with it.
--
-- The command reads the real path: it runs in a mount namespace of its own, where /etc is a copy with the site's
-- folder in it. Nothing else could move it.

local support = require "tests.module.support"
local tool = require "tests.lib.tool"
local cjson = require "cjson"
local write_youki = require "tests.lib.youki"

local site = {}
site.__index = site

--- Why there can be no site here, or nil.
site.missing = support.missing

local function sh(text)
  assert(os.execute(text), text)
end

--- Makes a site with an empty policy folder.
function site.new()
  local dir = tool.output "mktemp -d"
  assert(dir ~= "")
  sh(("chmod 755 %s && cp -a /etc %s/etc && rm -rf %s/etc/ctrexec && umask 022 && mkdir -p %s/etc/ctrexec/policy.d")
    :format(dir, dir, dir, dir))
  return setmetatable({ dir = dir, folder = dir .. "/etc/ctrexec" }, site)
end

function site:remove()
  os.execute("rm -rf --one-file-system " .. tool.quote(self.dir))
end

--- Forgets configuration, policies and events of the test before.
function site:clear()
  sh(("rm -rf %s/* && umask 022 && mkdir %s/policy.d && rm -f %s/events %s/hook"):format(self.folder, self.folder,
    self.dir, self.dir))
end

--- Writes a file below /etc/ctrexec, as root's and with mode 0644, like the folders above it.
function site:write(path, text)
  path = self.folder .. "/" .. path
  sh(("umask 022; mkdir -p %s"):format(tool.quote(path:match "^(.*)/")))
  tool.write(path, text)
  sh("chmod 644 " .. tool.quote(path))
end

--- A policy of the gallery, by name; `changes` maps plain text in it to what is written instead.
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

-- Detached commands end when they end.
function site:wait_for_event(kind)
  for _ = 1, 200 do
    local events = self:events(kind)
    if events[1] then return events[1] end
    os.execute "sleep 0.05"
  end
  error("no event " .. kind)
end

--- Runs shell text where the site's /etc is.
-- @treturn table `code`, `stdout`, `stderr`
function site:shell(text, input)
  tool.write(self.dir .. "/stdin", input or "")
  local inner = ("mount --bind %s/etc /etc && %s"):format(self.dir, text)
  local line = ("timeout -k 1 20 unshare --mount --propagation private sh -c %s <%s/stdin >%s/stdout 2>%s/stderr")
    :format(tool.quote(inner), self.dir, self.dir, self.dir)
  local _, how, status = os.execute(line)
  return { code = how == "exit" and status or 128 + status, stdout = tool.read(self.dir .. "/stdout"),
    stderr = tool.read(self.dir .. "/stderr") }
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

--- Runs it below a pseudo terminal, as a person does.
function site:run_on_terminal(ct, words, options)
  local line = ("%s --root %s %s"):format(tool.ctrexec(), ct.root, tool.quote_all(words))
  local inner = ("mount --bind %s/etc /etc && exec script -qec %s /dev/null"):format(self.dir, tool.quote(line))
  tool.write(self.dir .. "/stdin", options and options.input or "")
  local _, how, status = os.execute(
    ("timeout -k 1 20 unshare --mount --propagation private sh -c %s <%s/stdin >%s/stdout 2>&1")
    :format(tool.quote(inner), self.dir, self.dir))
  return { code = how == "exit" and status or 128 + status,
    -- script(1) ends the input with a character that the terminal may echo
    stdout = (tool.read(self.dir .. "/stdout"):gsub("\r", ""):gsub("%^[@D]\b*", "")) }
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
  return support.container(options)
end

--- The same container as youki would have recorded it.
function site.youki(ct)
  local root = tool.output("mktemp -d -p " .. ct.dir)
  write_youki(ct, root)
  return setmetatable({ root = root }, { __index = ct })
end

return site
