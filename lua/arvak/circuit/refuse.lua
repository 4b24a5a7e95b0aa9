-- How lowering gives up on a circuit: it raises a refusal, which its entry catches and makes an error with the place.
-- SPDX-License-Identifier: Apache-2.0
local M = {}
local Refusal = {}

-- Raises a refusal.
function M.raise(format, ...)
  error(setmetatable({ message = string.format(format, ...) }, Refusal), 0)
end

-- Raises a refusal that values for the parameters may lift.
function M.for_values(format, ...)
  error(setmetatable({ message = string.format(format, ...), needs_values = true }, Refusal), 0)
end

-- Whether a value was raised here.
function M.is(value) return getmetatable(value) == Refusal end

return setmetatable(M, { __call = function(_, ...) return M.raise(...) end })
