-- Errors without a reader. Invariant: each is raised once by whoever drives the loop, or given to warn when the state
-- closes; none is lost.
-- SPDX-License-Identifier: Apache-2.0
local M = {}

local strays = setmetatable({}, {   -- in order
  __gc = function(list)
    for _, err in ipairs(list) do
      if warn then warn("arvak: an error that nobody read: ", tostring(err)) end
    end
  end,
})

function M.add(err) strays[#strays + 1] = err end

function M.exist() return #strays > 0 end

-- Raises the first one, if there is any.
function M.raise()
  if #strays > 0 then error(table.remove(strays, 1), 0) end
end

return M
