-- What a form means, and what a written text means, computed by branching: each measurement and reset splits the state.
-- Written for itself: it shares nothing with the lowering that it judges, but for the shape of forms.
-- SPDX-License-Identifier: Apache-2.0
local quantum = require "spec.support.quantum"

local M = {}

-- ---- angles and classical expressions

local function angle_of(angle, arguments)
  if type(angle) == "number" then return angle end
  local operator, a, b = angle[1], angle[2], angle[3]
  if operator == "param" then return arguments[a] end
  a, b = angle_of(a, arguments), b and angle_of(b, arguments)
  if operator == "neg" then return -a end
  if operator == "+" then return a + b elseif operator == "-" then return a - b end
  if operator == "*" then return a * b elseif operator == "/" then return a / b end
  return math[operator](a)
end

local function truth(value) return value ~= 0 and value ~= false end
local function number(value)
  if value == true then return 1 elseif value == false then return 0 end
  return value
end

local function truncated(a, b)
  local q = math.abs(a) // math.abs(b)
  return (a < 0) ~= (b < 0) and -q or q
end

local operators = {
  ["=="] = function(a, b) return a == b end, ["!="] = function(a, b) return a ~= b end,
  ["<"] = function(a, b) return a < b end, ["<="] = function(a, b) return a <= b end,
  [">"] = function(a, b) return a > b end, [">="] = function(a, b) return a >= b end,
  ["+"] = function(a, b) return a + b end, ["-"] = function(a, b) return a - b end,
  ["*"] = function(a, b) return a * b end, ["/"] = truncated,
  ["%"] = function(a, b) return a - truncated(a, b) * b end, ["&"] = function(a, b) return a & b end,
  ["|"] = function(a, b) return a | b end, ["^"] = function(a, b) return a ~ b end,
  ["<<"] = function(a, b) return a << b end, [">>"] = function(a, b) return a >> b end,
  ["&&"] = function(a, b) return truth(a) and truth(b) end, ["||"] = function(a, b) return truth(a) or truth(b) end,
  ["index"] = function(a, b) return a >> b & 1 end,
}

local function cast(value, type, width)
  if type == "bool" then return value ~= 0 and 1 or 0 end
  value = value & ((1 << width) - 1)
  if type == "int" and value >> (width - 1) & 1 == 1 then value = value - (1 << width) end
  return value
end

local evaluate

local unary = {
  ["not"] = function(a) return not truth(a) end, neg = function(a) return -a end,
  ["~"] = function(a, width) return ~a & ((1 << width) - 1) end, cast = cast,
  popcount = function(a)
    local count = 0
    while a ~= 0 do a, count = a & a - 1, count + 1 end
    return count
  end,
}

function evaluate(expression, branch)
  if type(expression) ~= "table" then return number(expression) end
  local operator, a, b = expression[1], expression[2], expression[3]
  if operator == "bit" then return branch.bits[a] or 0 end
  if operator == "var" then return branch.variables[a] or 0 end
  if operator == "reg" then
    local value = 0
    for i = 0, b - 1 do value = value | (branch.bits[a + i] or 0) << i end
    return value
  end
  a = evaluate(a, branch)
  if unary[operator] then return number(unary[operator](a, b, expression[4])) end
  return number(operators[operator](a, evaluate(b, branch)))
end

-- ---- gates

local matrix_of

-- A matrix of a gate's qubits as one of all qubits of a body: its columns are the images of basis states.
local function widened(m, operands, qubits)
  local size, wide = 1 << qubits, {}
  for row = 1, size do wide[row] = {} end
  local places = {}
  for i, operand in ipairs(operands) do places[i] = qubits - 1 - operand end
  for column = 0, size - 1 do
    local state = quantum.state(qubits)
    state.re[1] = 0
    state.re[column + 1] = 1
    quantum.apply(state, m, places)
    for row = 1, size do wide[row][column + 1] = { state.re[row], state.im[row] } end
  end
  return wide
