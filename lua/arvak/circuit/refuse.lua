-- How lowering gives up on a circuit: it raises a refusal, which its entry catches and makes an error with the place.
-- SPDX-License-Identifier: Apache-2.0
local Refusal = {}

-- refuse(format, ...): raises. refuse.is(value): whether that was raised by it.
return setmetatable({
  is = function(value) return getmetatable(value) == Refusal end,
}, {
  __call = function(_, format, ...) error(setmetatable({ message = format:format(...) }, Refusal), 0) end,
})
