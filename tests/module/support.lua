--- Helpers of the specs of the module: the descriptors and children of a host program, and the way to compile one.
local containers = require "tests.lib.containers"
local core = require "ctrexec.core"
local tool = require "tests.lib.tool"

local support = {}

support.container = containers.new

--- Descriptors of this process.
function support.descriptors()
  return #core.file.list "/proc/self/fd"
end

--- Compiles a C host program with the system's Lua, as docs/embedding.md says. The sanitized module needs a sanitized
-- host.
-- @treturn string path of the program, in the given directory
function support.compile(source, directory)
  local program = directory .. "/" .. source:match "([^/]+)%.c$"
  local sanitize = (os.getenv "SANITIZE" or "") ~= "" and "-fsanitize=address,undefined" or ""
  local command = ("gcc -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -O1 -g %s -I/usr/include/lua5.4 "
    .. "-o %s %s -llua5.4 -lpthread"):format(sanitize, tool.quote(program), tool.quote(source))
  assert(os.execute(command), command)
  return program
end

return support
