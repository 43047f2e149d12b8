#!/usr/bin/env lua5.4
-- Writes the first inputs of the fuzzers: a folder for each target, with a file for each input.
-- usage: seeds.lua FOLDER
package.path = "./lua/?.lua;./lua/?/init.lua;./?.lua;" .. package.path
package.cpath = "./build/lua/?.so;" .. package.cpath

local cjson = require "cjson"
local core = require "ctrexec.core"
local seccomp = require "ctrexec.core.seccomp"

local FOLDER = assert(arg[1], "usage: seeds.lua FOLDER")

local function read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

local profile = cjson.decode(read "spec/fixtures/bundle/config.json").linux.seccomp

local SMALL_PROFILE = {
  defaultAction = "SCMP_ACT_ERRNO", defaultErrnoRet = 38, flags = { "SECCOMP_FILTER_FLAG_LOG" },
  architectures = { "SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64" },
  syscalls = {
    { names = { "read", "openat", "socket", "exit_group" }, action = "SCMP_ACT_ALLOW" },
    { names = { "clone", "personality" }, action = "SCMP_ACT_ALLOW",
      args = { { index = 0, value = 2114060288, valueTwo = 0, op = "SCMP_CMP_MASKED_EQ" } } },
    { names = { "ptrace", "kill" }, action = "SCMP_ACT_ERRNO", errnoRet = 1 },
    { names = { "mount" }, action = "SCMP_ACT_NOTIFY" },
  },
}

