-- What can happen to a database's file.
-- SPDX-License-Identifier: Apache-2.0
local M = {}

local LEAF = "\x0d"   -- the first byte of a page with rows

-- Swaps the first and the last page with rows that have this text: the table's rows are then out of order, each of them
-- as it was.
function M.swap_pages(path, text)
  local file <close> = assert(io.open(path, "r+b"))
  local whole = file:read("a")
  local size = string.unpack(">I2", whole, 17)
  local first, last
  for at = 1, #whole - 1, size do
    local page = whole:sub(at, at + size - 1)
    if page:sub(1, 1) == LEAF and page:find(text, 1, true) then
      first, last = first or at, at
    end
  end
  assert(first and first < last, "expected two pages with rows")
  file:seek("set", first - 1)
  file:write(whole:sub(last, last + size - 1))
  file:seek("set", last - 1)
  file:write(whole:sub(first, first + size - 1))
end

return M
