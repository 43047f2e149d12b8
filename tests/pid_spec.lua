--- `ctrexec exec --pid N`: any process as a container. The same program reports what the command sees and what the
-- process itself has seen, and the two reports are compared.

local outcome = require "tests.lib.outcome"
local suite = require "tests.lib.suite"
local tool = require "tests.lib.tool"
local variants = require "tests.lib.variants"

local REPORT = tool.build .. "/tests/report"

local reason = variants.missing()

local test = suite(_ENV, reason)

describe("exec --pid", function ()
  local dir, rootfs
  local targets = {}

  lazy_setup(function ()
    dir = variants.directory "pid"
    rootfs = dir .. "/rootfs"
    assert(os.execute(([[umask 022; mkdir -p %s && cd %s && mkdir -p bin dev etc proc usr work && cp -a /lib* . &&
      cp %s report &&
      cp "$(command -v busybox)" bin/ && for applet in awk cat id ls pwd sh sleep true; do
        ln -s busybox bin/$applet; done
      echo 'alice:x:1000:1001::/work:/bin/sh' >etc/passwd; echo 'adm:x:4:' >etc/group; touch dev/null]])
      :format(rootfs, rootfs, REPORT)))
  end)

  after_each(function ()
    for _, pid in ipairs(targets) do
      os.execute("kill -9 " .. pid .. " 2>/dev/null")
    end
    targets = {}
  end)
  lazy_teardown(variants.remove_all)

  -- Starts a process: shell words in front of the program, which reports and then sleeps. Its pid and its report.
  local function start(words, program)
    local pid_file, report = dir .. "/target", dir .. "/seen"
    os.remove(pid_file)
    -- The process tells its own pid in this namespace of processes by its parent's list of children.
    assert(os.execute(("setsid sh -c %s </dev/null >%s 2>%s/errors &"):format(tool.quote(
      ("echo $$ >%s; exec %s %s"):format(pid_file, words, program or "/bin/sh -c '/report; exec sleep 1000'")),
      report, dir)))
    local pid = tool.within(function ()
      local first = (tool.read(pid_file) or ""):match "%d+"
      -- What forks (unshare --pid) waits for its child.
      local children = first and tool.read(("/proc/%s/task/%s/children"):format(first, first)) or ""
      local last = children:match "%d+" or first
      return last and tool.read(("/proc/%s/comm"):format(last)) == "sleep\n" and last
    end)
    if not pid then
      error("the process did not start: " .. (tool.read(dir .. "/errors") or ""))
    end
    targets[#targets + 1] = pid
    return pid, tool.read(report)
  end

  local function ctrexec(words)
    return variants.run("exec " .. words, { directory = dir })
  end

  -- A mount namespace whose root is the small file system, with a /proc.
  local function rooted(unshare, then_words, chroot)
    return ([[unshare --mount %s sh -c '
      mount --bind %s %s && cd %s && mount -t proc proc proc && mount --bind /dev/null dev/null &&
      mount --rbind /usr usr &&
      exec %s "$@"' sh %s]])
      :format(unshare, rootfs, rootfs, rootfs, chroot or "chroot .", then_words or "")
  end

  -- What is not taken from the process: its environment, its working directory, and what belongs to a session.
  local OWN = { "^env: ", "^cwd: ", "^parent: ", "^session leader: ", "^group leader: ", "^keyring: ", "^fd ",
    "^status: SigIgn:", "^oom_score_adj: ", "^limit: Max open files" }

  local function lines(text)
    local list = {}
    for line in text:gmatch "[^\n]+" do
      local own = false
      for _, pattern in ipairs(OWN) do
        own = own or line:find(pattern) ~= nil
      end
      if not own then
        list[#list + 1] = line
      end
    end
    return list
  end

  local function sees_the_same(pid, seen, options)
    local status, output, errors = ctrexec(("%s --pid %s /report"):format(options or "", pid))
    assert.same({ 0, "" }, { status, errors })
    assert.is_true(#lines(seen) > 30)
    assert.same({}, outcome.difference(lines(seen), lines(output)))
  end

  for _, case in ipairs {
    { "a mount namespace", "--propagation private" },
    { "all namespaces but that of users", "--pid --fork --ipc --uts --net --cgroup --time --boottime 1000" },
    { "all eight namespaces",
      "--user --map-root-user --pid --fork --ipc --uts --net --cgroup --time --boottime 5" },
    { "a user", "", "/usr/bin/setpriv --reuid 1000 --regid 1001 --groups 4,7 --inh-caps -all" },
    { "few capabilities", "",
      "/usr/bin/setpriv --bounding-set -all,+chown,+kill --inh-caps +chown --ambient-caps +chown" },
    { "no new privileges", "", "/usr/bin/setpriv --no-new-privs" },
    { "limits", "", "/usr/bin/prlimit --core=0:1024 --stack=4194304:8388608 --nproc=5000:6000" },
    { "an umask", "", [[/bin/sh -c "umask 037; exec \"\$@\"" sh]] },
  } do
    test("sees what a process with " .. case[1] .. " sees", function ()
      sees_the_same(start(rooted(case[2], case[3])))
    end)
  end

  -- A chrooted process cannot make a user namespace, so unshare(1) does both at once.
  test("sees what a process in a user namespace without root sees", function ()
    sees_the_same(start(rooted("", nil, "unshare --user --map-user=1000 --map-group=1001 --root=.")))
  end)

  -- In the hybrid view one hierarchy of either version, in the pure view the only one.
  test("joins the cgroups of the process", function ()
    local hybrid = tool.view() ~= "v2"
    local name = tool.unique_name()
    local folders = hybrid and { "/sys/fs/cgroup/unified/" .. name, "/sys/fs/cgroup/freezer/" .. name }
      or { "/sys/fs/cgroup/" .. name }
    local join = ""
    for _, folder in ipairs(folders) do
      assert(os.execute(("mkdir -p %s/sub"):format(folder)))
      join = ("%s echo $$ >%s/cgroup.procs;"):format(join, folder)
    end
    local ok, message = pcall(function ()
      local pid, seen = start(("sh -c '%s exec \"$@\"' sh %s"):format(join, rooted ""))
      sees_the_same(pid, seen)
      assert.matches("cgroup: 0::/" .. name .. "\n", seen, 1, true)
      local _, output = ctrexec(("--cgroup sub --pid %s cat /proc/self/cgroup"):format(pid))
      if hybrid then
        -- Every other hierarchy has the process in a cgroup without this child.
        assert.equal("", output)
        _, output = ctrexec(("--cgroup freezer:sub --pid %s cat /proc/self/cgroup"):format(pid))
        assert.matches(":freezer:/" .. name .. "/sub\n", output, 1, true)
      else
        assert.matches("0::/" .. name .. "/sub\n", output, 1, true)
      end
      os.execute("kill -9 " .. pid)
    end)
    for _, folder in ipairs(folders) do
      os.execute(("for try in 1 2 3 4 5 6 7 8 9; do rmdir %s/sub %s 2>/dev/null && break; sleep 0.05; done")
        :format(folder, folder))
    end
    assert(ok, message)
  end)

  describe("of a chrooted process in our own mount namespace", function ()
    local pid

    before_each(function ()
      pid = not reason and start("chroot " .. rootfs, "/bin/sleep 1000")
    end)

    test("enters its root", function ()
      assert.same({ 0, "/\n/\nalice:x:1000:1001::/work:/bin/sh\n", "" },
        { ctrexec(("--pid %s sh -c 'pwd; cd ../..; pwd; cat /etc/passwd'"):format(pid)) })
    end)

    test("has its --cwd, HOME and names from there", function ()
      assert.same({ 0, "/work /work 1000 4\n", "" },
        { ctrexec(("--user alice:adm --cwd /work --pid %s sh -c 'echo $PWD $HOME $(id -u) $(id -g)'"):format(pid)) })
      local status, _, errors = ctrexec(("--cwd %s --pid %s true"):format(rootfs, pid))
      assert.equal(255, status)
      assert.matches("chdir to cwd", errors, 1, true)
    end)

    test("leaves no way to the caller's root", function ()
      local _, output = ctrexec(("--pid %s sh -c 'ls -a / ; ls -a /..'"):format(pid))
      assert.is_nil(output:find("target", 1, true))
      assert.matches("rootfs?report", output:gsub("\n", "?") .. "rootfs?report", 1, true)
    end)
  end)

  test("runs beside a process that has nothing of its own", function ()
    local pid = start("", "sleep 1000")
    local status, output = ctrexec(("--pid %s readlink /proc/self/ns/mnt /proc/self/root"):format(pid))
    assert.equal(0, status)
    assert.equal(tool.line "readlink /proc/self/ns/mnt" .. "\n/\n", output)
  end)

  test("takes the caller's options instead of what the process has", function ()
    local pid = start(rooted("", "/usr/bin/setpriv --reuid 1000 --regid 1001 --groups 4,7 --inh-caps -all"))
    local status, output = ctrexec(("--user 5:6 --env A=1 --cwd /work --pid %s /report"):format(pid))
    assert.equal(0, status)
    for _, line in ipairs { "status: Uid:\t5\t5\t5\t5", "status: Gid:\t6\t6\t6\t6", "status: Groups:\t4 7 ",
      "env: A=1", "cwd: /work" } do
      assert.matches("\n" .. line .. "\n", output, 1, true)
    end
  end)

  describe("refuses", function ()
    local function refuses(pid, message)
      assert.same({ 255, "", message:format(pid) }, { ctrexec(("--pid %s true"):format(pid)) })
    end

    test("a process that is not there", function ()
      local pid = start("", "sleep 1000")
      tool.sh("kill -9 %s", pid)
      tool.eventually(function () return not tool.exists("/proc/" .. pid) end, "the end of the process")
      refuses(pid, "process %s does not exist")
      refuses("4194304", "process %s does not exist")
    end)

    test("a zombie", function ()
      -- The child ends when its parent is sleep, which does not wait for it: a shell might.
      os.execute(("setsid sh -c 'while ! grep -qx sleep /proc/$$/comm; do :; done & echo $$ $! >%s/zombie; "
        .. "exec sleep 1000' </dev/null >/dev/null 2>&1 &")
        :format(dir))
      local zombie = tool.eventually(function ()
        local parent, child = (tool.read(dir .. "/zombie") or ""):match "(%d+) (%d+)"
        targets[1] = parent
        return child and (tool.read(("/proc/%s/status"):format(child)) or ""):find "State:\tZ" and child
      end, "a zombie")
      refuses(zombie, "process %s does not exist")
    end)

    test("a kernel thread", function ()
      if tool.read "/proc/2/comm" ~= "kthreadd\n" then
        pending "no kernel thread can be seen in this namespace of processes"
      end
      refuses("2", "process %s is a kernel thread")
    end)

    -- A pid is given again on purpose: ns_last_pid of proc(5), in a namespace of processes of its own.
    test("a process that has taken the pid", function ()
      tool.write(dir .. "/recycle.lua", [[
        local ctrexec, core = require "ctrexec", require "ctrexec.core"
        local function output(command)
          local pipe = io.popen(command)
          local text = pipe:read "l"
          pipe:close()
          return math.tointeger(text)
        end
        local pid = output "sleep 1000 >/dev/null & echo $!"
        local early, late = assert(ctrexec.open(nil, { pid = pid })), assert(ctrexec.open(nil, { pid = pid }))
        os.execute("kill -9 " .. pid)
        for _ = 1, 100 do
          if not core.process.stat(pid) then break end
          os.execute "sleep 0.02"
        end
        local again
        for _ = 1, 200 do
          local file = io.open("/proc/sys/kernel/ns_last_pid", "w")
          if not file or not file:write(pid - 2) or not file:close() then
            return print "no right to choose a pid"
          end
          again = output "sleep 1000 >/dev/null & echo $!"
          if again == pid then break end
          os.execute("kill -9 " .. again)
        end
        if again ~= pid then return print "the pid was not given again" end
        print(select(2, early:spawn { "true" }))
        print(late:status())
        print(select(2, late:exec { "true" }))
        print(select(2, ctrexec.open(nil, { pid = core.process.ids().pid })))
      ]])
      local result = tool.run(
        "exec unshare --pid --fork --kill-child --mount-proc sh -c 'lua5.4 recycle.lua; exit $?'",
        { clean = true, directory = dir })
      assert.same({ 0, "" }, { result.code, result.stderr })
      if not result.stdout:find "container" then
        pending(result.stdout)
      end
      assert.equal("cannot exec in a stopped container\tstopped\nstopped\n"
        .. "cannot exec in a stopped container\tstopped\nprocess PID is the caller itself\tinvalid\n",
        (result.stdout:gsub("\ttable: %w+", ""):gsub("process %d+", "process PID")))
    end)
  end)
end)
