-- Takes from a command every capability that helps it out of its container, or to attack its neighbours.
local UNWANTED = { "CAP_NET_RAW", "CAP_SYS_ADMIN", "CAP_SYS_MODULE", "CAP_SYS_PTRACE", "CAP_SYS_RAWIO",
  "CAP_DAC_READ_SEARCH", "CAP_MKNOD", "CAP_BPF" }

return {
  name = "drop-capabilities",
  check = function(request)
    request.caps:drop(table.unpack(UNWANTED))
    request.process.noNewPrivileges = true
  end,
}
