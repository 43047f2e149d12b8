-- busted output handler of tests/run: `busted -o tests/report.lua -Xoutput FILE`.
-- A person reads failures and skip reasons here; tests/run reads FILE, one line an event, so that a suite that crashes
-- half way still shows what it did and which test was running.

local record

local function note(...)
  record:write(table.concat({ ... }, " "), "\n")
  record:flush()
end

local function indent(text)
  return "    " .. text:gsub("\n*$", ""):gsub("\n", "\n    ")
end

local function text_of(message)
  if type(message) == "string" then return message end
  if message == nil then return "" end
  return require "pl.pretty".write(message)
end

-- The part of a traceback that belongs to the test, without the calls of busted below it.
local function own_frames(traceback)
  local lines = {}
  for line in (traceback or ""):gmatch "[^\n]+" do
    if line:find "/busted/" or line:find "in function 'xpcall'" then break end
    lines[#lines + 1] = line
  end
  return #lines > 1 and table.concat(lines, "\n") or ""
end

local function place_of(element)
  local trace = element.trace
  return trace and trace.short_src and ("%s:%d"):format(trace.short_src, trace.currentline or 0) or "outside a test"
end

return function (options)
  local busted = require "busted"
  local handler = require "busted.outputHandlers.base" ()
  local path = assert(options.arguments[1], "tests/report.lua needs -Xoutput FILE")
  record = assert(io.open(path, "w"))

  local function show_failure(formatted)
    io.write("  FAILED ", formatted.name, " (", place_of(formatted.element), ")\n")
    io.write(indent(text_of(formatted.message)), "\n")
    local frames = formatted.isError and own_frames(formatted.trace and formatted.trace.traceback) or ""
    if frames ~= "" then io.write(indent(frames), "\n") end
    io.flush()
  end

  local function show_skip(formatted)
    local reason = text_of(formatted.message)
    if reason == "" then
      io.write("  FAILED ", formatted.name, " (", place_of(formatted.element), ")\n    skipped without a reason\n")
      return "fail"
    end
    io.write("  skipped ", formatted.name, ": ", (reason:gsub("^[^:\n]+:%d+: ", "")), "\n")
    return "skip"
  end

  function handler.test_start(element)
    note("start", handler.getFullName(element))
    return nil, true
  end

  function handler.test_end(_, _, status)
    if status == "success" then
      note "pass"
    elseif status == "pending" then
      note(show_skip(handler.pendings[#handler.pendings]))
    else
      local list = status == "failure" and handler.failures or handler.errors
      show_failure(list[#list])
      note "fail"
    end
    return nil, true
  end

  -- A file that does not load, a describe block or a setup that fails: no test of it ran, and that is a failure.
  function handler.outside_test(element)
    if element.descriptor ~= "it" then
      show_failure(handler.errors[#handler.errors])
      note "fail"
    end
    return nil, true
  end

  function handler.suite_end()
    note "end"
    return nil, true
  end

  busted.subscribe({ "test", "start" }, handler.test_start)
  busted.subscribe({ "test", "end" }, handler.test_end)
  busted.subscribe({ "error" }, handler.outside_test)
  busted.subscribe({ "failure" }, handler.outside_test)
  busted.subscribe({ "suite", "end" }, handler.suite_end)
  return handler
end
