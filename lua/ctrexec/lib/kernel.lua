--- The kernel's numbers by the names of the OCI runtime specification 1.3. They are the same on x86-64 and arm64.
-- @module ctrexec.lib.kernel
local kernel = {}

--- RLIM_INFINITY as it stands in a process object. JSON writes it 18446744073709551615, which a Lua integer cannot
-- hold, so every limit of 2^63 and more is this float; all other limits are integers.
kernel.RLIM_INFINITY = 2.0 ^ 64

--- Resource limits: getrlimit(2).
kernel.rlimits = {
  RLIMIT_CPU = 0, RLIMIT_FSIZE = 1, RLIMIT_DATA = 2, RLIMIT_STACK = 3, RLIMIT_CORE = 4, RLIMIT_RSS = 5,
  RLIMIT_NPROC = 6, RLIMIT_NOFILE = 7, RLIMIT_MEMLOCK = 8, RLIMIT_AS = 9, RLIMIT_LOCKS = 10,
  RLIMIT_SIGPENDING = 11, RLIMIT_MSGQUEUE = 12, RLIMIT_NICE = 13, RLIMIT_RTPRIO = 14, RLIMIT_RTTIME = 15,
}

--- Scheduling policies: sched(7).
kernel.scheduler_policies = {
  SCHED_OTHER = 0, SCHED_FIFO = 1, SCHED_RR = 2, SCHED_BATCH = 3, SCHED_ISO = 4, SCHED_IDLE = 5, SCHED_DEADLINE = 6,
}

--- Bits of a scheduling policy: sched_setattr(2).
kernel.scheduler_flags = {
  SCHED_FLAG_RESET_ON_FORK = 0x01, SCHED_FLAG_RECLAIM = 0x02, SCHED_FLAG_DL_OVERRUN = 0x04,
  SCHED_FLAG_KEEP_POLICY = 0x08, SCHED_FLAG_KEEP_PARAMS = 0x10, SCHED_FLAG_UTIL_CLAMP_MIN = 0x20,
  SCHED_FLAG_UTIL_CLAMP_MAX = 0x40,
}

--- Classes of I/O priority: ioprio_set(2).
kernel.io_classes = { IOPRIO_CLASS_RT = 1, IOPRIO_CLASS_BE = 2, IOPRIO_CLASS_IDLE = 3 }

--- Memory policies: set_mempolicy(2).
kernel.memory_modes = {
  MPOL_DEFAULT = 0, MPOL_PREFERRED = 1, MPOL_BIND = 2, MPOL_INTERLEAVE = 3, MPOL_LOCAL = 4, MPOL_PREFERRED_MANY = 5,
  MPOL_WEIGHTED_INTERLEAVE = 6,
}

--- Bits of a memory policy: set_mempolicy(2).
kernel.memory_flags = {
  MPOL_F_NUMA_BALANCING = 1 << 13, MPOL_F_RELATIVE_NODES = 1 << 14, MPOL_F_STATIC_NODES = 1 << 15,
}

--- Execution domains: personality(2).
kernel.personalities = { LINUX = 0x0000, LINUX32 = 0x0008 }

--- The sets of capabilities of a process: capabilities(7).
kernel.capability_sets = { "bounding", "effective", "inheritable", "permitted", "ambient" }

--- Inverts one of these tables: the names by their numbers.
-- @tparam table numbers
-- @treturn table
function kernel.inverse(numbers)
  local names = {}
  for name, number in pairs(numbers) do names[number] = name end
  return names
end

return kernel