-- Each call has an action of its own, so that the compiler can join no rules and needs its longest jumps.
local long_profile = { defaultAction = "SCMP_ACT_ALLOW", syscalls = {} }
for _, entry in ipairs(profile.syscalls) do
  for _, name in ipairs(entry.args and #entry.args > 0 and {} or entry.names) do
    local count = #long_profile.syscalls + 1
    long_profile.syscalls[count] = { names = { name }, action = "SCMP_ACT_ERRNO", errnoRet = count }
  end
end

local PLAN = {
  args = { "sh", "-c", "" }, env = { "PATH=/bin", "HOME=" }, cwd = "/", path = "/bin", keyring = "_ses.web",
  tasks = { 5, 6 }, rlimits = { { resource = 7, soft = 1, hard = -1 } }, initial_affinity = { 1 },
  final_affinity = { 1, 2 }, memory_nodes = { 1 }, groups = { 1, 2, 3 }, seccomp = "\6\0\0\0\0\0\127",
  mounts = { { fd = 7, target = "/opt/tool", links = "sh\nls\n", copy = true } }, exec_label = "exec web",
  exec_attribute = "exec", key_label = "label", read = "/etc/passwd", uid = 1, gid = 2, umask = 18, rows = 3,
  columns = 4,
  scheduler = { policy = 1, nice = 2, flags = 1, priority = 1, runtime = 1, deadline = 2, period = 3 },
  preserve_fds = 0, namespaces = 131072, bounding = 33, effective = 33, permitted = 33, terminal = true, wait = true,
  no_new_privs = false, seccomp_flags = 2, personality = 8, login_uid = 7, oom_score_adj = -5, io_priority = 16388,
}

-- enum plan_message_kind and the structure of core/common/plan.h.
local function message(kind, step, detail)
  return string.pack("<I4I4i4i4c120", kind, step, 2, 1, detail)
end

-- A packet for message.c: how many descriptors, or 8 for the pipe.
local function packet(head, bytes)
  return string.char(head, #bytes) .. bytes
end

-- Struct seccomp_data, of zeros, and instructions without jumps for filter.c.
local function program(...)
  local text = ("\0"):rep(64)
  for _, code in ipairs { ... } do text = text .. string.pack("<I2BBI4", code[1], 0, 0, code[2]) end
  return text
end

local function numbers(count)
  return "S 1 7 7 0 -1 4194560" .. (" 0"):rep(count - 7) .. "\n"
end

local SEEDS = {
  stat = { read "/proc/self/stat", "7 (a) R 1 (b)) " .. numbers(44), "1 (\n) S " .. numbers(20),
    "8 (x) " .. numbers(50) },
  fdinfo = { "pos:\t0\nflags:\t02000002\nmnt_id:\t15\nino:\t1\nPid:\t4711\nNSpid:\t4711\t1\n", "Pid:\t-1\n",
    "Pid:\t0" },
  status = { read "/proc/self/status", "Name:\tCapInh:\t1\nCapInh:\t0\nCapPrm:\t000001ffffffffff\nCapEff:\t1\n"
    .. "CapBnd:\tff\nCapAmb:\t0000000000000000\nCapEff:\t2\n" },
  namespace = { "mnt:[4026531841]", "pid_for_children:[1]", "net:[18446744073709551615]", "x[]" },
  cgroup = { read "/proc/self/cgroup", "0::/system.slice/web.scope\n",
    "12:cpu,cpuacct:/a:b/c\n1:name=systemd:/\n0::/../x\n", "oom 1\noom_kill 3\noom_group_kill 0\n" },
  mountinfo = { read "/proc/self/mountinfo":sub(1, 4096),
    "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 master:1 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n",
    "35 32 0:30 /a\\040b /sys/fs/cgroup/cpu\\134x rw - cgroup cgroup rw,cpu,cpuacct,name=systemd,xattr\n" },
  -- the first byte: which user, passwd.c
  passwd = { "\0root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000:Web:/srv/web:\nlast:x:1000:1::/",
    "\3root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000:Web:/srv/web:\nlast:x:1000:1::/",
    "\0x:x:0:0::" .. ("/"):rep(4095) .. "\n", "\3x:x:1000:0::" .. ("/"):rep(4096) .. ":\nx::1000:::/y",
    "\3a::00000000000:::/a\nb::1000:::\0\nc::0:::\nd::0::::e\n" },
  message = { packet(8, message(4, 34, "/bin/sh")), packet(1, message(1, 0, "")) .. packet(2, message(2, 0, "")),
    packet(7, message(3, 0, ("x"):rep(120))) .. packet(0, message(4, 99, "")), packet(5, "short") .. packet(8, "") },
  fdpass = { "\0\0\0x", "\3\2\7some bytes", "\253\253\255" .. ("y"):rep(300), "\5\0\1z" },
  packed = { core.value.pack { a = 1, b = { 1.5, true, false, "text", { {} } }, [3] = 2 ^ 63 },
    core.value.pack(nil), core.value.pack(PLAN),
    core.value.pack { { { {} } }, [1.5] = "", [false] = math.mininteger } },
  recorder = { "\0one\ntwo\r\nthree\t\"\\\27[31m\127", "\1\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\xc2\x9b\xed\xa0\x80\xff",
    "\2" .. ("\xe2\x82\xac"):rep(5000) },
  filter = { ("\0"):rep(64) .. assert(seccomp.compile(SMALL_PROFILE)).program,
    -- 1 << 33 and 1 / 0, both by the register
    program({ 0x01, 33 }, { 0x00, 1 }, { 0x6c, 0 }, { 0x16, 0 }), program({ 0x00, 1 }, { 0x3c, 0 }, { 0x06, 7 }) },
  seccomp = { cjson.encode(profile), cjson.encode(SMALL_PROFILE), cjson.encode(long_profile) },
  pack = { cjson.encode(PLAN), cjson.encode { args = { "true" }, cwd = "/" },
    cjson.encode { args = { "true" }, cwd = "/", mounts = { { links = "a\n" } } },
    cjson.encode { args = { "true" }, cwd = "/", preserve_fds = 4294967295 } },
}

for target, inputs in pairs(SEEDS) do
  os.execute(("mkdir -p '%s/%s'"):format(FOLDER, target))
  for index, input in ipairs(inputs) do
    local file <close> = assert(io.open(("%s/%s/seed-%d"):format(FOLDER, target, index), "wb"))
    file:write(input)
  end
end
