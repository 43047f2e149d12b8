-- Runs the command line ARGS with a given build and with some protections switched off: `command.lua BUILD WITHOUT
-- ARGS...`

package.path = "./?.lua;./lua/?.lua;./lua/?/init.lua;" .. package.path
package.cpath = ("./%s/lua/?.so;%s"):format(arg[1], package.cpath)
require "tests.hostile.guards".install(arg[2])
os.exit(require "ctrexec.command".main(table.move(arg, 3, #arg, 1, { [0] = "ctrexec" })))
