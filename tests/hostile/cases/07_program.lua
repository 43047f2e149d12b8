-- The file that is to be executed is no program, or is exchanged during the exec.

local lib = require "tests.hostile.lib"

local function add_programs(rootfs)
  assert(lib.host([[cd %s && mkfifo fifo && mkdir folder && mknod device c 1 5 && chmod 755 fifo device &&
    printf '#!/second\n' >first && printf '#!/first\n' >second && printf '#!/no/such/thing\n' >lost && : >empty &&
    chmod 755 first second lost empty]], rootfs))
end

-- By program: the code of the error that the exec must fail with.
local CODES = {
  ["/fifo"] = "not_executable", ["/device"] = "not_executable", ["/folder"] = "not_executable",
  ["/first"] = "not_executable", ["/lost"] = "not_found", ["/empty"] = "not_executable", ["/none"] = "not_found",
}

return {
  {
    name = "the program is a fifo, a device, a folder, a script whose interpreter leads back to it or is missing",
    without = { "no_open" },
    waits = true,
    attack = function (t)
      local ct = t:container { rootfs = add_programs }
      local words = {}
      for path, code in pairs(CODES) do
        local result, message, got = ct:exec { path }
        if not result and message:find "did not start within" then return true, path .. ": " .. message end
        assert(not result and (got == code or t.without ~= ""), ("%s: %s %s"):format(path, got, message))
        words[#words + 1] = path .. " " .. got
      end
      table.sort(words)
      return false, table.concat(words, ", ")
    end,
  },
  {
    name = "the program comes and goes while it is started: success is reported for what did not run",
    without = { "tell", "exec_proof" },
    attack = function (t)
      local ct = t:container {
        attack = { "flap", "/program", "/elsewhere" },
        rootfs = function (rootfs) assert(lib.host("cp %s %s", rootfs .. "/attack", rootfs .. "/program")) end,
      }
      local ran, refused = 0, 0
      for _ = 1, t:tries(300) do
        local result, message, code = ct:exec { "/program", "show" }
        if result and not result.stdout:find "^uid=" then
          return true, ("status %d of a command that never ran"):format(result.code)
        end
        if not result then assert(code == "not_found", message) end
        if result then ran = ran + 1 else refused = refused + 1 end
      end
      assert(refused > 0 and ran > 0, "the program was never away")
      return false, ("ran %d times, not found %d times"):format(ran, refused)
    end,
  },
}
