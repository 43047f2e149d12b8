--- What each policy may use where a site says nothing else: `limits` of the configuration.
-- @module ctrexec.policy.defaults

--- The limits of a policy.
-- @table defaults
-- @field policy_time seconds that it may take
-- @field policy_memory bytes that it may use
local defaults = { policy_time = 2, policy_memory = 32 << 20 }

return defaults
