-- Random forms on few qubits: gates, measurements in the middle, resets, assignments, variables, nested conditions.
-- A seed gives the same form each time.
-- SPDX-License-Identifier: Apache-2.0
local M = {}

-- A generator of its own, so that no other use of math.random changes what a seed gives.
local function generator(seed)
  local value = seed * 7919 + 12345
  return function(n)   -- 1 … n
    value = (value * 6364136223846793005 + 1442695040888963407) & math.maxinteger
    return (value >> 33) % n + 1
  end
end

local NAMES = { "h", "h", "x", "y", "z", "s", "t", "sx", "rx", "ry", "rz", "p", "u3", "u2", "r", "cx", "cx", "cx", "cz",
  "cy", "ch", "cp", "crx", "crz", "cu3", "cu", "swap", "iswap", "rzz", "rxx", "ecr", "ccx", "cswap", "ccz", "c3x" }
local MODIFIERS = { { "ctrl", 1 }, { "negctrl", 1 }, { "inv" }, { "pow", 2 }, { "pow", -1 } }

local form   -- the module; set by maker

local function pick_gate(random, qubits)
  local gate
  repeat
    gate = form.gate(NAMES[random(#NAMES)])
    if random(6) == 1 then gate = form.modify(gate, { MODIFIERS[random(#MODIFIERS)] }) end
  until gate.qubits <= qubits
  return gate
end

local function gate_op(random, qubits)
  local gate, order = pick_gate(random, qubits), {}
  for q = 1, qubits do order[q] = q - 1 end
  for q = qubits, 2, -1 do
    local other = random(q)
    order[q], order[other] = order[other], order[q]
  end
  local op = { gate }
  for _ = 1, gate.params do op[#op + 1] = random(1000) / 150 - 3 end
  for q = 1, gate.qubits do op[#op + 1] = order[q] end
  return op
end

local OPERATORS = { "==", "!=", "<", "+", "-", "&", "|", "^", "&&", "||", "*", ">=" }

local function expression(random, options, depth)
  local kind = random(depth > 0 and 12 or 4)
  if kind <= 2 then return { "bit", random(options.bits) - 1 } end
  if kind == 3 then return { "reg", 0, options.bits } end
  if kind == 4 then return { "var", random(2) } end
  local a, b = expression(random, options, depth - 1), expression(random, options, depth - 1)
  if kind == 5 then return { "not", a } end
  if kind == 6 then return { "==", { "reg", 0, options.bits }, random(1 << options.bits) - 1 } end
  if kind == 7 then return { "popcount", { "reg", 0, options.bits } } end
  if kind == 8 then return { "cast", a, "uint", 2 } end
  return { OPERATORS[random(#OPERATORS)], a, b }
end

local fill

local function condition(random, options, depth, block, n)
  local body, other = form.block(), random(3) == 1 and form.block() or nil
  fill(random, options, depth - 1, body, random(n))
  if other then fill(random, options, depth - 1, other, random(n)) end
  form.add(block, { form.IF, expression(random, options, 2), body, other })
end

local function measurement(random, options)
  local target = random(8)
  return { form.MEASURE, random(options.qubits) - 1,
    target <= 6 and random(options.bits) - 1 or target == 7 and { var = 1 } or nil }
end

local function assignment(random, options)
  local target = random(2) == 1 and { bit = random(options.bits) - 1 } or { var = random(2) }
  local value = expression(random, options, 1)
  return { form.ASSIGN, target, target.bit and { "!=", value, 0 } or { "cast", value, "int", 3 } }
end

function fill(random, options, depth, block, n)
  for _ = 1, n do
    local kind = random(12)
    if kind <= 7 then
      form.add(block, gate_op(random, options.qubits))
    elseif kind == 8 then
      form.add(block, measurement(random, options))
    elseif kind == 9 and random(2) == 1 then
      form.add(block, { form.RESET, random(options.qubits) - 1 })
    elseif kind == 10 then
      form.add(block, assignment(random, options))
    elseif depth > 0 then
      condition(random, options, depth, block, 3)
    end
  end
end

local DEFAULTS = { qubits = 3, bits = 3, operations = 12, depth = 2 }

-- A function make(seed, options) that makes forms with this module (circuit/form.lua). options: qubits, bits,
-- operations, depth of conditions.
function M.maker(module)
  form = module
  return function(seed, options)
    local random = generator(seed)
    options = setmetatable(options or {}, { __index = DEFAULTS })
    local made = form.new(3)
    form.declare_qubits(made, "q", options.qubits)
    form.declare_bits(made, "c", options.bits)
    form.declare_variable(made, "a", "bit", 1)
    form.declare_variable(made, "b", "int", 3)
    fill(random, options, options.depth, made.block, options.operations)
    for q = 0, math.min(options.qubits, options.bits) - 1 do
      if random(2) == 1 then form.add(made.block, { form.MEASURE, q, q }) end
    end
    return made
  end
end

return M
