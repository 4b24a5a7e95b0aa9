-- docs/internals/map.md names the rooms that lint knows, in their order and with what each may know.
-- SPDX-License-Identifier: Apache-2.0

local rooms = dofile "tools/rooms.lua"

local function read(path)
  local file = assert(io.open(path))
  local text = file:read("a")
  file:close()
  return text
end

-- The rows of the map's tables of rooms: { name, "known known ...", what it is for }.
local function rows_of(text)
  local rows = {}
  for line in text:gmatch("[^\n]+") do
    local name, purpose, knows = line:match("^| `([%w_/.]+)` | (.-) | (.-) ?|$")
    if name then rows[#rows + 1] = { name, knows:gsub("`", ""), purpose } end
  end
  return rows
end

describe("the map of the sources", function()
  local text = read "docs/internals/map.md"
  local by_name = {}
  for _, row in ipairs(rows_of(text)) do by_name[row[1]] = row end

  for _, room in ipairs(rooms) do
    it("has a row for " .. room[1], function()
      local row = assert(by_name[room[1]], "no row")
      assert.equal(table.concat(room.knows or {}, " "), row[2])
      assert.is_true(#row[3] > 10, "it does not say what the room is for")
      by_name[room[1]].is_seen = true
    end)
  end

  it("has no row for a room that is not there", function()
    for name, row in pairs(by_name) do assert.is_true(row.is_seen, name) end
  end)

  -- The units that the paragraph "Within `folder`, from the ground up" names, in its order.
  local function named_in(folder)
    local paragraph = assert(text:match("\nWithin `" .. folder .. "`, from the ground up:(.-)\n\n"), folder)
    local list, place = {}, {}
    for unit in paragraph:gmatch("`([%w_]+)`") do
      list[#list + 1] = unit
      place[unit] = place[unit] or #list
    end
    return list, place
  end

  for _, folder in ipairs { "src/core", "src/lua" } do
    it("names each file of " .. folder .. " after those that it includes, and none that is not there", function()
      local list, place = named_in(folder)
      for _, unit in ipairs(list) do
        local file = io.open(folder .. "/" .. unit .. ".c") or io.open(folder .. "/" .. unit .. ".h")
        assert.truthy(file, unit .. " is not there")
        file:close()
      end
      local pipe = assert(io.popen("ls " .. folder .. "/*.[ch]"))
      for path in pipe:lines() do
        local unit = path:match("([%w_]+)%.[ch]$")
        if path:find("%.c$") then
          assert.truthy(place[unit], path .. ": say in docs/internals/map.md what it is for")
        end
        for name in read(path):gmatch('\n#include "([%w_]+)%.h"') do
          if place[unit] and place[name] then
            assert.is_true(place[name] <= place[unit], ("%s includes %s.h, which stands after it"):format(path, name))
          end
        end
      end
      pipe:close()
    end)
  end

  it("names no file that is not there", function()
    for path in text:gmatch("`(%l+/[%w_/]+%.[chl]u?a?)`") do assert.truthy(io.open(path), path) end
  end)
end)
