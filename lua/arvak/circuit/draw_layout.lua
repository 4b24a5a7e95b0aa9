-- Where everything of a picture stands: wires from top to bottom, columns from left to right. Text and SVG draw the
-- same layout.
-- Invariant: an item stands in the first column in which all wires that it spans are free, behind all items that came
-- before it on any of them. Time and memory are bounded by the size of the circuit and by height × max_columns.
--
-- layout = { wires = { { name, kind = "qubit" | "bits", size } … }, height = how many of them are drawn,
--            columns = { { item … } … }, is_cut = whether columns are missing,
--            phase = the sum of global phases, or nil }
-- item   = { first, last = wires that it spans,
--            marks = { [wire] = "control" | "open" | "x" | "swap" | "barrier" },
--            box = { first, last, label, pins = { [wire] = text } or nil, is_tight },
--            line = { first, last } of a gate's wires,
--            drop = { first, last, hits = { [wire] = true }, label } down to bits }
-- SPDX-License-Identifier: Apache-2.0
local expressions = require "arvak.circuit.expressions"
local figures = require "arvak.circuit.figures"
local form = require "arvak.circuit.form"
local parameters = require "arvak.circuit.parameters"
local symbols = require "arvak.circuit.draw_symbols"

local M = {}

-- ---- wires

