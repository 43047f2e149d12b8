-- Which command lines are an exec's, for a runtime in whose place ctrexec stands.
local runtime = require "ctrexec.command.runtime"

local function words_of(line)
  local words = {}
  for word in line:gmatch "%S+" do words[#words + 1] = word end
  return words
end

local EXECS = {
  "exec web true",
  "--root /run/x exec web true",
  "--root=/run/x --log /l --log-format json exec --process p --detach web",
  "-root /run/x exec web true",
  "-- exec web true",
  "--debug exec web true",
  "--debug=false exec web",
  -- the last value of a switch counts
  "--help --help=false exec web id",
  "-h -h=0 exec web id",
  "--version --root /run/x -version=F exec web id",
  "-v -v=false --help=false exec web id",
  "--help=true --help=false --root x exec",
  -- what a runtime may know and ctrexec does not
  "--unknown exec web",
  "--unknown value exec web",
  "--roo /run/x exec web",
  "-x exec",
  "--rootless true exec web",
  "--rootless exec web",
}

local OTHERS = {
  "", "list", "run web", "--root exec list", "--root exec", "--log exec kill web", "state exec", "run exec",
  "--help exec", "-h exec web", "--version exec", "--help=false --help exec web", "--help=maybe exec web",
  "-v --help=false exec web", "--root=exec kill web", "- exec", "create --bundle /b exec", "--help", "--version",
}

describe("a line of a runtime", function()
  for _, line in ipairs(EXECS) do
    it("may be an exec: " .. line, function() assert.is_true(runtime.may_be_exec(words_of(line))) end)
  end
  for _, line in ipairs(OTHERS) do
    it("is none: " .. line, function() assert.is_false(runtime.may_be_exec(words_of(line))) end)
  end
end)
