-- Errors without a reader. Invariant: each is raised once by whoever drives the loop, or given to warn when the state
-- closes; none is lost but an interrupt of the host's. While there are any, who drives has something to do.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local errors = require "arvak.base.errors"

local M = {}

local strays = setmetatable({}, {   -- in order
  __gc = function(list)
    for _, err in ipairs(list) do
      if warn then warn("arvak: an error that nobody read: ", tostring(err)) end
    end
  end,
})

-- The host knows of its interrupt, and whoever drives next has nothing to do with it.
function M.add(err)
  if errors.is_error(err) and err.kind == "interrupted" then return end
  strays[#strays + 1] = err
  core.set_strays(true)
end

-- Raises the first one, if there is any.
function M.raise()
  if #strays == 0 then return end
  local err = table.remove(strays, 1)
  core.set_strays(#strays > 0)
  error(err, 0)
end

return M
