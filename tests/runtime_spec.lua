-- ctrexec in the place of a runtime: an engine calls it as runc or crun. It runs exec itself, and executes the real
-- runtime for every other command; the runtime must not notice.

local cjson = require "cjson"
local containers = require "tests.lib.containers"
local fixture = require "ctrexec.busted"
local site_of = require "tests.lib.site"
local suite = require "tests.lib.suite"
local tool = require "tests.lib.tool"

local skip = containers.missing "runc"
local site, ct, front, real

-- The script, and the launcher where there is one.
local FRONTS = { ["scripts/ctrexec.lua"] = "by-script", ["build/ctrexec"] = "by-launcher" }

-- As `make install` lays it out: links of the runtimes' names, and the modules where the script looks for them.
local function make_fronts(dir)
  for program, name in pairs(FRONTS) do
    assert(os.execute(([[
      set -e; cd %s; mkdir -p %s/bin; cd %s
      ln -s %s/lua lua; ln -s %s build
      for name in runc crun; do ln -s %s/%s bin/$name; done]]):format(dir, name, name, tool.repository, tool.build,
      tool.repository, program)))
  end
  assert(os.execute(("mkdir %s/real; cp %s/tests/report %s/real/runc"):format(dir, tool.build, dir)))
end

local function configure(runtime)
  site:write("config.lua", ("return { runtime = %q }"):format(runtime))
end

local check = suite(_ENV, skip, function ()
  site = site_of.new()
  make_fronts(site.dir)
  real = site.dir .. "/real/runc"
  ct = fixture.container { config = function (config) config.annotations = { ["org.example.team"] = "red" } end }
  return ct
end, containers.clear)

teardown(function ()
  if site then site:remove() end
end)

before_each(function ()
  if site then
    site:clear()
    os.remove(site.dir .. "/log")
  end
end)

-- A runtime of a few lines of shell, in place of the real one.
local function script(text)
  local path = site.dir .. "/script"
  os.remove(path)
  tool.write(path, "#!/bin/sh\n" .. text .. "\n", "755")
  configure(path)
end

local function call(words) return site:shell(("cd %s && exec %s %s"):format(site.dir, front, words)) end

local GLOBAL = "--root /r --log-format json --systemd-cgroup --rootless=auto --criu c --debug --newoption value"

