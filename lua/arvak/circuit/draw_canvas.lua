-- A page of characters on which lines meet: each cell knows which of its four sides a line leaves by, and how.
-- Invariant: what was put as a character stays; lines that cross it do not show there.
-- SPDX-License-Identifier: Apache-2.0
local symbols = require "arvak.circuit.draw_symbols"

local M = {}
local Canvas = {}
Canvas.__index = Canvas

-- A line is light (1) or double (2). Each shape by its sides: left, right, up, down.
local order = { "lr", "ud", "rd", "ld", "ru", "lu", "rud", "lud", "lrd", "lru", "lrud" }

local function set_of(characters)
  local set, i = {}, 0
  for char in string.gmatch(characters, "[\0-\127\194-\244][\128-\191]*") do
    i = i + 1
    set[order[i]] = char
  end
  set.l, set.r, set.u, set.d = set.lr, set.lr, set.ud, set.ud
  return set
end

-- By the style of what lies across, and of what stands upright.
local unicode = {
  { set_of "─│┌┐└┘├┤┬┴┼", set_of "─║╓╖╙╜╟╢╥╨╫" },
  { set_of "═│╒╕╘╛╞╡╤╧╪", set_of "═║╔╗╚╝╠╣╦╩╬" },
}
local ascii = {
  { set_of "-|+++++++++", set_of "-|+++++++++" },
  { set_of "=|+++++++++", set_of "=|+++++++++" },
}

-- A page without anything on it.
function M.new(is_ascii)
  return setmetatable({ rows = {}, is_ascii = is_ascii, sides = is_ascii and ascii or unicode, width = 0 }, Canvas)
end

function Canvas:cell(row, column)
  local cells = self.rows[row]
  if not cells then
    cells = {}
    self.rows[row] = cells
  end
  local cell = cells[column]
  if not cell then
    cell = { l = 0, r = 0, u = 0, d = 0 }
    cells[column] = cell
    if column > self.width then self.width = column end
  end
  return cell
end

-- Adds sides to a cell: each 0, 1 or 2; nil for none.
function Canvas:add(row, column, left, right, up, down)
  local cell, max = self:cell(row, column), math.max
  cell.l, cell.r = max(cell.l, left or 0), max(cell.r, right or 0)
  cell.u, cell.d = max(cell.u, up or 0), max(cell.d, down or 0)
end

-- A line across, with its ends reaching to the edges of their cells where is_open.
function Canvas:across(row, from, to, style, is_open)
  for column = from, to do
    self:add(row, column, (column > from or is_open) and style or 0, (column < to or is_open) and style or 0)
  end
end

-- A line down.
function Canvas:down(column, from, to, style)
  for row = from, to do
    self:add(row, column, 0, 0, row > from and style or 0, row < to and style or 0)
  end
end

-- Takes all lines off a cell, and what they would be drawn over.
function Canvas:blank(row, column)
  local cell = self:cell(row, column)
  cell.l, cell.r, cell.u, cell.d, cell.char = 0, 0, 0, 0, " "
end

-- Writes a text from a column on.
function Canvas:write(row, column, value)
  for i, char in ipairs(symbols.cells(value)) do self:cell(row, column + i - 1).char = char end
end

local function char_of(cell, sides)
  if not cell then return " " end
  if cell.char then return cell.char end
  local shape = (cell.l > 0 and "l" or "") .. (cell.r > 0 and "r" or "") .. (cell.u > 0 and "u" or "")
    .. (cell.d > 0 and "d" or "")
  if shape == "" then return " " end
  local across, upright = math.max(cell.l, cell.r, 1), math.max(cell.u, cell.d, 1)
  return sides[across][upright][shape]
end

-- A row as text, without blanks at its end.
function Canvas:row(row)
  local cells, chars = self.rows[row] or {}, {}
  for column = 1, self.width do chars[column] = char_of(cells[column], self.sides) end
  return (string.gsub(table.concat(chars), " +$", ""))
end

return M
