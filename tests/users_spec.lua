--- Users of a container: user namespaces that are shared or have no root, who owns the standard streams, and names,
-- which are looked up in files that belong to the container.

local containers = require "tests.lib.containers"
local matrix = require "tests.lib.matrix"
local suite = require "tests.lib.suite"
local tool = require "tests.lib.tool"
local variants = require "tests.lib.variants"

local reference = tool.runtime()

-- Those of the variant "userns", whose ids start at 100000 and 200000.
local function join_userns(path_only)
  return function (config, ct)
    local other = variants.get("userns", reference)
    table.insert(config.linux.namespaces, { type = "user", path = ("/proc/%d/ns/user"):format(other.pid) })
    if not path_only then
      config.linux.uidMappings = { { containerID = 0, hostID = 100000, size = 65536 } }
      config.linux.gidMappings = { { containerID = 0, hostID = 200000, size = 65536 } }
    end
    tool.sh("chown -R -h 100000:200000 %s", ct.rootfs)
  end
end

variants.define("shared_userns", { config = join_userns(false) })
variants.define("shared_userns_path", { config = join_userns(true) })
-- Ids 1000 to 1009 and no others.
variants.define("userns_no_root", {
  config = function (config, ct)
    table.insert(config.linux.namespaces, { type = "user" })
    config.linux.uidMappings = { { containerID = 1000, hostID = 101000, size = 10 } }
    config.linux.gidMappings = { { containerID = 1000, hostID = 201000, size = 10 } }
    config.process.user = { uid = 1000, gid = 1000 }
    variants.drop_terminal_group(config)
    tool.sh("chown -R -h 101000:201000 %s", ct.rootfs)
  end,
})

local rows = {}

