--- The comparison: each row of a table is one request, made to a runtime and to ctrexec on the same container. The two
-- outcomes must be equal line by line. A row is a table:
--
--   name      of the test
--   on        variant of the container (tests/lib/variants.lua; default "plain")
--   global    options before `exec`; args: options after it; command: default { "/report" }, false for none
--   process   content of a process file, a table or text; it becomes --process
--   stdin     text of standard input
--   shell     shell text instead of all that: "$@" is the program with its global options
--   view      "v2" or "hybrid" when the row only makes sense there
--   only      "runc" or "crun" when the row only makes sense there
--   fails     the request is refused; beside crun only the refusal must be equal, not its words (see `reduce`)
--   differs   why the two outcomes must differ; then one of
--               expect: lines that ctrexec must give, or { pattern } (the reference must not give the same),
--               drop: patterns of lines that do not count,
--               strip: list of { pattern, replacement } for ctrexec's lines
--   crun      a table that overrides fields of the row when the reference is crun
--
-- In all strings @DIR@ is a fresh directory, @ID@ the container's id, @RUNTIME@ the runtime with its root, @CGROUP@ the
-- name of the container's cgroup, @STATE@ its state file.

local cjson = require "cjson"
local containers = require "tests.lib.containers"
local luassert = require "luassert"
local outcome = require "tests.lib.outcome"
local tool = require "tests.lib.tool"
local variants = require "tests.lib.variants"

local matrix = {}

local function overlay(row, reference)
  local override = row[reference]
  if not override then
    return row
  end
  local result = {}
  for key, value in pairs(row) do
    result[key] = value
  end
  for key, value in pairs(override) do
    result[key] = value
  end
  return result
end

local function applies(row, reference, view)
  return (not row.view or row.view == view) and (not row.only or row.only == reference)
end

