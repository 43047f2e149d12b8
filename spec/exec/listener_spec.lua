local cjson = require "cjson"
local listener = require "ctrexec.exec.listener"

local RECORD = { id = "web", status = "running", pid = 41, bundle = "/b", annotations = { a = "b" } }

describe("listener.state", function()
  it("is the container process state of the runtime specification", function()
    local state = cjson.decode(listener.state(RECORD, 42, "data"))
    assert.same({
      ociVersion = "1.0.2", fds = { "seccompFd" }, pid = 42, metadata = "data",
      state = { ociVersion = "1.0.2", id = "web", status = "running", pid = 41, bundle = "/b",
        annotations = { a = "b" } },
    }, state)
  end)

  it("leaves out what is empty", function()
    local text = listener.state({ id = "web", status = "running", pid = 41, bundle = "/b", annotations = {} }, 42)
    assert.not_matches("annotations", text)
    assert.not_matches("metadata", text)
    assert.is_nil(cjson.decode(listener.state(RECORD, 42, "")).metadata)
  end)
end)

describe("listener.send", function()
  it("says where nobody listens", function()
    local ok, message, code = listener.send("/no/such/socket", 0, 42, RECORD)
    assert.is_nil(ok)
    assert.equal("unable to start container process: failed to connect with seccomp agent specified in the seccomp "
      .. "profile: dial unix /no/such/socket: connect: no such file or directory", message)
    assert.equal("system", code)
  end)
end)
