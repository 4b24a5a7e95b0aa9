-- From a form to what the service takes: the text, and the way of reading its answers. Measurement is deferred to the
-- end, bits hold functions of outcomes, and conditions become controls.
-- Invariant: what comes out has the distribution of the program, or there is an error; a state is used once.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local apply = require "arvak.circuit.apply"
local canonical = require "arvak.circuit.canonical"
local decisions = require "arvak.circuit.decisions"
local errors = require "arvak.base.errors"
local form = require "arvak.circuit.form"
local frugal = require "arvak.circuit.frugal"
local integers = require "arvak.circuit.integers"
local reading = require "arvak.circuit.reading"
local refuse = require "arvak.circuit.refuse"
local text = require "arvak.base.text"
local wires = require "arvak.circuit.wires"
local write = require "arvak.circuit.write"

local M = {}
local State = {}
State.__index = State

local MAX_OPERATIONS = 1000000
local STEPS_ALLOWED, STEPS = 2, 8   -- of unfolding, for each operation that may be written, and for each that is
local SERVER_OPERATIONS = 50000   -- what a server with its defaults takes

-- Counts the work, so that no program can take the machine.
function State:step()
  self.steps = self.steps + 1
  local written, most = self.writer.operations, self.max_operations
  if self.steps > STEPS_ALLOWED * most + STEPS * written or written > most then self:refuse_operations() end
end

-- Refuses at once what will be written with more operations than there may be.
function State:expect(operations)
  if self.writer.operations + operations > self.max_operations then self:refuse_operations() end
end

function State:refuse_operations()
  refuse("more than %d operations after unfolding gates, modifiers and conditions", self.max_operations)
end

-- given: values for parameters (name → number), or nil.
-- frugal: the plan of a second attempt (frugal.lua), or nil.
local function new_state(source, options, given, frugal_plan)
  local state = setmetatable({
    form = source, version = source.version, limit = options.qubits, level = options.optimization_level or 0,
    max_operations = options.max_operations or math.max(MAX_OPERATIONS, 4 * source.block.n),
    steps = 0, writer = write.new(), store = decisions.new(), unmodified = {}, direct = {},
    bits = {}, values = {}, reads = {}, measured = false, given = given, frugal = frugal_plan, sizes = {},
    matrices = {}, matrix_count = 0,
  }, State)
  wires.start(state)
  return state
end

-- ---- gates that need nothing but their name

local direct_names = { u1 = "p", phase = "p", u3 = "u", U = "u", r = "prx", cphase = "cp", cu1 = "cp", CX = "cx" }
for name in string.gmatch("x y z h s sdg t tdg sx sxdg p rx ry rz u cx cy cz ch cp crz swap ccx cswap iswap", "%S+") do
  direct_names[name] = name
end
local diagonal = { z = true, s = true, sdg = true, t = true, tdg = true, p = true, u1 = true, phase = true, rz = true,
  cz = true, cp = true, cphase = true, cu1 = true, crz = true, controls_only = true }
local first_target = { cx = 2, CX = 2, cy = 2, ch = 2, ccx = 3, cswap = 2 }

-- How a gate is written as it is, or false: its name with what follows it, and which operands it does not only control.
local function direct_of(gate)
  local name = gate.library and direct_names[gate.name]
  if gate.library and gate.name == "u2" then name = "u" end
  if not name then return false end
  local half = gate.name == "u2" and string.gsub(string.format("%.17g,", math.pi / 2), ",(%d)", ".%1") or ""
  return {
    head = name .. (gate.params > 0 and "(" .. half or " "), params = gate.params, qubits = gate.qubits,
    first = diagonal[gate.name] and gate.qubits + 1 or first_target[gate.name] or 1,
  }
end

-- The name and the angles, or nil when an angle is open.
local function head_of(writer, direct, operation)
  local params = direct.params
  if params == 0 then return direct.head end
  local head = direct.head
  for i = 2, params + 1 do
    local angle = operation[i]
    if type(angle) ~= "number" then return nil end
    head = head .. writer:number(angle) .. (i <= params and "," or ") ")
  end
  return head
end

-- An unconditional gate that is written as it is. Whether it was.
local function write_direct(state, direct, operation)
  local head = head_of(state.writer, direct, operation)
  if not head then return false end
  local wire_of, touched, count, first = state.wire_of, state.touched, direct.qubits, direct.params + 1
  local a, b, c
  for i = 1, count do
    local wire = wire_of[operation[first + i]]
    if wire then touched[wire] = true else wire = wires.wire(state, operation[first + i]) end
    if i == 1 then a = wire elseif i == 2 then b = wire else c = wire end
    if i >= direct.first and state.pin[wire] then wires.flush(state, wire) end
  end
  state.writer:line(head, a, b, c)
  return true
end

-- Where an outcome is on one of the wires, the wires are exchanged and not what they hold.
local function exchange_names(state, operation)
  local a, b = state.wire_of[operation[2]], state.wire_of[operation[3]]
  if not (state.pin[a] or state.pin[b]) then return false end
  state.wire_of[operation[2]], state.wire_of[operation[3]] = b, a
  return true
