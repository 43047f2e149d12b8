-- ctrexec against the installed crun, on containers that crun made.

require "tests.lib.matrix".define("crun", {
  require "tests.lib.rows.options",
  require "tests.lib.rows.process",
  require "tests.lib.rows.failures",
  require "tests.lib.rows.streams",
}, _ENV)
