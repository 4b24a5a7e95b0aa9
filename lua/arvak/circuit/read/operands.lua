-- What operands name: lists of qubits, and places that bits and values are written to.
-- Invariant: a list that is returned may belong to a binding, and is not changed.
-- SPDX-License-Identifier: Apache-2.0
local evaluate = require "arvak.circuit.read.evaluate"
local fault = require "arvak.circuit.read.fault"

local M = {}

local function find(env, node)
  local binding = env:lookup(node[2])
  if binding then return binding end
  if env.version == 2 then fault.raise(node.at, "%s is not declared, expected a register", node[2]) end
  fault.raise(node.at, "%s is not declared", node[2])
end

-- What indices select of a list. pick: gives the list of the places that were selected of a list.
local function select_indices(env, node, list, is_single)
  for _, item in ipairs(node[3]) do
    if is_single then fault.raise(node.at, "an index of a single qubit or bit") end
    if #node[3] > 1 then fault.raise(node.at, "%d indices of a register, expected one", #node[3]) end
    local places
    places, is_single = evaluate.select(env, item, #list)
    local selected = {}
    for i, place in ipairs(places) do selected[i] = list[place + 1] end
    list = selected
  end
  return list, is_single
end

-- ---- qubits

-- The qubits that an operand names: a list, and whether it is a single one.
function M.qubits(env, node)
  local kind = node[1]
  if kind == "physical" then
    if env.gate then fault.raise(node.at, "a physical qubit in a gate, expected one of its qubits") end
    return { env:physical_qubit(node[2], node.at) }, true
  end
  if kind == "index" then
    local list, is_single = M.qubits(env, node[2])
    return select_indices(env, node, list, is_single)
  end
  if kind ~= "name" then fault.raise(node.at, "expected a qubit or a register of qubits") end
  local binding = find(env, node)
  if binding.kind ~= "qubits" then fault.raise(node.at, "%s is no qubit, expected a qubit or a register", node[2]) end
  if env.gate and binding.gate ~= env.gate then
    fault.raise(node.at, "%s is no qubit of this gate", node[2])
  end
  return binding.list, binding.scalar
end

-- Whether an operand names qubits.
function M.is_qubits(env, node)
  while node[1] == "index" do node = node[2] end
  if node[1] == "physical" then return true end
  local binding = node[1] == "name" and env:lookup(node[2])
  return binding and binding.kind == "qubits"
end

-- ---- bits

local function refs_of(env, binding, at)
  if binding.kind == "alias" then return binding.refs, binding.scalar end
  local kind = binding.type.kind
  if kind == "bit" then return { { binding } }, true end
  if kind ~= "bits" then return nil end
  local refs = {}
  env:charge(at, binding.type.n // 4)
  for i = 0, binding.type.n - 1 do refs[i + 1] = { binding, i } end
  return refs, false
end

-- The bits that an operand names, as { binding, index or nil }; nil if it names something else.
function M.bits(env, node)
  if node[1] == "index" then
    local base = node[2]
    local owner = base[1] == "name" and find(env, base)
    -- the commonest: one bit of a register
    if owner and owner.kind == "value" and owner.type.kind == "bits" and #node[3] == 1 then
      local places, is_single = evaluate.select(env, node[3][1], owner.type.n)
      local refs = {}
      for i, place in ipairs(places) do refs[i] = { owner, place } end
      return refs, is_single
    end
    local refs, is_single = M.bits(env, base)
    if not refs then return nil end
    return select_indices(env, node, refs, is_single)
  end
  if node[1] ~= "name" then return nil end
  local binding = find(env, node)
  if binding.kind == "qubits" then fault.raise(node.at, "%s is a qubit, expected a bit", node[2]) end
  return refs_of(env, binding, node.at)
end

function M.check_writable(binding, at)
  if binding.const then fault.raise(at, "%s is a constant, expected a variable", binding.name) end
  if not binding.writable then fault.raise(at, "%s cannot be assigned to", binding.name) end
end

-- Writes a value to one bit.
function M.write_bit(env, ref, value)
  env:set(ref[1], ref[2], value)
end

-- The number that a bit has in the form, or nil when it is not reported.
function M.reported(ref)
  local first = ref[1].first
  return first and first + (ref[2] or 0)
end

-- ---- aliases

local function alias_of_qubits(env, parts)
  local list, seen, is_single = {}, {}, #parts == 1
  for _, part in ipairs(parts) do
    local qubits, single = M.qubits(env, part)
    is_single = is_single and single
    env:charge(part.at, #qubits)
    for _, qubit in ipairs(qubits) do
      if seen[qubit] then fault.raise(part.at, "a qubit twice in an alias") end
      seen[qubit] = true
      list[#list + 1] = qubit
    end
  end
  return { kind = "qubits", list = list, scalar = is_single }
end

local function alias_of_bits(env, parts)
  local refs, is_single = {}, #parts == 1
  for _, part in ipairs(parts) do
    local bits, single = M.bits(env, part)
    if not bits then fault.raise(part.at, "expected qubits or bits") end
    is_single = is_single and single
    env:charge(part.at, #bits)
    table.move(bits, 1, #bits, #refs + 1, refs)
  end
  return { kind = "alias", refs = refs, scalar = is_single }
end

-- The parts of an alias, of which some stand in braces.
local function flatten(parts, list)
  for _, part in ipairs(parts) do
    if part[1] == "set" then flatten(part[2], list) else list[#list + 1] = part end
  end
  return list
end

-- let name = a ++ b[0:1];
function M.alias(env, node)
  local parts = flatten(node[3], {})
  if #parts == 0 then fault.raise(node.at, "an alias of nothing, expected qubits or bits") end
  env:charge(node.at, #parts)
  local is_qubits = M.is_qubits(env, parts[1])
  local binding = is_qubits and alias_of_qubits(env, parts) or alias_of_bits(env, parts)
  if node[3][1][1] == "set" then binding.scalar = false end
  env:bind(node[2], binding, node.at)
end

return M
