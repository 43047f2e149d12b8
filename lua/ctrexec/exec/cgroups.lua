--- The cgroups that a command joins: opened here, written to by the helper.
-- @module ctrexec.exec.cgroups
local core = require "ctrexec.core"
local late = require "ctrexec.lib.late"
local unwind = require "ctrexec.lib.unwind"
local tree = late "ctrexec.exec.tree" -- only a command with a cgroup of its own needs it
local wording = late "ctrexec.lib.wording" -- only a refusal needs it

local fail = unwind.fail

local cgroups = {}

-- The paths by controller in the values of --cgroup: one PATH (for v2 or every v1 controller), or "ctrl[,ctrl]:PATH"
-- each.
local function sub_cgroups(values)
  local sub = {}
  for _, value in ipairs(values or {}) do
    local controllers, path = value:match "^([^:]*):([^:]*)$"
    if not controllers and value:find(":", 1, true) then
      fail("invalid --cgroup argument: " .. value, "invalid")
    elseif not controllers and #values > 1 then
      fail(("invalid --cgroup argument: %s (missing <controller>: prefix)"):format(value), "invalid")
    elseif not controllers or controllers == "" then
      sub[""] = path or value
    else
      for name in controllers:gmatch "[^,]+" do sub[name] = path end
    end
  end
  return sub
end

-- The path without "." and "..", as runc cleans it. A path of which any part leads out of the container's cgroup is
-- refused. A symbolic link that leads out is refused later, when the directory is opened.
local function sub_path(path)
  local names = {}
  for name in path:gmatch "[^/]+" do
    if name == ".." and #names == 0 then
      fail(("unable to create new parent process: bad sub cgroup path: %s is not a sub cgroup path"):format(path),
        "invalid")
    elseif name == ".." then
      names[#names] = nil
    elseif name ~= "." then
      names[#names + 1] = name
    end
  end
  return table.concat(names, "/")
end

local function check_controllers(sub, paths)
  local known = next(paths) ~= nil
  for name in pairs(sub) do
    if name ~= "" and known and not paths[name] and not paths["name=" .. name] then
      fail(("unable to create new parent process: unknown controller %s in SubCgroupPaths"):format(name), "invalid")
    end
  end
end

-- The message in runc's words. runc names the pid of the process that it has started for the command. Here no process
-- has been started yet, so the message names the pid of ctrexec.
local function cgroup_failure(folder, file, message)
  local pid = core.process.ids().pid
  return ("unable to start container process: error adding pid %d to cgroups: failed to write %d: openat2 %s/%s: %s")
    :format(pid, pid, folder, file, wording.reason(message))
end

-- Version 2 ("") comes first, so that the command's own cgroup (`options.tree`) is made there if possible.
local function controllers_of(paths)
  local list = {}
  for controller in pairs(paths) do list[#list + 1] = controller end
  table.sort(list)
  return list
end

-- The cgroup that the command joins: with `options.tree`, in version 2 or else the v1 freezer, a new child of `folder`;
-- otherwise `folder` itself.
local function leaf(target, folder, controller)
  if not target.tree or target.tree.folder or (controller ~= "" and controller ~= "freezer") then return folder end
  target.tree = tree.new(folder, controller)
  return target.tree.folder or folder
end

-- The caller may have no right to join the cgroups of a rootless container: that is no reason to fail.
local function not_joined(container, message, warnings)
  if not container.settings.rootless_cgroups then fail(message, nil, true) end
  warnings[#warnings + 1] = { level = "debug", message = message }
end

local function join(target, controller, path, fd)
  if controller == "" then
    target.cgroup, target.cgroup_path = fd, path
  else
    table.insert(target.tasks, fd)
    table.insert(target.task_paths, path)
  end
end

-- The cgroup that all commands of an open container join, opened once: the directory (version 2) or its "tasks" file
-- (version 1). Nil if that fails: `add_cgroup` then opens the cgroup step by step, which tells the reason.
local function kept_cgroup(container, controller, path)
  local fd = container.kept[path]
  if fd then return fd end
  if controller == "" then fd = core.cgroup.open(path, "/") else fd = core.cgroup.tasks(path) end
  container.kept[path] = fd
  return fd
end

-- Adds a cgroup to the plan. Version 2: the directory, in which the command's process is created. Version 1: its
-- "tasks" file, to which the helper writes.
local function add_cgroup(target, container, controller, base, below, warnings)
  local path = below == "" and base or base .. "/" .. below
  if target.joined[path] then return end -- several controllers may share a mount
  target.joined[path] = true
  local kept = below == "" and not target.tree and container.kept and kept_cgroup(container, controller, path)
  if kept then
    target.kept[kept] = true
    return join(target, controller, path, kept)
  end
  -- cannot leave `base` by ".." or a symbolic link
  local folder, message = core.cgroup.open(base, "/" .. below) -- guard: cgroup_beneath
  if not folder then return not_joined(container, cgroup_failure(path, "cgroup.procs", message), warnings) end
  local own = leaf(target, folder, controller)
  if controller == "" then return join(target, controller, path, own) end
  local file, why = core.cgroup.file(own, "tasks", "w")
  if own == folder then folder:close() end
  if not file then return not_joined(container, cgroup_failure(path, "tasks", why), warnings) end
  join(target, controller, path, file)
end

-- Intel RDT: resctrl (Documentation/arch/x86/resctrl.rst) has a "tasks" file as version 1 has.
local function add_resctrl(target, path)
  if not path or path == "" then return end
  local file, message = core.file.open(path .. "/tasks", { write = true })
  if not file then
    fail("unable to start container process: error adding pid to Intel RDT group: " .. wording.reason(message))
  end
  target.tasks[#target.tasks + 1] = file
  target.task_paths[#target.task_paths + 1] = path
end

--- Adds to a plan what its command joins: `cgroup` and `cgroup_path` (version 2), `tasks` and `task_paths` (version 1
-- and Intel RDT), `tree` where one is wanted and could be made. Unwinds (`ctrexec.lib.unwind`) where a cgroup cannot be
-- joined: with detail true if the caller may try other cgroups.
-- @tparam table target the plan
-- @tparam table container the container
-- @tparam table options of `ctrexec.exec.plan.build`
function cgroups.join(target, container, options)
  local sub = sub_cgroups(options.cgroup)
  local paths = options.cgroup_paths or container.cgroup_paths -- guard: recorded_cgroup
  check_controllers(sub, paths)
  target.tasks, target.task_paths, target.joined, target.kept = {}, {}, {}, {}
  if options.tree then target.tree = tree.new() end
  for _, controller in ipairs(controllers_of(paths)) do
    local path = sub[controller] or sub[controller:match "^name=(.*)" or ""] or sub[""] or ""
    path = sub_path(path) -- guard: sub_path
    add_cgroup(target, container, controller, paths[controller], path, options.warnings)
  end
  add_resctrl(target, container.settings.intel_rdt_path)
end

--- Closes the descriptors that `join` opened for a plan; the container and the command's tree keep their own.
-- @tparam table target the plan
function cgroups.close(target)
  local kept = target.kept or {}
  for _, file in ipairs(target.tasks or {}) do
    if not kept[file] then file:close() end
  end
  local cgroup = target.cgroup
  if cgroup and not kept[cgroup] and not (target.tree and target.tree.folder == cgroup) then cgroup:close() end
end

return cgroups
