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

  it("names every file of src/core and src/lua, and none that is not there", function()
    for _, folder in ipairs { "src/core", "src/lua" } do
      local pipe = assert(io.popen("ls " .. folder .. "/*.c"))
      for path in pipe:lines() do
        local unit = path:match("([%w_]+)%.c$")
        local is_named = text:find("`" .. unit .. "`", 1, true) or text:find("/" .. unit .. "`", 1, true)
        assert.truthy(is_named, path)
      end
      pipe:close()
    end
    for path in text:gmatch("`(%l+/[%w_/]+%.[chl]u?a?)`") do assert.truthy(io.open(path), path) end
  end)
end)
