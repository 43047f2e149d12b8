-- Locals only: no file may read or set a global that Lua 5.4 does not have.
std = "lua54"
max_line_length = 120
self = false
cache = false
exclude_files = { "build/**", "build-sanitize/**" }

files["spec"] = { std = "lua54+busted" }
files["tests"] = { std = "lua54+busted" }
files["scripts/policies/*_spec.lua"] = { std = "lua54+busted" }
-- ctrexec adds these to the globals of a policy.
files["scripts/policies/*.lua"] = { read_globals = { "deny" } }
files["config.ld"] = { std = "ldoc" }
files["*.rockspec"] = { std = "rockspec" }
files[".luacheckrc"] = { std = "luacheckrc" }
