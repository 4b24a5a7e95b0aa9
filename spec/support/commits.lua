-- Counts the transactions that write to SQLite.
-- SPDX-License-Identifier: Apache-2.0
local M = {}

-- From now on: a table whose n is their number, and a function that ends the counting.
function M.count()
  local module = require "arvak.store.sqlite"
  local open, counted = module.open, { n = 0 }
  module.open = function(...)
    local store = open(...)
    return setmetatable({}, { __index = function(_, name)
      return function(_, ...)
        if name == "submit" and select(2, ...) == "blind" then counted.n = counted.n + 1 end
        return store[name](store, ...)
      end
    end })
  end
  return counted, function() module.open = open end
end

return M
