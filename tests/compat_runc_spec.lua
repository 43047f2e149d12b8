-- ctrexec against the installed runc, on containers that runc made.

require "tests.lib.matrix".define("runc", {
  require "tests.lib.rows.options",
  require "tests.lib.rows.process",
  require "tests.lib.rows.failures",
  require "tests.lib.rows.streams",
  require "tests.lib.rows.terminal",
}, _ENV)
