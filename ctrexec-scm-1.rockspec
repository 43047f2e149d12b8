rockspec_format = "3.0"
package = "ctrexec"
version = "scm-1"
-- Build it from a checkout: `luarocks --lua-version 5.4 make`.
source = {
  url = "git+file://.",
}
description = {
  summary = "Starts a process inside a running OCI container",
  detailed = "A command and a Lua module that do the job of `runc exec` for containers of runc and crun.",
  license = "MIT",
}
supported_platforms = { "linux" }
dependencies = {
  "lua >= 5.4, < 5.5",
  "lua-cjson >= 2.1",
}
-- musl-gcc builds the helper that enters the container: on Debian it is in musl-tools.
external_dependencies = {
  LIBSECCOMP = { header = "seccomp.h" },
  LIBCAP = { header = "sys/capability.h" },
}
build = {
  type = "make",
  build_target = "build",
  install_target = "install",
  build_variables = {
    LUA_INCDIR = "$(LUA_INCDIR)",
  },
  install_variables = {
    LUA_INCDIR = "$(LUA_INCDIR)",
    BINDIR = "$(BINDIR)",
    LUA_LIBDIR = "$(LIBDIR)",
    LUA_SHAREDIR = "$(LUADIR)",
    EMBED_PATH = "",
  },
}