end

local function lower_gate(state, operation)
  local gate = operation[1]
  if not state.condition then
    local direct = state.direct[gate]
    if direct == nil then
      direct = direct_of(gate)
      state.direct[gate] = direct
    end
    if direct and state.pins > 0 and gate.name == "swap" and exchange_names(state, operation) then return end
    if direct and write_direct(state, direct, operation) then return end
  end
  apply.gate(state, operation)
end

-- ---- bits and variables

local function reader_of(state)
  return function(kind, a, b)
    if kind == "bit" then return integers.of_bit(state.bits[a] or 0) end
    if kind == "var" then
      state.reads[a] = (state.reads[a] or 0) + 1
      return state.values[a] or integers.constant(0)
    end
    local bits = {}
    for i = 1, b do bits[i] = state.bits[a + i - 1] or 0 end
    return integers.of_bits(bits, b)
  end
end

local function evaluate(state, expression)
  state.read = state.read or reader_of(state)
  return integers.evaluate(state.store, expression, state.read)
end

-- Assigns where the block runs; elsewhere the old value stays.
local function set_bit(state, bit, f)
  local condition = state.condition
  state.bits[bit] = condition and state.store:choose(condition.f, f, state.bits[bit] or 0) or f
end

local function set_variable(state, index, value)
  local condition, old = state.condition, state.values[index] or integers.constant(0)
  state.values[index] = condition and integers.choose(state.store, condition.f, value, old) or value
end

local function assign(state, operation)
  local target, value = operation[2], evaluate(state, operation[3])
  if target.bit then return set_bit(state, target.bit, integers.truth(state.store, value)) end
  set_variable(state, target.var, value)
end

local function measure(state, operation)
  local target, outcome = operation[3], wires.measure(state, operation[2])
  state.measured = true
  if math.type(target) then return set_bit(state, target, outcome) end
  if target then set_variable(state, target.var, integers.of_bit(outcome)) end
end

-- Resets a qubit where the block runs.
function State:reset(qubit)
  if not self.condition then return wires.leave(self, qubit) end
  local wire = self.wire_of[qubit]
  if not wire or not self.touched[wire] then return end
  wires.flush(self, wire)
  local spare = wires.spare(self, "resets")
  apply.exchange(self, wire, spare)
end

