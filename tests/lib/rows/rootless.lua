--- Callers other than root: tests/rootless_spec.lua defines the containers "single" (one id), "subids" (65537 ids),
-- "inside" (made by root of a user namespace) and "delegated" (in a cgroup that is the user's).

--- @tparam string on the container
-- @tparam table has `ids`: how many are mapped, if more than one; `groups`: the caller may set supplementary groups;
-- `few`: only the most important rows; `outside`: the container's state gives no cgroup that the caller may join
-- @treturn table list of rows
return function (on, has)
  local rows = {}

  local function add(row)
    row.name, row.on = on .. ": " .. row.name, on
    rows[#rows + 1] = row
  end

  add { name = "defaults" }
  add { name = "detached", args = { "--detach", "--pid-file", "@DIR@/pid" } }
  add { name = "as an engine calls it", global = { "--log", "@DIR@/log", "--log-format", "json" },
    args = { "--detach", "--pid-file", "@DIR@/pid" }, process = { args = { "/report" }, cwd = "/work",
      env = { "PATH=/bin", "A=1" }, user = { uid = 0, gid = 0 }, capabilities = { bounding = { "CAP_KILL" },
        effective = { "CAP_KILL" }, permitted = { "CAP_KILL" } }, noNewPrivileges = true } }
  if has.few then
    return rows
  end
  add { name = "--cwd and HOME", args = { "--cwd", "/work" } }
  add { name = "--no-new-privs", args = { "--no-new-privs" } }
  add { name = "--cap", args = { "--cap", "CAP_SYS_ADMIN" }, only = "runc" }
  add { name = "rlimits", process = { args = { "/report" }, cwd = "/", rlimits = {
    { type = "RLIMIT_CORE", soft = 0, hard = 0 } } } }
  add { name = "raising a limit", fails = true, process = { args = { "/report" }, cwd = "/", rlimits = {
    { type = "RLIMIT_CORE", soft = 0, hard = 1048576 } } },
    shell = 'ulimit -H -c 0; exec "$@" exec --process @DIR@/process.json @ID@' }
  add { name = "standard streams", stdin = "one\ntwo\n", command = { "cat" } }
  add { name = "exit status", command = { "sh", "-c", "exit 7" } }
  add { name = "not on PATH", fails = true, command = { "nowhere" } }
  add { name = "not executable", fails = true, command = { "/noexec" } }
  add { name = "--cwd missing", fails = true, args = { "--cwd", "/nowhere" } }
  add { name = "a signal", shell = [["$@" exec @ID@ sleep 20 & sleep 0.5; kill -TERM $!; wait $!]] }

  if has.ids then
    add { name = "another user", args = { "--user", "33:34" } }
    add { name = "the last ids", args = { "--user", ("%d:%d"):format(has.ids - 1, has.ids - 1) } }
    add { name = "a user and capabilities", process = { args = { "/report" }, cwd = "/", user = { uid = 5, gid = 5 },
      capabilities = { bounding = { "CAP_KILL" }, effective = { "CAP_KILL" }, permitted = { "CAP_KILL" },
        inheritable = { "CAP_KILL" }, ambient = { "CAP_KILL" } } } }
  end
  local outside = tostring(has.ids or 1)
  add { name = "a user that is not mapped", fails = true, args = { "--user", outside .. ":0" } }
  add { name = "a group that is not mapped", fails = true, args = { "--user", "0:" .. outside } }
  add { name = "neither is mapped", fails = true, args = { "--user", outside .. ":" .. outside } }

  add { name = "--additional-gids", args = { "--additional-gids", "0" }, only = "runc", fails = not has.groups }
  add { name = "additionalGids", only = "runc", fails = not has.groups,
    process = { args = { "/report" }, cwd = "/", user = { uid = 0, gid = 0, additionalGids = { 0 } } } }
  add { name = "--additional-gids of a user that is not mapped", fails = true, only = "runc",
    args = { "--additional-gids", "0", "--user", outside } }

  if has.outside then
    add { name = "a cgroup that cannot be joined is a debug line", command = { "true" }, args = {},
      global = { "--debug", "--log", "@DIR@/log" }, differs = "each program's debug lines are its own",
      expect = { "status: 0", { "level=debug msg=\".*adding pid N to cgroups: failed to write N: " } } }
    add { name = "and no line without --debug", command = { "true" }, global = { "--log", "@DIR@/log" } }
  end
  return rows
end
