-- The text that the service takes, written operation by operation. An angle that is not bound yet leaves a gap, and the
-- text is then a template, which is filled in without lowering again.
-- Invariant: a number reads back to the same number; every text ends with the measurement of all wires.
-- SPDX-License-Identifier: Apache-2.0
local parameters = require "arvak.circuit.parameters"
local refuse = require "arvak.circuit.refuse"
local text = require "arvak.base.text"

local M = {}
local Writer = {}
Writer.__index = Writer

local names = setmetatable({}, { __index = function(known, wire)
  local name = "q[" .. wire .. "]"
  known[wire] = name
  return name
end })

local FORMAT = "%.17g"

local function refuse_number(value)
  refuse("an angle that is %s, expected a finite number", value ~= value and "not a number" or "infinite")
end

-- A function that writes a number in the locale of this moment, with a point.
local function number_format()
  return text.decimal_point() == "." and string.format or text.format_number
end

-- pieces: strings and, where an angle is open, expressions. operations: how many were written. widest: 2 as soon as one
-- of them is on several wires. inverted: wire → the place of an x that is the last thing written on it (see invert).
function M.new()
  return setmetatable({
    pieces = {}, n = 0, operations = 0, widest = 1, resets = 0, has_gaps = false, numbers = {}, inverted = {},
    format = number_format(),
  }, Writer)
end

-- A number, for the text.
function Writer:number(value)
  local number = self.numbers[value]
  if not number then
    if value - value ~= 0 then refuse_number(value) end
    number = self.format(FORMAT, value)
    self.numbers[value] = number
  end
  return number
end

local function add(self, piece)
  local n = self.n + 1
  self.pieces[n], self.n = piece, n
end

-- A whole line: the name with its angles and a blank, and one to three wires.
function Writer:line(head, a, b, c)
  local operands, inverted = names[a], self.inverted
  inverted[a] = nil
  if b then
    operands, inverted[b] = operands .. "," .. names[b], nil
    if self.widest < 2 then self.widest = 2 end
    if c then operands, inverted[c] = operands .. "," .. names[c], nil end
  end
  add(self, head .. operands .. ";\n")
  self.operations = self.operations + 1
end

-- The name with its angles, up to the operands.
local function with_angles(self, name, angles)
  local head = name .. "("
  for i, angle in ipairs(angles) do
    if i > 1 then head = head .. "," end
    if type(angle) == "number" then
      head = head .. self:number(angle)
    else
      add(self, head)
      add(self, angle)
      head, self.has_gaps = "", true
    end
  end
  return head .. ") "
end

function Writer:one(name, wire) self:line(name .. " ", wire) end
function Writer:two(name, a, b) self:line(name .. " ", a, b) end
function Writer:three(name, a, b, c) self:line(name .. " ", a, b, c) end

function Writer:reset(wire)
  self:one("reset", wire)
  self.resets = self.resets + 1
end

-- A gate with angles (a list) on one wire or two.
function Writer:turn(name, angles, a, b) self:line(with_angles(self, name, angles), a, b) end

-- Inverts a wire, before and after it serves as a control that must be 0. Two such x with nothing on the wire between
-- them are none.
function Writer:invert(wire)
  local place = self.inverted[wire]
  if place then
    self.pieces[place], self.inverted[wire], self.operations = "", nil, self.operations - 1
    return
  end
  self:one("x", wire)
  self.inverted[wire] = self.n
end

function Writer:barrier(wires)
  local operands = {}
  for i, wire in ipairs(wires) do operands[i] = names[wire] end
  add(self, "barrier " .. table.concat(operands, ",") .. ";\n")
  self.operations = self.operations + 1
end

local HEAD = 'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit[%d] q;\nbit[%d] m;\n'
local TAIL = "m = measure q;\n"

-- The whole text for so many wires; of a template its pieces, strings and expressions by turns.
function Writer:finish(wires)
  local head = string.format(HEAD, wires, wires)
  if not self.has_gaps then return head .. table.concat(self.pieces, "", 1, self.n) .. TAIL end
  local joined, from = {}, 1
  for i = 1, self.n do
    if type(self.pieces[i]) == "table" then
      joined[#joined + 1] = table.concat(self.pieces, "", from, i - 1)
      joined[#joined + 1], from = self.pieces[i], i + 1
    end
  end
  joined[#joined + 1] = table.concat(self.pieces, "", from, self.n) .. TAIL
  joined[1] = head .. joined[1]
  return joined
end

-- The text of a template with values (name → number) in its gaps.
function M.fill(pieces, values)
  local filled, known, substitute = {}, {}, parameters.substitute
  local format = number_format()
  for i = 1, #pieces, 2 do
    filled[i] = pieces[i]
    local gap = pieces[i + 1]
    local number = gap and known[gap]
    if gap and not number then
      local angle = substitute(gap, values)
      if type(angle) ~= "number" then refuse("an angle that is not bound") end
      if angle - angle ~= 0 then refuse_number(angle) end
      number = format(FORMAT, angle)
      known[gap] = number
    end
    filled[i + 1] = number
  end
  return table.concat(filled)
end

return M
