-- A circuit as a picture of characters, folded at a width.
-- Invariant: no line is wider than asked for, as long as that leaves room for a wire's name and one column.
-- SPDX-License-Identifier: Apache-2.0
local canvas = require "arvak.circuit.draw_canvas"
local layout = require "arvak.circuit.draw_layout"
local symbols = require "arvak.circuit.draw_symbols"

local M = {}

local LIGHT, DOUBLE = 1, 2
local LABEL_WIDTH, NAME_WIDTH = 30, 24
local MOST_WIRES, MOST_CHARACTERS = 10000, 1000000   -- of a picture: some seconds of work, and 12,500 lines of 80

local marks = {
  unicode = { control = "●", open = "○", x = "⊕", swap = "×", barrier = "░" },
  ascii = { control = "@", open = "o", x = "X", swap = "x", barrier = ":" },
}

local function width_of(value) return #symbols.cells(value) end

-- ---- widths

local function pin_width(box)
  local widest = 0
  for _, pin in pairs(box.pins or {}) do widest = math.max(widest, #pin) end
  return widest
end

-- Of a box with its borders.
local function box_width(box)
  local pins = pin_width(box)
  return width_of(box.label) + 2 + (box.is_tight and 0 or 2) + (pins > 0 and pins or 0)
end

local function item_width(item)
  local width = item.box and box_width(item.box) or 1
  local label = item.drop and item.drop.label
  return math.max(width, label and width_of(label) or 0)
end

local function column_width(column)
  local width = 1
  for _, item in ipairs(column) do width = math.max(width, item_width(item)) end
  return width
end

-- ---- drawing; wire w lies in row 2w, and what is between wires in the rows between

local function draw_frame(page, top, bottom, from, to)
  for row = top + 1, bottom - 1 do
    for column = from + 1, to - 1 do page:blank(row, column) end
    page:cell(row, from).r, page:cell(row, to).l = 0, 0
    for _, column in ipairs { from, to } do
      page:add(row, column, 0, 0, LIGHT, LIGHT)
      if page.is_ascii then page:write(row, column, "|") end
    end
  end
  for column = from, to do   -- a line that reaches the box ends at its frame
    page:cell(top, column).d, page:cell(bottom, column).u = 0, 0
  end
  page:across(top, from, to, LIGHT)
  page:across(bottom, from, to, LIGHT)
  for _, column in ipairs { from, to } do
    page:add(top, column, 0, 0, 0, LIGHT)
    page:add(bottom, column, 0, 0, LIGHT)
  end
end

local function draw_box(page, box, from, to)
  draw_frame(page, 2 * box.first - 1, 2 * box.last + 1, from, to)
  for wire, pin in pairs(box.pins or {}) do page:write(2 * wire, from + 1, pin) end
  local inside, pins = to - from - 1, pin_width(box)
  local start = from + 1 + pins + (inside - pins - width_of(box.label)) // 2
  page:write(box.first + box.last, start, box.label)
end

local function draw_drop(page, drop, center)
  page:down(center, 2 * drop.first, 2 * drop.last, DOUBLE)
  for wire in pairs(drop.hits) do
    if wire < drop.last then page:add(2 * wire, center, 0, 0, DOUBLE, DOUBLE) end
  end
  if drop.label then page:write(2 * drop.last + 1, center - (width_of(drop.label) - 1) // 2, drop.label) end
end

-- Rows of a wire and of the gaps beside it, for barriers.
local function draw_mark(page, item, wire, mark, center, set)
  page:write(2 * wire, center, set[mark])
  if mark ~= "barrier" then return end
  if item.marks[wire + 1] == "barrier" then page:write(2 * wire + 1, center, set[mark]) end
end

local function draw_item(page, item, from, width, set)
  local center = from + (width - 1) // 2
  if item.line then page:down(center, 2 * item.line.first, 2 * item.line.last, LIGHT) end
  if item.drop then draw_drop(page, item.drop, center) end
  if item.box then
    local wide = box_width(item.box)
    local left = center - (wide - 1) // 2
    draw_box(page, item.box, left, left + wide - 1)
  end
  for wire, mark in pairs(item.marks) do draw_mark(page, item, wire, mark, center, set) end
end

-- ---- folding

local function wire_labels(wires, height)
  local labels, widest = {}, 0
  for i = 1, height do
    labels[i] = wires[i].name .. ": "
    widest = math.max(widest, width_of(labels[i]))
  end
  return labels, widest
end

-- Of each column; columns that the picture has no room for are dropped. room: for all of them.
local function measure(view, room)
  local widths, used = {}, 0
  for i, column in ipairs(view.columns) do
    widths[i] = column_width(column)
    used = used + widths[i] + 1
    if i > 1 and used > room then
      view:cut(i)
      break
    end
  end
  return widths
end

-- The first and the last column of each part that fits into a width.
local function fold(columns, widths, room)
  local parts, first, used = {}, 1, 0
  for i = 1, #columns do
    if i > first and used + widths[i] + 1 > room then
      parts[#parts + 1], first, used = { first, i - 1 }, i, 0
    end
    used = used + widths[i] + 1
  end
  parts[#parts + 1] = { first, #columns }
  return parts
end

local function draw_wires(page, view, width, is_first)
  local margin = view.margin
  for i = 1, view.height do
    local wire, label = view.wires[i], view.labels[i]
    page:write(2 * i, margin - width_of(label) + 1, label)
    page:across(2 * i, margin + 1, width, wire.kind == "qubit" and LIGHT or DOUBLE, true)
    if is_first and wire.size then page:write(2 * i, margin + 1, tostring(wire.size) .. "/") end
  end
end

-- How wide the sizes of registers are, which stand before the first column.
local function size_width(wires)
  local widest = 0
  for _, wire in ipairs(wires) do widest = math.max(widest, wire.size and #tostring(wire.size) + 1 or 0) end
  return widest
end

local function draw_part(view, part, is_first)
  local page, set = canvas.new(view.style.ascii), marks[view.style.ascii and "ascii" or "unicode"]
  local column = view.margin + 1 + (is_first and view.sizes or 0)
  local width = column
  for i = part[1], part[2] do width = width + view.widths[i] + 1 end
  draw_wires(page, view, width, is_first)
  for i = part[1], part[2] do
    for _, item in ipairs(view.columns[i]) do
      draw_item(page, item, column + 1, view.widths[i], set)
    end
    column = column + view.widths[i] + 1
  end
  return page
end

local function add_part(lines, page, height)
  if #lines > 0 then lines[#lines + 1] = "" end
  for row = 1, 2 * height + 1 do
    local line = page:row(row)
    if line ~= "" then lines[#lines + 1] = line end
  end
end

local function cut(lines, most, is_ascii)
  for i = #lines, most, -1 do lines[i] = nil end
  lines[most] = is_ascii and "... the circuit goes on" or "… the circuit goes on"
end

-- How many columns are looked at: each takes two characters of each row, and of a short look a part has a line for each
-- qubit at least.
local function bound_columns(known, options)
  return function(height)
    local most = MOST_CHARACTERS // (2 * (2 * height + 1))
    if not options.lines then return most end
    return math.min(most, (options.lines // (known.qubit_count + 1) + 1) * options.width // 2)
  end
end

local function draw_parts(view, options)
  local lines = { view:heading(options.width) }
  for i, part in ipairs(fold(view.columns, view.widths, math.max(1, options.width - view.margin - view.sizes - 1))) do
    add_part(lines, draw_part(view, part, i == 1), view.height)
    if options.lines and #lines > options.lines then break end
  end
  return lines
end

-- The picture. Its last line says what of a large circuit is left out. options: { width =, ascii =, lines = how many at
-- most, or nil }.
function M.draw(known, options)
  local style = {
    ascii = options.ascii, height = math.min(MOST_WIRES, options.lines or MOST_WIRES),
    width = math.max(8, math.min(LABEL_WIDTH, options.width // 2)),
    name_width = math.max(4, math.min(NAME_WIDTH, options.width // 4)),
  }
  local view = layout.layout(known, style, bound_columns(known, options))
  view.labels, view.margin = wire_labels(view.wires, view.height)
  view.sizes = size_width(view.wires)
  view.widths = measure(view, MOST_CHARACTERS // (2 * view.height + 1))
  local lines = draw_parts(view, options)
  lines[#lines + 1] = view:rest(options.width)
  if options.lines and #lines > options.lines then cut(lines, options.lines, options.ascii) end
  return table.concat(lines, "\n")
end

return M
