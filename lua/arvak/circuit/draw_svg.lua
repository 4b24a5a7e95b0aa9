-- A circuit as a picture in SVG, in the colors that its reader prefers, light or dark.
-- Invariant: the picture needs nothing from outside (no font, script, style or image), and all text in it is escaped.
-- SPDX-License-Identifier: Apache-2.0
local layout = require "arvak.circuit.draw_layout"
local symbols = require "arvak.circuit.draw_symbols"

local M = {}

-- In pixels; whole numbers, which look the same in every locale.
local CHAR, PITCH, BOX, GAP, MARGIN, PART_GAP = 8, 46, 30, 14, 16, 22
local LABEL_WIDTH, NAME_WIDTH = 30, 24
local MOST_WIRES, MOST_SHAPES = 10000, 200000   -- of items, and as many of wires: what a browser can show

local STYLE = [[
  svg { --page: #ffffff; --ink: #1f2430; --wire: #6b7280; --bits: #7c8594; --box: #e8f0fe; --edge: #2f6fdb;
    --plain: #f4f5f7; --fence: #fff7e0; --fence-edge: #b7791f; --line: #2f6fdb; }
  @media (prefers-color-scheme: dark) {
    svg { --page: #14171c; --ink: #e6e9ef; --wire: #8a93a3; --bits: #79828f; --box: #1d2c4a; --edge: #7aa7ff;
      --plain: #262b33; --fence: #332b16; --fence-edge: #e0b050; --line: #7aa7ff; }
  }
  .page { fill: var(--page); }
  text { font: 13px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
  text { fill: var(--ink); text-anchor: middle; }
  .name { text-anchor: end; }
  .small { font-size: 11px; }
  .left { text-anchor: start; }
  .wire { stroke: var(--wire); stroke-width: 1; }
  .bits { stroke: var(--bits); stroke-width: 1; }
  .gate { fill: var(--box); stroke: var(--edge); stroke-width: 1; }
  .plain { fill: var(--plain); stroke: var(--wire); stroke-width: 1; }
  .fence { fill: var(--fence); stroke: var(--fence-edge); stroke-width: 1; stroke-dasharray: 4 3; }
  .line { stroke: var(--line); stroke-width: 2; fill: none; }
  .dot { fill: var(--line); }
  .open { fill: var(--page); stroke: var(--line); stroke-width: 2; }
  .drop { stroke: var(--bits); stroke-width: 1; fill: none; }
  .hit { fill: var(--bits); }
  .meter { stroke: var(--ink); stroke-width: 1; fill: none; }
  .barrier { stroke: var(--wire); stroke-width: 2; stroke-dasharray: 3 4; }
]]

local entities = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }
local function escape(value) return (string.gsub(value, '[&<>"]', entities)) end

local function width_of(value) return #symbols.cells(value) * CHAR end

-- ---- shapes, into a list of lines

local Page = {}
Page.__index = Page

function Page:add(format, ...) self[#self + 1] = string.format(format, ...) end

function Page:text(x, y, value, class)
  self:add('<text x="%d" y="%d"%s>%s</text>', x, y, class and ' class="' .. class .. '"' or "", escape(value))
end

function Page:line(x1, y1, x2, y2, class)
  self:add('<line x1="%d" y1="%d" x2="%d" y2="%d" class="%s"/>', x1, y1, x2, y2, class)
end

local function box_width(box)
  if box.is_tight then return math.max(BOX, width_of(box.label) + 10) end
  return math.max(BOX, width_of(box.label) + 14 + (box.pins and 2 * CHAR or 0))
end

local function item_width(item)
  local label = item.drop and item.drop.label
  return math.max(item.box and box_width(item.box) or 20, label and width_of(label) or 0)
end

local function column_width(column)
  local width = 20
  for _, item in ipairs(column) do width = math.max(width, item_width(item)) end
  return width
end

-- ---- items; wire w of a part lies at y(w)

-- The wire behind the last one is the edge of the part.
function Page:y(wire)
  if wire > self.wire_count then return self.top + PITCH * self.wire_count end
  return self.top + PITCH * (wire - 1) + PITCH // 2
end

function Page:meter(x, y)
  self:add('<path d="M %d %d A 8 8 0 0 1 %d %d" class="meter"/>', x - 8, y + 5, x + 8, y + 5)
  self:line(x, y + 5, x + 6, y - 6, "meter")
end

function Page:box(box, x)
  local width, y1, y2 = box_width(box), self:y(box.first) - BOX // 2, self:y(box.last) + BOX // 2
  local class = box.is_fence and "fence" or (box.is_tight or box.first > self.qubit_count) and "plain" or "gate"
  self:add('<rect x="%d" y="%d" width="%d" height="%d" rx="4" class="%s"/>', x - width // 2, y1, width, y2 - y1, class)
  if box.label == "M" and box.is_tight then return self:meter(x, y1 + BOX // 2) end
  for wire, pin in pairs(box.pins or {}) do
    self:text(x - width // 2 + 5, self:y(wire) + 4, pin, "small left")
  end
  self:text(x + (box.pins and CHAR or 0), (y1 + y2) // 2 + 5, box.label)
end

function Page:drop(drop, x)
  local y1, y2 = self:y(drop.first), self:y(drop.last)
  self:line(x - 1, y1, x - 1, y2, "drop")
  self:line(x + 2, y1, x + 2, y2, "drop")
  for wire in pairs(drop.hits) do
    self:add('<circle cx="%d" cy="%d" r="4" class="hit"/>', x, self:y(wire))
  end
  if drop.label then self:text(x, y2 + 18, drop.label, "small") end
end

local marks = {}

function marks.control(page, x, y) page:add('<circle cx="%d" cy="%d" r="5" class="dot"/>', x, y) end

function marks.open(page, x, y) page:add('<circle cx="%d" cy="%d" r="5" class="open"/>', x, y) end

function marks.x(page, x, y)
  page:add('<circle cx="%d" cy="%d" r="10" class="open"/>', x, y)
  page:line(x - 10, y, x + 10, y, "line")
  page:line(x, y - 10, x, y + 10, "line")
end

function marks.swap(page, x, y)
  page:line(x - 6, y - 6, x + 6, y + 6, "line")
  page:line(x - 6, y + 6, x + 6, y - 6, "line")
end

function marks.barrier(page, x, y) page:line(x, y - PITCH // 2, x, y + PITCH // 2, "barrier") end

local function sorted_wires(set)
  local list = {}
  for wire in pairs(set) do list[#list + 1] = wire end
  table.sort(list)
  return list
end

function Page:item(item, x)
  if item.line then self:line(x, self:y(item.line.first), x, self:y(item.line.last), "line") end
  if item.drop then self:drop(item.drop, x) end
  if item.box then self:box(item.box, x) end
  for _, wire in ipairs(sorted_wires(item.marks)) do marks[item.marks[wire]](self, x, self:y(wire)) end
end

function Page:wires(wires, left, right)
  for i = 1, self.wire_count do
    local wire, y = wires[i], self:y(i)
    self:text(left - 8, y + 4, wire.name .. (wire.size and "/" .. wire.size or ""), "name")
    if wire.kind == "qubit" then
      self:line(left, y, right, y, "wire")
    else
      self:line(left, y - 1, right, y - 1, "bits")
      self:line(left, y + 2, right, y + 2, "bits")
    end
  end
end

-- ---- the picture

-- How many shapes these items are, at most.
local function count_shapes(column)
  local count = 0
  for _, item in ipairs(column) do
    count = count + 8   -- a line, a box with its words, a drop with its own
    for _ in pairs(item.marks) do count = count + 3 end
    for _ in pairs(item.box and item.box.pins or {}) do count = count + 1 end
  end
  return count
end

-- Of each column; columns that the picture has no room for are dropped.
local function measure(view)
  local widths, shapes = {}, 0
  for i, column in ipairs(view.columns) do
    widths[i], shapes = column_width(column), shapes + count_shapes(column)
    if i > 1 and shapes > MOST_SHAPES then
      view:cut(i)
      break
    end
  end
  return widths
end

-- The first and the last column of each part, and its width. The wires of each part are shapes, too.
local function fold(view, room)
  local parts, first, used, widths = {}, 1, GAP, view.widths
  local most = math.max(1, MOST_SHAPES // (3 * view.height + 1))
  for i = 1, #view.columns do
    if i > first and used + widths[i] + GAP > room then
      parts[#parts + 1] = { first, i - 1, used }
      if #parts == most then
        view:cut(i)
        return parts
      end
      first, used = i, GAP
    end
    used = used + widths[i] + GAP
  end
  parts[#parts + 1] = { first, #view.columns, used }
  return parts
end

local function name_width(wires, count)
  local widest = 0
  for i = 1, count do
    widest = math.max(widest, width_of(wires[i].name .. (wires[i].size and "/" .. wires[i].size or "")))
  end
  return widest
end

-- A line of words above or below the parts, if there are any.
local function draw_words(page, words)
  if not words then return end
  page:text(MARGIN, page.top + 12, words, "left")
  page.top = page.top + 24
end

local function draw_parts(page, view, left)
  local right = left
  for _, part in ipairs(view.parts) do
    page:wires(view.wires, left, left + part[3])
    local x = left + GAP
    for i = part[1], part[2] do
      for _, item in ipairs(view.columns[i]) do page:item(item, x + view.widths[i] // 2) end
      x = x + view.widths[i] + GAP
    end
    right = math.max(right, left + part[3])
    page.top = page.top + PITCH * view.height + PART_GAP
  end
  return right
end

-- The text of an SVG file, and what it leaves out of a large circuit, in words, which its last line says as well; else
-- nil. width: pixels at most, as long as a column fits.
function M.draw(known, width)
  local style = { ascii = false, width = LABEL_WIDTH, name_width = NAME_WIDTH, height = MOST_WIRES }
  local view = layout.layout(known, style, function(height) return MOST_SHAPES // math.max(1, height) end)
  local page = setmetatable({ top = MARGIN, qubit_count = known.qubit_count, wire_count = view.height }, Page)
  local left = MARGIN + name_width(view.wires, view.height) + 8
  view.widths = measure(view)
  view.parts = fold(view, width - left - MARGIN)
  draw_words(page, view:heading(width // CHAR))
  local right, rest = draw_parts(page, view, left) + MARGIN, view:rest(width // CHAR)
  draw_words(page, rest)
  local height = page.top - PART_GAP + MARGIN
  local head = string.format([[
<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img">
<title>Quantum circuit with %d qubits</title>
<style>
%s</style>
<rect width="100%%" height="100%%" class="page"/>
]], right, height, right, height, known.qubit_count, STYLE)
  return head .. table.concat(page, "\n") .. "\n</svg>\n", rest
end

return M
