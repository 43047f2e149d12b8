-- Attacks by way of terminals: the container types into the caller's terminal, or keeps a pseudo-terminal open.

local lib = require "tests.hostile.lib"

-- Runs shell text at a terminal of its own, made by script(1), and returns what the terminal showed.
local function at_terminal(ct, text)
  local session, keys, out = ct.dir .. "/session", ct.dir .. "/keys", ct.dir .. "/typescript"
  lib.write(session, text)
  -- The input is a fifo without data and without an end, because script(1) would pass on an end as a key.
  lib.host("mkfifo %s && timeout -k 1 300 script -qfec %s /dev/null <>%s >%s 2>&1", keys, "bash " .. session, keys, out)
  return lib.read(out):gsub("[%s%c]+", " ")
end

-- The attack types into the terminal, and then a program of the caller reads what was typed.
local function typed(t, ct, options)
  local text = "%s exec %s %s /attack keys 'owned\n'\nread -r -t 1 line\necho \"the shell read: $line.\"\n"
  local shown = at_terminal(ct, text:format(t:program(ct), options or "", ct.id))
  t:log(ct, "done")
  local read = shown:match "the shell read: ([^.]*)%."
  return read == "owned", ("the caller's shell read %q"):format(read or shown)
end

-- The same attack at a virtual console of the machine. script(1) cannot record that one, so the caller writes what it
-- reads to a file.
local function pasted(t, options)
  local ct = t:container { caps = { "CAP_SYS_ADMIN" } }
  local session, got = ct.dir .. "/session", ct.dir .. "/got"
  lib.write(session, ("%s exec %s %s /attack paste owned\nread -r -t 1 line\necho \"$line\" >%s\n"):format(
    t:program(ct), options, ct.id, lib.quote(got)))
  local pipe = assert(io.popen(("timeout -k 1 300 build-hostile/attack console bash %s"):format(lib.quote(session))))
  local why = pipe:read "a"
  local _, _, status = pipe:close()
  if status == 77 then t:cannot(why:sub(1, -2)) end
  if status ~= 0 then error(why) end
  local said = t:log(ct, "done")
  local read = assert(lib.read(got), why):gsub("%s", "")
  if t.without ~= "" and not said:find "pasted" then
    t:cannot("the console takes no selection: " .. said:gsub("\n", " "))
  end
  return read == "owned", ("the caller's shell read %q"):format(read)
end

local function kept_open(options, attack)
  return function (t)
    local ct = t:container { attack = attack }
    local text = "(trap '' HUP; exec sleep 1000) & echo started"
    local words = { "exec" }
    table.move(options, 1, #options, 2, words)
    table.move({ ct.id, "sh", "-c", text }, 1, 4, #words + 1, words)
    local command = t:program(ct) .. " " .. require "tests.lib.tool".quote_all(words)
    local said = at_terminal(ct, command .. "; echo status $?\n")
    return not said:find "started status 0", said
  end
end

return {
  {
    name = "types into the caller's terminal (TIOCSTI), with CAP_SYS_ADMIN",
    without = { "shield" },
    attack = function (t)
      local ct = t:container { caps = { "CAP_SYS_ADMIN" } }
      return typed(t, ct)
    end,
  },
  {
    name = "the same without a capability, were the session still the caller's",
    without = { "shield", "new_session" },
    attack = function (t)
      if lib.read "/proc/sys/dev/tty/legacy_tiocsti" == "0\n" then t:cannot "the kernel forbids TIOCSTI" end
      return typed(t, t:container())
    end,
  },
  {
    name = "the same with --tty: what it types stays in its own terminal",
    without = { "own_terminal", "shield" },
    attack = function (t)
      local ct = t:container { caps = { "CAP_SYS_ADMIN" } }
      return typed(t, ct, "--tty")
    end,
  },
  {
    name = "pastes on the caller's virtual console (TIOCLINUX), with CAP_SYS_ADMIN",
    without = { "shield" },
    attack = function (t) return pasted(t, "") end,
  },
  {
    name = "the same with --tty",
    without = { "own_terminal", "shield" },
    attack = function (t) return pasted(t, "--tty") end,
  },
  {
    name = "a background process keeps the pseudo-terminal open after the command's end",
    without = { "drain" },
    hangs = true,
    attack = kept_open({ "--tty" }, { "hold-terminals" }),
  },
  {
    name = "a background process keeps the streams of a caller at a terminal open",
    without = { "drain" },
    hangs = true,
    attack = kept_open {},
  },
}
