-- The helper's image, which the container can see as /proc/PID/exe (CVE-2019-5736).

local lib = require "tests.hostile.lib"

local function add_script(rootfs)
  lib.write(rootfs .. "/script", "#!/proc/self/exe\n")
  assert(lib.host("chmod 755 %s", rootfs .. "/script"))
end

-- Runs another exec of the same program: it executes, on the host, what the attacker has put into the image.
local function overwritten(t, ct)
  local owned = ct.dir .. "/owned"
  local said = t:log(ct, "overwritten:") -- or the reason why it could not
  ct:exec { "true" }
  if lib.exists(owned) then
    return true, "the next exec ran the attacker's program on the host, " .. lib.read(owned):sub(1, -2)
  end
  return false, said:match "overwritten: [^\n]*"
end

-- Waits until the attacker has opened the image, or has failed to.
local function overwrite(t, ct, command, tries)
  for _ = 1, tries do
    ct:exec(command)
    if t:said(ct):find "opened the image" then return overwritten(t, ct) end
  end
  t:cannot "the image could not be opened in so many tries"
end

local function container(t, mode, caps)
  return t:container {
    caps = caps,
    rootfs = add_script,
    config = function (config, ct)
      config.process.args = { "/attack", mode, ct.dir .. "/owned" }
    end,
  }
end

return {
  {
    name = "overwrites /proc/PID/exe of the entering process, with CAP_SYS_PTRACE",
    without = { "sealed_image" },
    attack = function (t)
      local ct = container(t, "overwrite", { "CAP_SYS_PTRACE" })
      t:log(ct, "ready")
      return overwrite(t, ct, { "true" }, lib.TRIES)
    end,
  },
  {
    name = "overwrites it when a script names #!/proc/self/exe, without any capability",
    without = { "sealed_image" },
    attack = function (t)
      local ct = container(t, "overwrite")
      t:log(ct, "ready")
      return overwrite(t, ct, { "/script" }, 3000)
    end,
  },
  {
    name = "the same with a library that overwrites /proc/self/exe of the program that loads it",
    without = { "sealed_image", "build:dynamic" },
    attack = function (t)
      local ct = t:container {
        attack = { "hog", "1" },
        rootfs = function (rootfs, ct)
          add_script(rootfs)
          local libraries = "ldd build-hostile/dynamic/lua/ctrexec/enter | grep -o '/[^ ]*'"
          assert(lib.host("cp --parents -L $(" .. libraries .. ") %s", rootfs))
          assert(lib.host("cp build-hostile/library.so %s", rootfs))
          assert(lib.host("ln -s %s %s", ct.dir .. "/owned", rootfs .. "/owned"))
          lib.write(rootfs .. "/etc/ld.so.preload", "/library.so\n")
        end,
      }
      -- Without a library the script comes to nothing; the attack stays.
      local handle <close> = ct:spawn { "/script", stdin = "null", stdout = "null", stderr = "null" }
      lib.await(function () return not handle or handle:wait(0) or t:said(ct):find "opened the image" end, "either")
      if not t:said(ct):find "opened the image" then return false, "no library was loaded" end
      return overwritten(t, ct)
    end,
  },
  {
    name = "takes the execute bits from the image, or makes it setuid, for the next exec",
    without = { "image_check" },
    attack = function (t)
      local ct = container(t, "spoil", { "CAP_SYS_PTRACE" })
      t:log(ct, "ready")
      for _ = 1, lib.TRIES do
        ct:exec { "true" }
        if t:said(ct):find "spoilt" then break end
      end
      local said = t:said(ct)
      if not said:find "spoilt" then t:cannot "the image could not be opened in so many tries" end
      local result, message = ct:exec { "true" }
      return not result, message or said:match "spoilt: [^\n]*" .. " changed, the next exec made a new one"
    end,
  },
}