local function add_register_wires(wires, register, style)
  for i = 0, register.size - 1 do
    local name = register.scalar and register.name or string.format("%s[%d]", register.name, i)
    local is_seen = #wires < style.height
    wires[#wires + 1] = { name = is_seen and symbols.fit(name, style, style.name_width) or "", kind = "qubit" }
  end
end

-- The wires of a form, and where bits and variables are: qubit q is wire q + 1.
local function make_wires(known, style)
  local wires, bit_wire, variable_wire = {}, {}, {}
  for _, register in ipairs(known.qubits) do add_register_wires(wires, register, style) end
  for _, register in ipairs(known.bits) do
    wires[#wires + 1] = { name = symbols.fit(register.name, style, style.name_width), kind = "bits",
      size = not register.scalar and register.size or nil, register = register }
    for b = register.first, register.first + register.size - 1 do bit_wire[b] = #wires end
  end
  for j, variable in ipairs(known.variables) do
    wires[#wires + 1] = { name = symbols.fit(variable.name, style, style.name_width), kind = "bits" }
    variable_wire[j] = #wires
  end
  return wires, bit_wire, variable_wire
end

-- ---- placing

local Layout = {}
Layout.__index = Layout

-- The first wire from this one on that has a column left.
function Layout:next_open(wire)
  local behind = self.behind   -- a full wire → one below it
  while behind[wire] do
    local next_wire = behind[wire]
    behind[wire] = behind[next_wire] or next_wire
    wire = next_wire
  end
  return wire
end

-- Closes these wires: the drawing has no room for anything more on them.
function Layout:fill(first, last)
  self.is_cut = true
  local wire = self:next_open(first)
  while wire <= last do
    self.behind[wire] = wire + 1
    wire = self:next_open(wire + 1)
  end
end

-- Whether no qubit has a column left.
function Layout:is_full()
  return self.is_cut and self:next_open(1) > math.min(self.form.qubit_count, self.height)
end

local function clip_set(set, height)
  for wire in pairs(set or {}) do
    if wire > height then set[wire] = nil end
  end
end

-- Takes off an item what lies below the last wire that is drawn. Its lines and boxes go on to the edge.
local function clip(item, height)
  local edge, box, drop = height + 1, item.box, item.drop
  clip_set(item.marks, height)
  if item.line then item.line.last = math.min(item.line.last, edge) end
  if box then
    clip_set(box.pins, height)
    box.last = math.min(box.last, edge)
    if box.first > height then item.box = nil end
  end
  if drop then
    clip_set(drop.hits, height)
    if drop.last > height then drop.last, drop.label = edge, nil end
    if drop.first > height then item.drop = nil end
  end
end

-- The first column that is free on all these wires, or nil where none of those that are drawn is.
function Layout:free_column(first, last)
  local fronts, column = self.fronts, 1
  if self.behind[first] or self.behind[last] then return nil end
  for wire = first, last do
    if fronts[wire] > column then column = fronts[wire] end
  end
  return column <= self.max_columns and column or nil
end

-- Puts an item into the first column that is free. What lies below the last wire or behind the last column is dropped.
function Layout:place(item)
  local first, last = item.first, math.min(item.last, self.height)
  if first > last then return end
  local column = self:free_column(first, last)
  if not column then return self:fill(first, last) end
  for wire = first, last do self.fronts[wire] = column + 1 end
  if column == self.max_columns then
    for wire = first, last do self.behind[wire] = wire + 1 end
  end
  if item.last > last then clip(item, self.height) end
  for i = #self.columns + 1, column do self.columns[i] = {} end
  table.insert(self.columns[column], item)
end

-- ---- items

local function span(list)
  local first, last = math.huge, 0
  for _, wire in ipairs(list) do first, last = math.min(first, wire), math.max(last, wire) end
  return first, last
end

-- A line from an item down to bits, with a label below the last of them, which takes the room above the next wire.
function Layout:drop_to(item, hits, label)
  local last, set = item.last, {}
  for _, wire in ipairs(hits) do
    last, set[wire] = math.max(last, wire), true
  end
  item.drop = {
    first = item.last, last = last, hits = set, label = label and symbols.fit(label, self.style, self.style.width),
  }
  item.last = math.min(last + 1, #self.wires)
end

local function mark_controls(item, read, wires)
  for i, is_positive in ipairs(read.controls) do item.marks[wires[i]] = is_positive and "control" or "open" end
end

-- What a gate acts on behind its controls.
local function add_target(item, read, wires)
  local first = #read.controls + 1
  if first > #wires then   -- a controlled global phase: the last control carries it
    first = #wires
    if item.marks[wires[first]] == "open" then read.label = read.label .. " if 0" end
    item.marks[wires[first]] = nil
  end
  if read.symbol then
    for i = first, #wires do item.marks[wires[i]] = read.symbol == "z" and "control" or read.symbol end
    return
  end
  local box = { label = read.label }
  box.first, box.last = span(table.move(wires, first, #wires, 1, {}))
  if box.first < box.last then
    box.pins = {}
    for i = first, #wires do box.pins[wires[i]] = tostring(i - first) end
  end
  item.box = box
  for i = 1, first - 1 do   -- a control between the qubits of a box stands in the box
    local wire = wires[i]
    if wire > box.first and wire < box.last then
      box.pins[wire] = item.marks[wire] == "open" and "o" or "@"
      item.marks[wire] = nil
    end
  end
end

-- A gate without qubits: a global phase, to some power.
function Layout:add_phase(op)
  local angle = op[2]
  for _, modifier in ipairs(op[1].modifiers or {}) do
    local factor = modifier[1] == "inv" and -1 or modifier[2]
    angle = type(angle) == "number" and angle * factor or { "*", angle, factor }
  end
  local sum = self.phase
  self.phase = not sum and angle or type(sum) == "number" and type(angle) == "number" and sum + angle
    or { "+", sum, angle }
end

-- The line above a picture, or nil.
function Layout:heading(width)
  if not self.phase then return nil end
  local angle = parameters.label(self.phase, symbols.is_plain(self.style) and "pi" or "π")
  return symbols.fit("global phase: " .. angle, self.style, width)
end

function Layout:gate_item(op)
  local gate, wires = op[1], {}
  for i = gate.params + 2, #op do wires[#wires + 1] = op[i] + 1 end
  if #wires == 0 then return self:add_phase(op) end
  local read = symbols.read(op, self.style)
  local item = { marks = {} }
  item.first, item.last = span(wires)
  item.line = { first = item.first, last = item.last }
  mark_controls(item, read, wires)
  add_target(item, read, wires)
  return item
end

function Layout:target_of(target)
  if type(target) == "table" and target.var then return self.variable_wire[target.var] end
  local b = type(target) == "table" and target.bit or target
  local wire = self.bit_wire[b]
  local register = self.wires[wire].register
  return wire, not register.scalar and tostring(b - register.first) or nil
end

function Layout:measure_item(op)
  local wire = op[2] + 1
  local box = { first = wire, last = wire, label = "M", is_tight = true }
  local item = { first = wire, last = wire, marks = {}, box = box }
  if op[3] ~= nil then
    local to, label = self:target_of(op[3])
    self:drop_to(item, { to }, label)
  end
  return item
end

function Layout:reset_item(op)
  local wire = op[2] + 1
  local label = symbols.is_plain(self.style) and "|0>" or "|0⟩"
  local box = { first = wire, last = wire, label = label, is_tight = true }
  return { first = wire, last = wire, marks = {}, box = box }
end

function Layout:barrier_item(op)
  local item, wires = { marks = {} }, {}
  if #op == 1 then   -- of all qubits
    for wire = 1, math.min(self.form.qubit_count, self.height) do wires[wire] = wire end
  end
  for i = 2, #op do wires[i - 1] = op[i] + 1 end
  for _, wire in ipairs(wires) do item.marks[wire] = "barrier" end
  if #wires == 0 then return nil end
  item.first, item.last = span(wires)
  return item
end

-- The wires of the bits and variables in an expression.
function Layout:wires_in(expr)
  local wires, seen = {}, {}
  local function add(wire)
    if not seen[wire] then wires[#wires + 1], seen[wire] = wire, true end
  end
  expressions.visit(expr, function(b) add(self.bit_wire[b]) end, function(j) add(self.variable_wire[j]) end)
  return wires
end

function Layout:assign_item(op)
  local to, place = self:target_of(op[2].bit or op[2])
  local label = string.format("%s = %s", self.wires[to].name .. (place and "[" .. place .. "]" or ""),
    expressions.label(op[3], self.form))
  local item = { marks = {} }
  local wires = self:wires_in(op[3])
  wires[#wires + 1] = to
  item.first, item.last = span(wires)
  item.box = { first = to, last = to, label = symbols.fit(label, self.style, self.style.width) }
  return item
end

-- ---- conditions

-- The value that a bit or a register is compared with, as it stands below the register's wire; nil for other
-- conditions.
function Layout:short_test(test)
  local left, value = test, 1
  if type(test) == "table" and test[1] == "==" and type(test[3]) == "number" then left, value = test[2], test[3] end
  if type(left) ~= "table" or (left[1] ~= "reg" and left[1] ~= "bit") then return nil end
  local register = self.wires[self.bit_wire[left[2]]].register
  local size = left[1] == "reg" and left[3] or 1
  if left[2] == register.first and size == register.size then return "=" .. value end
  if size ~= 1 then return nil end
  return string.format("[%d]=%d", left[2] - register.first, value)
end

-- A single gate or reset under a condition is drawn with a line down to the bits.
function Layout:place_conditional(op)
  local body, wires = op[3], self:wires_in(op[2])
  local inner = body.n == 1 and not op[4] and body[1]
  if not inner or #wires == 0 or not (type(inner[1]) == "table" or inner[1] == form.RESET) then return false end
  local item = inner[1] == form.RESET and self:reset_item(inner) or type(inner[1]) == "table" and self:gate_item(inner)
  if item then
    self:drop_to(item, wires, self:short_test(op[2]) or expressions.label(op[2], self.form))
    self:place(item)
  end
  return true
end

-- The wires from the first to the last that a block uses, those of qubits only where there are any.
function Layout:extent(blocks)
  local qubits, bits = {}, {}
  figures.each_wire({ block = blocks, qubit_count = self.form.qubit_count, bit_count = self.form.bit_count },
    function(wire)
      local n = self.form.qubit_count
      if wire < n then
        qubits[#qubits + 1] = wire + 1
      elseif wire < n + self.form.bit_count then
        bits[#bits + 1] = self.bit_wire[wire - n]
      else
        bits[#bits + 1] = self.variable_wire[wire - n - self.form.bit_count]
      end
    end)
  if #qubits > 0 then return span(qubits) end
  if #bits > 0 then return span(bits) end
end

-- A box over all wires of a condition's bodies: where it begins, changes over and ends.
function Layout:place_fence(label, first, last, also)
  local item = { first = first, last = last, marks = {} }
  for _, wire in ipairs(also) do item.first, item.last = math.min(item.first, wire), math.max(item.last, wire) end
  item.box = { first = first, last = last, label = symbols.fit(label, self.style, self.style.width), is_fence = true }
  self:place(item)
end

function Layout:place_if(op)
  if self:place_conditional(op) then return end
  local first, last = self:extent { n = 1, op }
  if not first then return end   -- constants alone
  local also = self:wires_in(op[2])
  self:place_fence("if " .. expressions.label(op[2], self.form), first, last, also)
  self:place_block(op[3])
  if op[4] then
    self:place_fence("else", first, last, {})
    self:place_block(op[4])
  end
  self:place_fence("end", first, last, {})
end

local makers = {
  [form.MEASURE] = Layout.measure_item, [form.RESET] = Layout.reset_item, [form.BARRIER] = Layout.barrier_item,
  [form.ASSIGN] = Layout.assign_item,
}

-- Whether a gate lies behind the last column that is drawn, as most of a long circuit do in a short look.
function Layout:is_beyond(op)
  local gate, behind = op[1], self.behind
  if not self.is_cut or type(gate) ~= "table" then return false end
  local first, last, is_beyond = math.huge, 0, false
  for i = gate.params + 2, #op do
    local wire = op[i] + 1
    if wire < first then first = wire end
    if wire > last then last = wire end
    is_beyond = is_beyond or behind[wire] ~= nil
  end
  if is_beyond then self:fill(first, math.min(last, self.height)) end
  return is_beyond
end

function Layout:place_block(block)
  for i = 1, block.n do
    local op = block[i]
    if op[1] == form.IF then
      self:place_if(op)
    elseif not self:is_beyond(op) then
      local item = (makers[op[1]] or Layout.gate_item)(self, op)
      if item then self:place(item) end
    end
    if self:is_full() then return end
  end
end

-- Drops columns from this one on.
function Layout:cut(column)
  for i = #self.columns, column, -1 do self.columns[i] = nil end
  self.is_cut = true
end

-- What a picture leaves out, in a line of this width; nil where it is whole.
function Layout:rest(width)
  local parts = {}
  if self.height < #self.wires then
    parts[1] = string.format("the first %d of %d wires", self.height, #self.wires)
  end
  if self.is_cut then parts[#parts + 1] = string.format("the first %d columns", #self.columns) end
  if #parts == 0 then return nil end
  local dots = self.style.ascii and "..." or "…"
  return symbols.fit(dots .. " the circuit goes on behind " .. table.concat(parts, " and "), self.style, width)
end

-- style: { ascii, width = of a label at most, name_width, height = how many wires are drawn at most }
-- max_columns: how many are drawn at most of so many wires: a function.
function M.layout(known, style, max_columns)
  local layout = setmetatable({
    form = known, style = style, columns = {}, fronts = {}, behind = {}, is_cut = false,
  }, Layout)
  layout.wires, layout.bit_wire, layout.variable_wire = make_wires(known, style)
  layout.height = math.min(#layout.wires, style.height)
  layout.max_columns = math.max(1, max_columns(layout.height))
  for wire = 1, layout.height do layout.fronts[wire] = 1 end
  layout:place_block(known.block)
  return layout
end

return M
