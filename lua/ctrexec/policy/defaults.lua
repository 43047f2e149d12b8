--- The limits of each policy, where the site's configuration does not set them (`limits`).
-- @module ctrexec.policy.defaults

--- The limits of a policy.
-- @table defaults
-- @field policy_time seconds that it may take
-- @field policy_memory bytes that it may use
local defaults = { policy_time = 2, policy_memory = 32 << 20 }

return defaults
