-- Modules that are looked up when they are first needed.
-- Invariant: a module is said to be missing only where files could be opened, and so would it.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"

local M = {}

-- Loads a module: returns it; or nil and the reason. A module that does not exist gives nil without a reason.
function M.load(name)
  local ok, module = core.protect(require, name)
  if ok then return module end
  local reason = tostring(module)
  if not string.find(reason, string.format("module '%s' not found", name), 1, true) then return nil, reason end
  local file, problem
  if io and io.open then file, problem = io.open "/dev/null" end
  if file then file:close() end
  return nil, problem
end

return M