local function add(row)
  rows[#rows + 1] = row
end

local function add_userns(on, only)
  local function add_here(row)
    row.name, row.on, row.only = on .. ": " .. row.name, on, row.only or only
    if not row.only or not only or row.only == only then
      add(row)
    end
  end
  add_here { name = "a user of the namespace", args = { "--user", "1003:1004" } }
  add_here { name = "detached", args = { "--detach", "--pid-file", "@DIR@/pid", "--user", "1003:1004" } }
  add_here { name = "supplementary groups", only = "runc", args = { "--user", "1003:1004", "-g", "1005" } }
  add_here { name = "capabilities", process = { args = { "/report" }, cwd = "/", user = { uid = 1003, gid = 1003 },
    capabilities = { bounding = { "CAP_KILL", "CAP_CHOWN" }, permitted = { "CAP_KILL" }, effective = { "CAP_KILL" },
      inheritable = { "CAP_KILL" }, ambient = { "CAP_KILL" } } } }
  add_here { name = "a user that is not mapped", args = { "--user", "70000:1004" }, fails = true }
  add_here { name = "a group that is not mapped", args = { "--user", "1003:70000" }, fails = true }
  add_here { name = "neither is mapped", args = { "--user", "70000:70000" }, fails = true }
  add_here { name = "a supplementary group that is not mapped", only = "runc", fails = true,
    args = { "--user", "1003:1004", "-g", "70000" } }
end

add_userns("shared_userns")
add { name = "shared_userns: defaults", on = "shared_userns" }
add_userns("shared_userns_path", "crun")
add_userns("userns_no_root", "crun")

-- Who owns a stream, as the command and as the caller see it; and that the command may open it again.
local STREAM = [[
  printf '#!/bin/sh
    for fd in 0 1 2; do stat -L -c %%u /proc/self/fd/$fd; done >&3
    echo again >/proc/self/fd/1 || echo not again >&3' >command
  : >seen
  run() {
    "$@" exec --detach --pid-file pid --preserve-fds 1 --user 1000:1001 @ID@ sh -c "$(cat command)" 3>>seen
    status=$?
    while kill -0 "$(cat pid)" 2>/dev/null; do sleep 0.02; done
  }
  owner() {
    stat -c 'uid %u
gid %g' "$@"
  }
  ]]
local GROUP = { differs = "crun gives the group away, too; runc and ctrexec only the user", drop = { "^stdout: gid " } }
for _, variant in ipairs { "plain", "userns" } do
  local function stream(name, shell)
    add { name = ("%s: owner of %s"):format(variant, name), on = variant, crun = GROUP,
      shell = "cat >script <<'END'\n" .. STREAM .. shell .. [[; echo status $status; cat seen; rm seen command pid
END
exec unshare --mount sh script "$@"]] }
  end
  stream("files", [[: >in; : >out; : >err; run "$@" <in >out 2>err; owner in out err; cat out err; rm in out err]])
  stream("a pipe", [[mkfifo fifo; sleep 5 <>fifo & holder=$!; run "$@" <fifo >fifo 2>fifo; owner fifo
    kill $holder; rm fifo]])
  stream("devices", [[run "$@" </dev/null >/dev/null 2>/dev/zero; owner /dev/null /dev/zero]])
  stream("a file that cannot be given away", [[mkdir m; : >m/in
    mount --bind m m && mount -o remount,bind,ro m && run "$@" <m/in >/dev/null 2>&1; owner m/in
    umount m; rm -r m]])
end

matrix.define(reference, { rows }, _ENV)

describe("names of users and groups", function ()
  local reason = variants.missing(reference)
  local test = suite(_ENV, reason)

  lazy_teardown(variants.remove_all)

  -- uid, gid, [supplementary groups], HOME; not id(1), which reads the files itself
  local REPORT = [[awk '/^[UG]id:/ { printf "%s ", $2 }
    /^Groups:/ { $1 = ""; print "[" substr($0, 2) "] " ENVIRON["HOME"] }' /proc/self/status]]

  local function ctrexec(ct, words)
    local status, output, errors = variants.exec(ct, ("%s %s %s"):format(words, ct.id, REPORT))
    return status, (output:gsub(" *%] ", "] "):gsub("\n$", "")), errors
  end

  local function refused(ct, words, message)
    local status, output, errors = ctrexec(ct, words)
    assert.same({ 255, "" }, { status, output })
    assert.equal(message, errors)
  end

  -- Runs shell text in the container's /etc, from outside.
  local function in_etc(ct, text)
    tool.sh("cd %s/etc && { " .. text:gsub("%%", "%%%%") .. "; }", ct.rootfs)
  end

  test("are looked up in the container", function ()
    local ct <close> = containers.new { files = {
      ["/etc/passwd"] = "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1001:Alice:/work:/bin/sh\n",
      ["/etc/group"] = "root:x:0:\nadm:x:4:alice,bob\nalice:x:1001:\nwheel:x:10:bob,alice\n7:x:12:\n",
    } }
    for _, case in ipairs {
      { "-u alice", "1000 1001 [] /work" },
      { "-u alice:adm", "1000 4 [] /work" },
      { "-u alice:7", "1000 7 [] /work" }, -- digits are never a name
      { "-u 1000", "1000 0 [] /work" },
      { "-u 1000:adm", "1000 4 [] /work" },
      { "-u 6:wheel", "6 10 [] /" },
      { "-u alice --groups-from-container", "1000 1001 [4 10] /work" },
      { "-u 1000:4 --groups-from-container", "1000 4 [10] /work" },
      { "-u alice --groups-from-container -g 9", "1000 1001 [4 9 10] /work" },
      { "-u 77 --groups-from-container", "77 0 [] /" },
    } do
      assert.same({ case[1], 0, case[2], "" }, { case[1], ctrexec(ct, case[1]) })
    end
    refused(ct, "-u eve", "unable to find user eve: no matching entries in passwd file")
    refused(ct, "-u alice:eves", "unable to find group eves: no matching entries in group file")
    refused(ct, "-u :adm", [[parsing  as int for uid failed: strconv.Atoi: parsing \"\": invalid syntax]])
  end)

  test("are mapped with the user namespace", function ()
    local ct = variants.get("userns", reference)
    assert.same({ 0, "1000 4 [] /work", "" }, { ctrexec(ct, "-u alice:adm") })
  end)

  describe("in a hostile file", function ()
    local ct
    lazy_setup(function ()
      ct = not reason and containers.new()
    end)
    lazy_teardown(function ()
      return ct and ct:remove()
    end)

    -- What the container offers in place of its user list. Numbers need no file.
    for _, case in ipairs {
      { "is missing", ":", "no such file or directory" },
      { "is a directory", "mkdir passwd", "not a regular file" },
      { "is a named pipe", "mkfifo passwd", "not a regular file" },
      { "is a device", "ln -s /dev/zero passwd", "not a regular file" },
      { "is a loop of links", "ln -s passwd passwd", "too many levels of symbolic links" },
      { "is a link to nowhere", "ln -s ../../../../proc/1/nowhere passwd", "no such file or directory" },
      { "is huge", "truncate -s 100G passwd", "file too large" },
      { "is one long line", "head -c 7000000 /dev/zero | tr '\\0' x >passwd" },
      { "has no line end and no fields", "printf 'alice' >passwd" },
      { "gives an id that is none", "printf 'alice:x:4294967295:0::/:\\n' >passwd" },
      { "gives an id of many digits", "printf 'alice:x:99999999999999999999:0::/:\\n' >passwd" },
      { "gives a negative id", "printf 'alice:x:-1:0::/:\\n' >passwd" },
    } do
      test("are refused when it " .. case[1], function ()
        in_etc(ct, "rm -rf passwd; " .. case[2])
        refused(ct, "-u alice", case[3]
          and "unable to start container process: unable to setup user: /etc/passwd: " .. case[3]
          or "unable to find user alice: no matching entries in passwd file")
        assert.same({ 0, "1000 1000 [] /", "" }, { ctrexec(ct, "-u 1000:1000") })
      end)
    end

    test("are found behind 7 MB of other users", function ()
      in_etc(ct, "rm -rf passwd; yes 'other:x:5:5::/:' | head -c 7000000 >passwd; "
        .. "printf '\\nalice:x:1000:1000::/late:\\n' >>passwd")
      assert.same({ 0, "1000 1000 [] /late", "" }, { ctrexec(ct, "-u alice") })
    end)

    test("are refused for a user of too many groups", function ()
      in_etc(ct, "printf 'alice:x:1000:1000::/:\\n' >passwd; "
        .. "awk 'BEGIN { for (i = 1; i <= 65537; i++) print \"g\" i \":x:\" i \":alice\" }' </dev/null >group")
      refused(ct, "-u alice:0 --groups-from-container",
        "unable to start container process: unable to setup user: user alice is a member of more than 65536 groups")
    end)
  end)
end)
