-- A recorded command forges events in its own recording, which a person will trust later.

local lib = require "tests.hostile.lib"

return {
  {
    name = "writes events of its own into the recording of its session",
    without = { "recorder_escape" },
    attack = function (t)
      local ct = t:container()
      local file = ct.dir .. "/session.cast"
      local status, _, message = t:command(ct, { "exec", "--record", file, ct.id, "sh", "-c",
        [[printf 'innocent"]\n[0.0, "o", "forged"]\n[0.0, "o", "']] })
      assert(status == 0, message)
      local forged = lib.read(file):find('\n[0.0, "o", "forged"]', 1, true) ~= nil
      return forged, forged and "an event was forged" or "the bytes are one event"
    end,
  },
}