local function barrier(state, operation)
  if state.level > 0 then return end
  local list, first, last = {}, 2, #operation
  if last == 1 then first, last = 0, state.form.qubit_count - 1 end
  for i = first, last do
    local wire = state.wire_of[first == 0 and i or operation[i]]
    if wire then list[#list + 1] = wire end
  end
  if #list > 0 then state.writer:barrier(list) end
end

-- ---- blocks

-- How many gates a block has for the wire of its condition to be worth while: 0, 1 or 2 for more.
local function size_of(block)
  local size = 0
  for i = 1, block.n do
    local kind = block[i][1]
    if type(kind) == "table" then
      size = size + (kind.library and 1 or 2)
    elseif kind == form.RESET then
      size = size + 1
    end
    if size > 1 then return 2 end
  end
  return size
end

local lower_block

-- Lowers a block where a function holds.
local function lower_branch(state, block, f)
  local outer = state.condition
  if f == 0 or not block then return end
  if f == 1 or outer and outer.f == f then return lower_block(state, block) end
  state.condition = { f = f, size = size_of(block), outer = outer }
  lower_block(state, block)
  state.condition = outer
end

local function branch(state, operation)
  local store, condition = state.store, state.condition
  local test = integers.truth(store, evaluate(state, operation[2]))
  local holds, fails = test, store:negate(test)
  if condition then holds, fails = store:both(condition.f, holds), store:both(condition.f, fails) end
  local held = state.held
  held[#held + 1] = fails
  lower_branch(state, operation[3], holds)
  fails = table.remove(held)   -- which may have been made an outcome
  lower_branch(state, operation[4], fails)
end

local others = {
  [form.MEASURE] = measure, [form.BARRIER] = barrier, [form.ASSIGN] = assign, [form.IF] = branch,
  [form.RESET] = function(state, operation) state:reset(operation[2]) end,
}

function lower_block(state, block)
  local at, is_whole = block.at, block == state.form.block
  for i = 1, block.n do
    local operation = block[i]
    local kind = operation[1]
    state.position = at[i]
    if is_whole then state.index = i end
    state:step()
    local other = others[kind]
    if other then other(state, operation) else lower_gate(state, operation) end
  end
end

-- ---- the answer

local why = {
  { "outcomes", "outcomes that a later gate would destroy" }, { "resets", "qubits used again after reset" },
  { "conditions", "conditions" },
}

-- What the wires are for, beside the program's qubits.
local function reasons_of(state, first)
  local reasons = { first }
  for _, reason in ipairs(why) do
    local count = state.reasons[reason[1]]
    if count then reasons[#reasons + 1] = count .. " for " .. reason[2] end
  end
  return table.concat(reasons, ", ")
end

-- Refuses a circuit for its wires. so_far: it may need still more.
function State:refuse_wires(so_far)
  local limit, own = self.limit, self.form.qubit_count
  if own > limit then own = self.reasons.qubits or 0 end   -- they got a wire when they were first used
  self.position = nil
  refuse("the circuit needs %s%d qubits (%s), and the backend has %d", so_far and "at least " or "", self.wires,
    reasons_of(self, own .. " for qubits of its own"), limit)
end

local function notes_of(state)
  local notes, operations = {}, state.writer.operations + 1
  if operations > SERVER_OPERATIONS then
    notes[1] = string.format("%d operations: servers with their defaults refuse more than %d",
      operations, SERVER_OPERATIONS)
  end
  if state.wires > math.max(state.form.qubit_count, 1) then
    notes[#notes + 1] = string.format("%d qubits, of which the program declares %d: %s",
      state.wires, state.form.qubit_count, reasons_of(state))
  end
  if state.writer.resets > 0 then
    notes[#notes + 1] = string.format("qubits are reset and used again (%d times), so the simulator runs each shot "
      .. "by itself", state.writer.resets)
  end
  return notes
end

local function finish(state)
  if state.limit and state.wires > state.limit then state:refuse_wires() end
  if state.level >= 2 and state.writer.widest > 1 then
    refuse("optimization_level %d: expected 0 or 1, since the service permutes the qubits of a circuit that has gates "
      .. "on two of them", state.level)
  end
  state.wires = math.max(state.wires, 1)
  return {
    qasm = state.writer:finish(state.wires), qubit_count = state.wires, gate_count = state.writer.operations,
    notes = notes_of(state), reading = reading.of(state),
  }
end

local function failure(source, refusal, position)
  local line, column = form.place(position)
  local place = line and string.format("%s%d:%d: ",
    source.source and text.printable(source.source) .. ":" or "line ", line, column) or ""
  local fields = { line = line, column = column, source = source.source }
  return errors.new("invalid_circuit", place .. refusal.message, fields)
end

-- What a function gives of a state, or nil, the error of its refusal, and the refusal.
local function protected(source, state, work, ...)
  local ok, result = core.protect(work, state, ...)
  if ok then return result end
  if not refuse.is(result) then error(result, 0) end
  return nil, failure(source, result, state and state.position), result
end

local function lower_state(state)
  lower_block(state, state.form.block)
  return finish(state)
end

-- Lowers a form; where wires are too few, once more with less of them. nil, an error and the refusal.
local function lower(source, options, given)
  local state = new_state(source, options, given)
  local lowered, err, refusal = protected(source, state, lower_state)
  local is_wide = state.limit and state.wires > state.limit
  if lowered or not is_wide then return lowered, err, refusal end
  local plan = frugal.plan(source, state.measured and source.bit_count > 0)
  lowered = protected(source, new_state(source, options, given, plan), lower_state)
  return lowered, err, refusal
end

-- The circuit of a form as the service takes it: { qasm, qubit_count, gate_count, notes, reading }, or nil and an error
-- of kind "invalid_circuit". options: qubits (how many the backend has; nil: any number), optimization_level (0),
-- max_operations (1,000,000, or four times those of the form).
function M.lower(source, options)
  if source.pending then return nil, source.pending.err end
  if #source.parameters > 0 then
    local names = text.printable(table.concat(source.parameters, ", "))
    return nil, errors.new("invalid_circuit", "parameters without a value: " .. names, { source = source.source })
  end
  local lowered, err = lower(source, options or {})
  if not lowered then return nil, err end
  return lowered
end

-- ---- templates

local Template = {}
Template.__index = Template

local function fill(_, qasm, values) return write.fill(qasm, values) end

-- The circuit with values for its parameters (name → number, all of them): as lower gives it, or nil and an error.
function Template:fill(values)
  local lowered = self.lowered
  if not lowered then
    local made, err = lower(self.form, self.options, values)
    if not made then return nil, err end
    return made
  end
  local qasm = lowered.qasm
  if type(qasm) == "table" then
    local filled, err = protected(self.form, nil, fill, qasm, values)
    if not filled then return nil, err end
    qasm = filled
  end
  return {
    qasm = qasm, qubit_count = lowered.qubit_count, gate_count = lowered.gate_count, notes = lowered.notes,
    reading = lowered.reading,
  }
end

-- A form with parameters, lowered once for all values, or for each of them where it depends on them; nil and an error
-- when it cannot be lowered whatever they are. Options as of lower.
function M.template(source, options)
  if source.pending then return nil, source.pending.err end
  options = options or {}
  local lowered, err, refusal = lower(source, options)
  if not lowered and not refusal.needs_values then return nil, err end
  return setmetatable({ form = source, options = options, lowered = lowered }, Template)
end

-- The text that a journal hashes (canonical.lua).
M.canonical = canonical.of

return M
