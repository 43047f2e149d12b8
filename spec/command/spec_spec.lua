-- From the command line of an exec to the spec that the module gets.
local there, core = pcall(require, "ctrexec.core")
local tool = require "tests.lib.tool"
if not there then
  describe("the spec of a command line", function()
    it("needs the core module", function() pending(tostring(core)) end)
  end)
  return
end

local fields = require "ctrexec.exec.fields"
local options = require "ctrexec.command.options"
local specs = require "ctrexec.command.spec"

-- Of `exec WORDS web true`.
local function of(words, policies)
  local argv = { "exec" }
  for word in words:gmatch "%S+" do argv[#argv + 1] = word end
  table.move({ "web", "true" }, 1, 2, #argv + 1, argv)
  return specs.of(assert(options.parse(argv)), policies)
end

describe("the spec of a command line", function()
  it("has each option under the name of its field", function()
    assert.same({
      args = { "true" }, terminal = true, user = "33", cwd = "/w", env = { "A=1", "B=2" }, additional_gids = { 4, 5 },
      caps = { "CAP_KILL" }, selinuxLabel = "l", apparmorProfile = "p", no_new_privs = false, timeout = 90,
      kill_after = 5, tools = { "/bin/sh:/x" }, login_uid = 7, host_env = { "TERM" }, cgroup = { "a" },
      preserve_fds = 2, ignore_paused = true, groups_from_container = true, pid_file = "f", pidfd_socket = "s",
      record = "/r.cast", reason = "ticket",
    }, of("-t -u 33 --cwd /w -e A=1 -e B=2 -g 4 -g 5 -c CAP_KILL --process-label l --apparmor p --no-new-privs=false "
      .. "--timeout 90 --kill-after 5s --tool /bin/sh:/x --login-uid 7 --host-env TERM --cgroup a --preserve-fds 2 "
      .. "--ignore-paused --groups-from-container --pid-file f --pidfd-socket s --record /r.cast --reason ticket "
      .. "--policy p.lua"))
    assert.same({ args = { "true" }, detach = true, console_socket = "c" }, of "-d --console-socket c")
  end)

  it("takes an empty text for none given, as runc does", function()
    assert.same({ args = { "true" } }, of "--user= --cwd= --pid-file= --apparmor= --record= --reason= --process=")
  end)

  it("has nothing beside a process file that would change what is in it", function()
    local folder = tool.folder()
    local path = folder .. "/process.json"
    tool.write(path, '{ "args": ["id"], "cwd": "/" }')
    local spec = of("-t -u 5 -e A=1 --cwd /x -c CAP_KILL --env-file /no/such --timeout 5 --process " .. path)
    tool.remove(folder)
    assert.same({ process = { args = { "id" }, cwd = "/" }, terminal = true, timeout = 5 }, spec)
  end)

  for words, message in pairs {
    ["-d --timeout 5"] = "--timeout: nobody would be there to end a detached command",
    ["-d --record x"] = "--record: nobody would be there to record a detached command",
    ["--kill-after 5"] = "--kill-after: has an effect only with --timeout or under policies",
    ["--tool sh"] = '--tool[1]: expected "PATH[:DEST]", both absolute, got "sh"',
    ["--host-env A=1"] = '--host-env[1]: expected the name of a variable, got "A=1"',
    ["--timeout 100000d"] = "--timeout: must be less than 1000000000 seconds",
    ["--login-uid 4294967295"] = "--login-uid: must be in range 0 to 4294967294, got 4294967295",
    ["--process /no/such"] = "open /no/such: no such file or directory",
    ["--env-file /no/such"] = "open /no/such: no such file or directory",
  } do
    it("is refused in the option's own words: " .. words, function()
      assert.same({ nil, message, n = 2 }, table.pack(of(words)))
    end)
  end

  it("may leave the time limit to policies", function()
    assert.equal(5, of("--kill-after 5", {}).kill_after)
  end)

  it("passes the module's own check", function()
    for _, words in ipairs { "-t", "-d", "--timeout 5 --kill-after 1", "--record x --reason y", "-u 5 -e A=1" } do
      local spec = of(words)
      spec.records, spec.keeps_limits = true, not spec.detach
      fields.demand(spec, "spawn", {}, 1)
    end
  end)
end)