local function request_words(row, ct)
  local words = { "exec" }
  table.move(row.args or {}, 1, #(row.args or {}), #words + 1, words)
  if row.process then
    words[#words + 1] = "--process"
    words[#words + 1] = "@DIR@/process.json"
  end
  words[#words + 1] = ct.id
  if row.command ~= false and not (row.process and not row.command) then
    local command = row.command or { "/report" }
    table.move(command, 1, #command, #words + 1, words)
  end
  return words
end

local function run(row, ct, program)
  local directory, files = variants.directory "run", variants.directory "streams"
  if ct.world then
    ct.world:own(directory)
    program = ct.world:command(program)
  end
  local values = {
    DIR = directory, ID = ct.id, CGROUP = containers.cgroup_name(ct),
    STATE = ("%s/%s/state.json"):format(ct.root, ct.id),
    RUNTIME = ("%s --root %s"):format(tool.quote(ct.runtime), tool.quote(ct.root)),
  }
  local function fill(text)
    return (text:gsub("@(%u+)@", values))
  end
  local given = {}
  if row.process then
    local content = type(row.process) == "table" and cjson.encode(row.process) or row.process
    tool.write(directory .. "/process.json", content)
    given["process.json"] = true
  end
  local words = { "--root", ct.root }
  table.move(row.global or {}, 1, #(row.global or {}), #words + 1, words)
  local text = row.shell or 'exec "$@" ' .. tool.quote_all(request_words(row, ct))
  local result = tool.run(fill(text), {
    directory = directory, files = files, input = row.stdin, words = program .. " " .. fill(tool.quote_all(words)),
    clean = true,
  })
  return outcome.lines { status = result.code, container = ct, directory = directory, files = files, given = given }
end

local function without(lines, patterns)
  local result = {}
  for _, line in ipairs(lines) do
    local dropped = false
    for _, pattern in ipairs(patterns) do
      dropped = dropped or line:find(pattern) ~= nil
    end
    if not dropped then
      result[#result + 1] = line
    end
  end
  return result
end

-- The lines that differ with crun 1.8 in every exec, because ctrexec does as runc there:
local CRUN_ALWAYS = {
  "^stdout: keyring:",                  -- it makes no session keyring
  "^stdout: session leader:",           -- and a session only with a terminal;
  "^stdout: group leader:",
  "^stdout: env: HOME=/$",              -- it sets no HOME for a user that is not in passwd;
  "^pid file: digits only, mode rw",    -- and its pid file is executable.
}

-- crun has words and statuses of its own for every failure. ctrexec uses runc's for containers of either runtime,
-- because engines look for these. So beside crun it must only be equal that a request fails, and what the request
-- leaves.
local function reduce(lines)
  local result = {}
  for _, line in ipairs(lines) do
    if line:find "^status: [1-9]" then
      result[#result + 1] = "status: failed"
    elseif not line:find "^stderr: " and not line:find "^stdout: " and not line:find "^log " then
      result[#result + 1] = line
    end
  end
  return result
end

local function contains(lines, wanted)
  for _, line in ipairs(lines) do
    if line == wanted or type(wanted) == "table" and line:find(wanted[1]) then
      return true
    end
  end
  return false
end

-- Compares a row's outcomes: returns nil, or the differences for a person to read.
local function judge(row, reference, theirs, ours)
  if reference == "crun" then
    theirs, ours = without(theirs, CRUN_ALWAYS), without(ours, CRUN_ALWAYS)
  end
  if row.fails and reference == "crun" then
    theirs, ours = reduce(theirs), reduce(ours)
  end
  if row.expect then
    local missing = {}
    for _, line in ipairs(row.expect) do
      if not contains(ours, line) then
        missing[#missing + 1] = type(line) == "table" and "no line matches: " .. line[1] or "missing: " .. line
      end
    end
    if #missing > 0 then
      table.move(ours, 1, #ours, #missing + 1, missing)
      return "ctrexec must give (" .. row.differs .. "):\n" .. table.concat(missing, "\n")
    end
    if #outcome.difference(theirs, ours) == 0 then
      return reference .. " gives the same: this row needs no `differs`"
    end
    return nil
  end
  for i, line in ipairs(ours) do
    for _, edit in ipairs(row.strip or {}) do
      line = line:gsub(edit[1], edit[2])
    end
    ours[i] = line
  end
  if row.drop then
    theirs, ours = without(theirs, row.drop), without(ours, row.drop)
  end
  local difference = outcome.difference(theirs, ours)
  if #difference > 0 then
    return ("- %s, + ctrexec:\n%s"):format(reference, table.concat(difference, "\n"))
  end
  return nil
end

local function check(row, reference, program)
  assert(not row.differs == not (row.expect or row.drop), "only a row that differs has `expect` or `drop`, and it must")
  local ct = variants.get(row.on or "plain", reference)
  local theirs = run(row, ct, tool.quote(reference))
  local ours = run(row, ct, program)
  local wrong = judge(row, reference, theirs, ours)
  luassert(not wrong, wrong)
end

local function applicable(reference, lists)
  local view, names, rows = tool.view(), {}, {}
  for _, list in ipairs(lists) do
    for _, row in ipairs(list) do
      assert(not names[row.name], "two rows are named " .. row.name)
      names[row.name] = true
      if applies(row, reference, view) then
        rows[#rows + 1] = overlay(row, reference)
      end
    end
  end
  return rows
end

--- Defines the tests of all rows that make sense with that runtime in this view.
-- @tparam string reference "runc" or "crun"
-- @tparam table lists lists of rows
-- @tparam table env the globals of the spec file: busted's functions are only there
-- @tparam[opt] string program ctrexec, as shell words; the one of `tool.ctrexec` without it
function matrix.define(reference, lists, env, program)
  local rows = applicable(reference, lists)
  local reason = variants.missing(reference)
  env.describe(("ctrexec exec like %s exec (%s)"):format(reference, tool.view()), function ()
    if reason then
      env.it(("%d rows"):format(#rows), function ()
        env.pending(reason)
      end)
      return
    end

    env.teardown(function ()
      variants.remove_all()
      io.write(("  %d rows compared with %s\n"):format(#rows, reference))
    end)

    for _, row in ipairs(rows) do
      env.it(row.name, function ()
        check(row, reference, program or tool.ctrexec())
      end)
    end
  end)
end

return matrix