end

local function body_matrix(gate, angles, version)
  local m = quantum.identity(1 << gate.qubits)
  for i = 1, gate.body.n do
    local op = gate.body[i]
    local inner = op[1]
    if type(inner) == "table" then
      local inner_angles, operands = {}, {}
      for k = 1, inner.params do inner_angles[k] = angle_of(op[k + 1], angles) end
      for k = 1, inner.qubits do operands[k] = op[1 + inner.params + k] end
      m = quantum.product(widened(matrix_of(inner, inner_angles, version), operands, gate.qubits), m)
    end
  end
  return m
end

local function phased(m, angle) return quantum.product(m, quantum.tensor(quantum.gate("gphase", angle),
  quantum.identity(#m))) end

local function plain_matrix(gate, angles, version)
  if not gate.library then return body_matrix(gate, angles, version) end
  local m = quantum.gate(gate.name, table.unpack(angles))
  local n = #angles
  if version == 3 and (gate.name == "u2" or gate.name == "u3") then
    m = phased(m, -(angles[n] + angles[n - 1]) / 2)
  end
  return m
end

-- Of swap and its powers: they turn the phase of the state 01 - 10 alone.
local function swapped(m, exponent)
  local turn = { m[2][2][1] - m[2][3][1], m[2][2][2] - m[2][3][2] }
  local part = quantum.powered_phase(turn, exponent)
  local same, other = { (1 + part[1]) / 2, part[2] / 2 }, { (1 - part[1]) / 2, -part[2] / 2 }
  local power = quantum.identity(4)
  power[2][2], power[3][3], power[2][3], power[3][2] = same, same, other, other
  local back = quantum.identity(4)
  local x = { (1 + turn[1]) / 2, turn[2] / 2 }
  back[2][2], back[3][3], back[2][3], back[3][2] = x, x, { 1 - x[1], -x[2] }, { 1 - x[1], -x[2] }
  assert(quantum.distance(m, back) < 1e-9, "no root is known")
  return power
end

-- Principal powers: of one qubit, of what is such a gate under controls, and of swap.
local powered
function powered(m, exponent)
  if math.type(exponent) == "integer" or exponent == math.floor(exponent) then
    return quantum.whole_power(m, math.tointeger(exponent))
  end
  if #m == 1 then   -- a factor
    local wide = quantum.root(quantum.tensor(m, quantum.identity(2)), exponent)
    return { { wide[1][1] } }
  end
  if #m == 2 then return quantum.root(m, exponent) end
  local half = #m // 2
  local function block(from)
    local part = {}
    for i = 1, half do part[i] = table.move(m[from + i], from + 1, from + half, 1, {}) end
    return part
  end
  local low, high = block(0), block(half)
  if quantum.distance(low, quantum.identity(half)) < 1e-9 then return quantum.controlled(powered(high, exponent), 1) end
  if quantum.distance(high, quantum.identity(half)) < 1e-9 then return quantum.controlled(powered(low, exponent), 0) end
  if math.abs(m[2][3][1]) + math.abs(m[2][3][2]) > 1e-9 then return swapped(m, exponent) end
  local exchange = quantum.gate "swap"   -- the control is the second operand
  local turned = quantum.product(exchange, quantum.product(m, exchange))
  return quantum.product(exchange, quantum.product(powered(turned, exponent), exchange))
end

-- The matrix of a gate of a form.
function matrix_of(gate, angles, version)
  local m = plain_matrix(gate.base or gate, angles, version)
  for i = #(gate.modifiers or ""), 1, -1 do
    local kind, value = gate.modifiers[i][1], gate.modifiers[i][2]
    if kind == "inv" then m = quantum.adjoint(m) end
    if kind == "pow" then m = powered(m, value) end
    for _ = 1, (kind == "ctrl" or kind == "negctrl") and value or 0 do
      m = quantum.controlled(m, kind == "ctrl" and 1 or 0)
    end
  end
  return m
end
M.matrix = matrix_of

-- ---- forms

local function clone(branch, state)
  local copy = { state = state, bits = {}, variables = {}, measured = branch.measured }
  for bit, value in pairs(branch.bits) do copy.bits[bit] = value end
  for index, value in pairs(branch.variables) do copy.variables[index] = value end
  return copy
end

local function split(branch, qubit, go)
  local branches = {}
  for value = 0, 1 do
    local state, weight = quantum.project(branch.state, qubit, value)
    if weight > 1e-14 then
      local part = clone(branch, state)
      go(part, value)
      branches[#branches + 1] = part
    end
  end
  return branches
end

local function run_gate(op, branch, form, matrices)
  local gate, angles, operands = op[1], {}, {}
  for i = 1, gate.params do angles[i] = angle_of(op[i + 1], {}) end
  for i = 1, gate.qubits do operands[i] = op[1 + gate.params + i] end
  matrices[op] = matrices[op] or matrix_of(gate, angles, form.version)
  quantum.apply(branch.state, matrices[op], operands)
end

local function has_reset(block)
  for i = 1, block.n do
    if block[i][1] == "reset" or type(block[i][1]) == "table" and block[i][1].body and has_reset(block[i][1].body) then
      return true
    end
  end
end

local run_block

-- A body with resets is run operation by operation, on the qubits of the call.
local function run_body(op, branches, form, matrices, run)
  local gate, angles = op[1], {}
  for i = 1, gate.params do angles[i] = angle_of(op[i + 1], {}) end
  for i = 1, gate.body.n do
    local inner = gate.body[i]
    local copy, params = { inner[1] }, type(inner[1]) == "table" and inner[1].params or 0
    for k = 1, params do copy[k + 1] = angle_of(inner[k + 1], angles) end
    for k = params + 2, #inner do copy[k] = op[1 + gate.params + inner[k] + 1] end
    branches = run(copy, branches, form, matrices)
  end
  return branches
end

local function run_op(op, branches, form, matrices)
  local kind, all = op[1], {}
  if type(kind) == "table" and kind.body and has_reset(kind.body) then
    return run_body(op, branches, form, matrices, run_op)
  end
  for _, branch in ipairs(branches) do
    local parts = { branch }
    if kind == "measure" then
      parts = split(branch, op[2], function(part, value)
        part.measured = true
        if math.type(op[3]) then part.bits[op[3]] = value elseif op[3] then part.variables[op[3].var] = value end
      end)
    elseif kind == "reset" then
      parts = split(branch, op[2], function(part, value)
        if value == 1 then quantum.apply(part.state, quantum.gate "x", { op[2] }) end
      end)
    elseif kind == "assign" then
      local value = evaluate(op[3], branch)
      if op[2].bit then branch.bits[op[2].bit] = truth(value) and 1 or 0 else branch.variables[op[2].var] = value end
    elseif kind == "if" then
      local body = truth(evaluate(op[2], branch)) and op[3] or not truth(evaluate(op[2], branch)) and op[4]
      if body then parts = run_block(body, { branch }, form, matrices) end
    elseif kind ~= "barrier" then
      run_gate(op, branch, form, matrices)
    end
    table.move(parts, 1, #parts, #all + 1, all)
  end
  return all
end

function run_block(block, branches, form, matrices)
  for i = 1, block.n do branches = run_op(block[i], branches, form, matrices) end
  return branches
end

-- The distribution of a form's answers: key → probability.
function M.distribution(form)
  local start = { state = quantum.state(form.qubit_count), bits = {}, variables = {} }
  local branches, measured, all = run_block(form.block, { start }, form, {}), false, {}
  for _, branch in ipairs(branches) do measured = measured or branch.measured end
  for _, branch in ipairs(branches) do
    for key, weight in pairs(quantum.weights(branch.state)) do
      if measured and form.bit_count > 0 then
        local bits = {}
        for bit = form.bit_count - 1, 0, -1 do bits[#bits + 1] = branch.bits[bit] or 0 end
        key = table.concat(bits)
      end
      all[key] = (all[key] or 0) + weight
    end
  end
  return all
end

-- ---- written texts

local function numbers(list)
  local values = {}
  for value in list:gmatch "[^,()]+" do values[#values + 1] = assert(tonumber(value), value) end
  return values
end

-- The lines of a text that the writer wrote: lists of { name, matrix (nil of reset), wires }.
local function lines_of(qasm)
  local lines = {}
  for line in qasm:gmatch "[^\n]+" do
    local name, angles, operands = line:match "^(%l%w*)(%b()) (q.*);$"
    if not name then name, operands = line:match "^(%l%w*) (q.*);$" end
    if name and name ~= "barrier" then
      local wires = {}
      for wire in operands:gmatch "%d+" do wires[#wires + 1] = math.tointeger(tonumber(wire)) end
      local matrix = name ~= "reset" and quantum.gate(name, table.unpack(angles and numbers(angles) or {}))
      lines[#lines + 1] = { name, matrix, wires }
    end
  end
  return lines
end

local function wires_of(qasm) return math.tointeger(tonumber(qasm:match "qubit%[(%d+)%] q;")) end

-- The distribution over the wires of a text that the writer wrote.
function M.written(qasm)
  local branches, all = { { state = quantum.state(wires_of(qasm)), bits = {}, variables = {} } }, {}
  for _, line in ipairs(lines_of(qasm)) do
    if line[1] == "reset" then branches = run_op({ "reset", line[3][1] }, branches) end
    for _, branch in ipairs(line[2] and branches or {}) do quantum.apply(branch.state, line[2], line[3]) end
  end
  for _, branch in ipairs(branches) do
    for key, weight in pairs(quantum.weights(branch.state)) do all[key] = (all[key] or 0) + weight end
  end
  return all
end

-- How far what a written text does to its wires is from a matrix over the first of them and 1 on the others, up to a
-- factor. Wire 0 is the first operand of the matrix.
function M.distance(qasm, m)
  local wires, operands, lines = wires_of(qasm), {}, lines_of(qasm)
  local count = math.tointeger(math.log(#m, 2))
  for i = 1, count do operands[i] = i - 1 end
  local re, im, states = 0, 0, {}
  for column = 1, 1 << wires do
    local got, wanted = quantum.state(wires), quantum.state(wires)
    got.re[1], wanted.re[1] = 0, 0
    got.re[column], wanted.re[column] = 1, 1
    for _, line in ipairs(lines) do quantum.apply(got, line[2], line[3]) end
    quantum.apply(wanted, m, operands)
    for i = 1, 1 << wires do
      re, im = re + wanted.re[i] * got.re[i] + wanted.im[i] * got.im[i],
        im + wanted.re[i] * got.im[i] - wanted.im[i] * got.re[i]
    end
    states[column] = { got, wanted }
  end
  local angle, most = math.atan(im, re), 0
  local c, s = math.cos(angle), math.sin(angle)
  for _, pair in ipairs(states) do
    local got, wanted = pair[1], pair[2]
    for i = 1, 1 << wires do
      most = math.max(most, math.abs(wanted.re[i] * c - wanted.im[i] * s - got.re[i]),
        math.abs(wanted.re[i] * s + wanted.im[i] * c - got.im[i]))
    end
  end
  return most
end

-- Half the sum of the differences of two distributions.
function M.variation(a, b)
  local sum = 0
  for key, weight in pairs(a) do sum = sum + math.abs(weight - (b[key] or 0)) end
  for key, weight in pairs(b) do
    if not a[key] then sum = sum + weight end
  end
  return sum / 2
end

return M
