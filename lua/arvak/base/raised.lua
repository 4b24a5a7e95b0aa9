-- An error that was raised, with the place where that was: xpcall's handler can keep both, pcall only the error.
-- Invariant: any value may have been raised, and it is given back as the same value.
-- SPDX-License-Identifier: Apache-2.0
local Raised = {}

local M = {}

-- A message handler: the error and its traceback.
function M.note(err)
  local traceback = debug and debug.traceback and debug.traceback(tostring(err), 2)
  return setmetatable({ err = err, traceback = traceback }, Raised)
end

-- What such a handler gave, or what came in its place when there was no memory: the error, and its traceback or nil.
function M.read(value)
  if getmetatable(value) == Raised then return value.err, value.traceback end
  return value
end

return M
