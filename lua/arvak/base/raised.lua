-- An error that was raised, with the place where that was: xpcall's handler can keep both, pcall only the error.
-- Invariant: any value may have been raised, and it is given back as the same value.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"

local Raised = {}

local M = {}

-- A message handler: the error, its traceback, and whether it is an interrupt.
function M.note(err)
  local is_interrupt = core.is_interrupt(err)
  local traceback = debug and debug.traceback and debug.traceback(tostring(err), 2)
  return setmetatable({ err = err, traceback = traceback, is_interrupt = is_interrupt }, Raised)
end

-- What such a handler gave, or what came in its place when there was no memory: the error, its traceback or nil, and
-- whether it is an interrupt, which whoever caught it raises again.
function M.read(value)
  if getmetatable(value) == Raised then return value.err, value.traceback, value.is_interrupt end
  return value
end

return M