local function define(program)
  setup(function ()
    if site then front = ("%s/%s/bin/runc"):format(site.dir, FRONTS[program]) end
  end)

  describe("what is not exec reaches the real runtime", function ()
    check("with the arguments, environment, descriptors, signals and all else that it was called with", function ()
      configure(real)
      local settings = [[cd /usr; umask 027; trap '' HUP QUIT; ulimit -n 100; export LISTEN_FDS=1 LISTEN_PID=9 X='a
  b' EMPTY=; exec 3</etc/passwd 4</dev/null 7</dev/zero; exec bash -c 'exec -a "$0" "$@"' ]]
      local words = GLOBAL .. [[ create --bundle /b --pid-file '' --preserve-fds 2 --console-socket '/a b' -- -x]]
      local function seen_by(called)
        local result = site:shell(settings .. ("%s %s %s"):format(front, called, words))
        result.stdout = result.stdout:gsub("\nns mnt: [^\n]*", "") -- each shell has its own
        return result
      end
      local expected, got = seen_by(real), seen_by(front)
      assert.matches("\nargument 0: [^\n]*/bin/runc\n", "\n" .. expected.stdout)
      assert.matches("fd 7: /dev/zero", expected.stdout, 1, true)
      assert.same(expected, got)
    end)

    check("in the same process, whose exit status and signals are the runtime's", function ()
      script "echo $$; exit 7"
      local result = site:shell(("echo $$; exec %s state ct"):format(front))
      local before, after = result.stdout:match "^(%d+)\n(%d+)\n$"
      assert.equal(before, after)
      assert.equal(7, result.code)
      script "trap 'echo got it; exit 3' TERM; kill -TERM $$; sleep 10"
      assert.same({ code = 3, stdout = "got it\n", stderr = "" }, call "start ct")
      script "kill -KILL $$"
      assert.equal(137, call("start ct").code)
    end)

    check("whatever the command and the options before it", function ()
      configure(real)
      local commands = { "", "checkpoint", "create", "delete -f", "events --stats", "features", "help", "kill ct KILL",
        "list", "pause", "ps", "restore", "resume", "run", "spec", "start", "state", "update", "no-such-command",
        "--help", "-h exec ct", "--version", "-v", "--version exec ct", "run exec", "create --bundle exec ct",
        "explain exec ct true", "policy", "completion bash", "--root exec list", "--root=exec list" }
      for _, command in ipairs(commands) do
        for _, prefix in ipairs { "", GLOBAL } do
          local words = prefix .. " " .. command
          local result = call(words)
          local last = words:match "(%S*)%s*$"
          assert.same({ 0, "" }, { result.code, result.stderr }, words)
          assert.is_truthy(result.stdout:find((": %s\nenv: "):format(last == "" and front or last), 1, true), words)
        end
      end
    end)

    check("but no exec does, however it is written", function ()
      configure(real)
      for _, prefix in ipairs { "", GLOBAL, "--", "-debug", "--debug=false", "--new=option", "--newoption value",
        "--newoption", "--log exec", "--version=false", "--root=/r", "-root /r", "--log-level info --", "--roo list",
        "--log-f json --roo create", "--roo --", "--roo -- --", "-x state", "-dx", "--rootless", "--rootless run" } do
        local result = call(prefix .. " exec ct true")
        assert.not_equal(0, result.code, prefix)
        assert.equal("", result.stdout, prefix)
      end
    end)

    check("nor one that only the runtime would understand", function ()
      local own <close> = fixture.container { runtime = "crun" }
      site:write("policy.d/none.lua", "return { check = function () return deny 'no' end }")
      assert(os.execute(("ln -sfn %s %s/list"):format(own.root, site.dir)))
      local words = "--roo list exec ct echo through"
      local direct = site:shell(("cd %s && exec crun %s"):format(site.dir, words))
      assert.same({ 0, "through\n" }, { direct.code, direct.stdout }, direct.stderr)
      local result = site:shell(("cd %s && exec ./%s/bin/crun %s"):format(site.dir, FRONTS[program], words))
      assert.same({ 1, "" }, { result.code, result.stdout })
      assert.matches("flag provided but not defined: -roo", result.stderr, 1, true)
    end, containers.missing "crun")

    check("not under ctrexec's own name", function ()
      configure(real)
      local result = site:run(ct, { "create", "x" })
      assert.equal(1, result.code)
      assert.matches("unknown command", result.stderr, 1, true)
      assert.matches("^ctrexec ", site:shell(tool.ctrexec() .. " --version").stdout)
    end)
  end)

  describe("the real runtime", function ()
    local refusals = {
      { "is missing", function () configure "/no/such/runtime" end, "No such file or directory" },
      { "cannot be executed", function ()
        tool.write(site.dir .. "/plain", "")
        configure(site.dir .. "/plain")
      end, "/plain: Permission denied" },
      { "is a folder", function () configure "/etc" end, "read /etc: is a directory" },
      { "may be written by others", function ()
        script "echo ran"
        os.execute(("chmod 775 %s/script"):format(site.dir))
      end, "/script: can be written by group or others (mode 0775)" },
      { "is somebody's", function ()
        script "echo ran"
        os.execute(("chown 1000 %s/script"):format(site.dir))
      end, "/script: is owned by user 1000" },
      { "lies in a folder that others may write", function ()
        os.execute(("mkdir -p %s/open; cp %s %s/open; chmod 777 %s/open"):format(site.dir, real, site.dir, site.dir))
        configure(site.dir .. "/open/runc")
      end, "/open: can be written by group or others (mode 0777)" },
      { "is ctrexec", function () configure(front) end, "/bin/runc is ctrexec itself" },
      { "is not known, for a mistake in the configuration", function ()
        site:write("config.lua", "return { runtim = '/usr/sbin/runc' }")
      end, "config.runtim: unknown field" },
    }
    for _, refusal in ipairs(refusals) do
      check("is not run when it " .. refusal[1], function ()
        refusal[2]()
        local result = call "--root /r create ct"
        assert.same({ 1, "" }, { result.code, result.stdout })
        assert.matches("^time=[^\n]* level=error msg=\"the real runtime cannot be run: [^\n]*\n$", result.stderr)
        assert.matches(refusal[3], result.stderr, 1, true)
      end)
    end

    check("that cannot be run is a line of the log that the engine reads", function ()
      configure "/no/such/runtime"
      local log = site.dir .. "/log"
      local result = call(("--log %s --log-format json --newoption value state ct"):format(log))
      assert.equal(1, result.code)
      local entry = cjson.decode(tool.read(log))
      assert.equal("error", entry.level)
      assert.equal("the real runtime cannot be run: realpath /no/such/runtime: No such file or directory", entry.msg)
    end)

    -- Which an engine calls by a name that it looks up.
    check("is not run when it is a copy of ctrexec that would call itself", function ()
      assert(os.execute(("cp --remove-destination $(readlink -f %s) %s"):format(front, front)))
      configure(front)
      local result = site:shell(("PATH=%s:$PATH; exec bash -c 'exec -a runc runc state ct'"):format(
        front:match "^(.*)/"))
      assert(os.execute(("ln -sf %s/%s %s"):format(tool.repository, program, front)))
      assert.equal(1, result.code)
      assert.matches("/bin/runc is ctrexec itself", result.stderr, 1, true)
    end)

    check("is the one in the system's folders, when the configuration names none", function ()
      local result = site:shell(("PATH=%s; export PATH; exec runc --version"):format(front:match "^(.*)/"))
      assert.equal(tool.line "runc --version", result.stdout:match "^[^\n]*", result.stderr)
    end)

    local copies = { ["the script"] = "scripts/ctrexec.lua", ["the launcher"] = "build/ctrexec" }
    local first = {
      ["a link to a link"] = function () return ("ln -s %s runc"):format(front) end,
      ["a hard link or copy of it"] = function ()
        return ("ln -L %s runc 2>/dev/null || cp -L %s runc"):format(front, front)
      end,
      ["a script that runs it"] = function ()
        return ("printf '#!/bin/sh\\n# not /bin/true\\nexec \"%s\" \"$@\"\\n' >runc; chmod 755 runc"):format(front)
      end,
      ["a link to nothing"] = function () return "ln -s /no/such runc" end,
    }
    for what, file in pairs(copies) do
      if tool.read(file) then
        first["another installation of " .. what] = function ()
          return ("cp %s/%s other; ln -s other runc"):format(tool.repository, file)
        end
      end
    end
    for what, make in pairs(first) do
      check("is searched for beyond " .. what, function ()
        local folder = site.dir .. "/first"
        assert(os.execute(("rm -rf %s && mkdir %s && cd %s && %s"):format(folder, folder, folder, make())))
        local result = site:shell(("mount --bind %s /usr/local/sbin && exec %s --version"):format(folder, front))
        assert.same({ 0, "" }, { result.code, result.stderr })
        assert.equal(tool.line "runc --version", result.stdout:match "^[^\n]*")
      end)
    end

    check("is refused, not passed over, when the first of its name is somebody's", function ()
      local result = site:shell(("mkdir -p %s/his && cp %s %s/his/runc && chown 1000 %s/his/runc && "
        .. "mount --bind %s/his /usr/local/sbin && exec %s state ct"):format(site.dir, real, site.dir, site.dir,
        site.dir, front))
      assert.same({ 1, "" }, { result.code, result.stdout })
      assert.matches("/usr/local/sbin/runc: is owned by user 1000", result.stderr, 1, true)
    end)

    check("is missing when all of its name are ctrexec", function ()
      local path = tool.line "readlink -f $(command -v runc)"
      local result = site:shell(("mount --bind %s/%s %s && exec %s state ct"):format(tool.repository, program, path,
        front))
      assert.equal(1, result.code)
      assert.matches("no runc in [^\n]*/bin: [^\n]*/runc is ctrexec itself", result.stderr)
    end)

    -- Here no path leads back, as with a runtime that looks for another in PATH.
    for how, last in pairs { ["in its place"] = 'exec runc "$@"', ["and waits for it"] = 'runc "$@"; exit $?' } do
      check("is stopped when it starts ctrexec " .. how, function ()
        script(("echo round >>%s/rounds; PATH=%s:$PATH; %s"):format(site.dir, front:match "^(.*)/", last))
        local result = call "state ct"
        local _, rounds = tool.read(site.dir .. "/rounds"):gsub("round", "")
        os.remove(site.dir .. "/rounds")
        assert.same({ 1, 4 }, { result.code, rounds })
        assert.matches("cannot be run: %S*/script starts ctrexec again and again", result.stderr)
      end)
    end
  end)

  for _, name in ipairs { "runc", "crun" } do
    describe("a container of " .. name .. " made through the front", function ()
      check("lives as with the runtime itself", function ()
        local path = front:gsub("runc$", name)
        local own <close> = fixture.container { runtime = path, created = true }
        local function run(words) return site:shell(("exec %s --root %s %s"):format(path, own.root, words)) end
        local function ok(words)
          local result = run(words)
          assert.equal(0, result.code, words .. ": " .. result.stderr)
          return result.stdout
        end
        local function status() return cjson.decode(ok "state ct").status end
        assert.equal("created", status())
        ok "start ct"
        assert.equal("running", status())
        assert.equal(tool.line(("%s --root %s list -q"):format(name, own.root)), ok("list -q"):match "%S+")
        assert.equal("hello\n", ok "exec ct echo hello")
        assert.equal(7, run("exec ct sh -c 'exit 7'").code)
        assert.matches(("%%f[%%d]%d%%f[%%D]"):format(own.pid), ok "ps ct")
        ok "pause ct"
        assert.equal("paused", status())
        assert.matches("cannot exec in a paused container", run("exec ct true").stderr, 1, true)
        ok "resume ct"
        assert.equal("hello\n", ok "exec ct echo hello")
        ok "kill ct KILL"
        tool.eventually(function () return status() == "stopped" end)
        ok "delete ct"
        assert.not_equal(0, run("state ct").code)
      end, containers.missing(name))
    end)
  end

  describe("an engine's exec", function ()
    -- As conmon calls it: no more environment than that, and nobody but the log and the pid file to tell.
    local function exec(args, more)
      tool.write(site.dir .. "/process.json", cjson.encode {
        args = args, cwd = "/", user = { uid = 0, gid = 0 }, env = { "PATH=/bin" },
      })
      return site:shell(("exec env -i %s --root %s --log-format=json --log %s/log exec --pid-file %s/pid "
        .. "--process %s/process.json --detach %s ct"):format(front, ct.root, site.dir, site.dir, site.dir, more or ""))
    end

    check("is ctrexec's, and says nothing", function ()
      configure "/no/such/runtime"
      local result = exec({ "sleep", "1000" }, "--preserve-fds 0")
      assert.same({ code = 0, stdout = "", stderr = "" }, result)
      assert.equal("", tool.read(site.dir .. "/log"))
      assert.matches("^%d+$", tool.read(site.dir .. "/pid"))
      assert.equal("sleep", containers.names_inside(ct))
    end)

    check("that a policy denies is an error line of the log, and nothing runs", function ()
      os.remove(site.dir .. "/pid")
      site:write("policy.d/team.lua", [[return { check = function (request)
        if request.process.args[1] == "sh" then
          return deny("ask team " .. request.container.annotations["org.example.team"])
        end
      end }]])
      assert.equal(255, exec({ "sh", "-c", "touch /tmp/ran" }).code)
      local entry = cjson.decode(tool.read(site.dir .. "/log"))
      assert.equal("error", entry.level)
      assert.equal("exec failed: denied by policy team: ask team red", entry.msg)
      assert.is_nil(tool.read(site.dir .. "/pid"))
      assert.is_nil(tool.read(ct.rootfs .. "/tmp/ran"))
      assert.equal(0, exec({ "true" }).code)
    end)

    check("is denied when the configuration cannot be used", function ()
      site:write("config.lua", "return 1")
      assert.equal(255, exec({ "true" }).code)
      assert.matches("denied by policy", tool.read(site.dir .. "/log"), 1, true)
    end)
  end)
end

for _, program in ipairs { "scripts/ctrexec.lua", "build/ctrexec" } do
  describe(program .. " in front:", function ()
    local missing = skip or not tool.read(program) and program .. " is not built"
    if missing then
      return check("stands for the runtime", function () pending(missing) end)
    end
    define(program)
  end)
end

check("no module is taken from the caller's directory", function ()
  assert(os.execute(("cd %s && mkdir -p elsewhere/ctrexec && cp %s/scripts/ctrexec.lua script"):format(site.dir,
    tool.repository)))
  tool.write(site.dir .. "/elsewhere/ctrexec/core.lua", "print 'taken' os.exit(0)")
  local result = site:shell(("cd %s/elsewhere && exec lua5.4 -E ../script state ct"):format(site.dir))
  assert.equal("", result.stdout)
end)
