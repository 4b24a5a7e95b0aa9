-- What a text has said so far: names and what they stand for, the block that operations go to, and what was used of the
-- bounds. A name's binding is
--   { kind = "qubits", list, scalar } | { kind = "alias", refs = { { binding, index } … }, scalar }
--   | { kind = "value", type, value, first = of a global register of bits, const, writable }
-- with name, depth (of conditions) and gate (whose body it belongs to).
-- Invariant: a value that was assigned under a condition on measured values is joined with the one from before when the
-- condition ends, as a variable of the form; so a binding's value is right wherever it is read.
-- SPDX-License-Identifier: Apache-2.0
local form = require "arvak.circuit.form"
local fault = require "arvak.circuit.read.fault"
local values = require "arvak.circuit.read.values"

local Environment = {}
Environment.__index = Environment

local M = {}

local DEEPEST = 250              -- conditions within each other
local MOST_QUBITS = 1000000      -- and bits
-- Steps before the first shot: so many, more for the operations that there may be, and for each that there is.
local MOST_STEPS, STEPS_ALLOWED, STEPS_EACH = 200000, 2, 8

function M.new(version, options)
  local made = form.new(version, options.name)
  local names = { names = {} }
  return setmetatable({
    form = made, version = version, block = made.block, gates = {}, subroutines = {},
    inputs = options.inputs or {},
    scope = names, globals = names, depth = 0, exits = {}, operations = 0, most_operations = options.max_operations,
    steps = 0, most_steps = MOST_STEPS + STEPS_ALLOWED * options.max_operations,
    bit_nodes = {}, generation = 0, calls = {}, called = {}, used = {},
    physical = { base = options.physical_base, count = 0 },
  }, Environment)
end

-- ---- bounds

-- How many steps there may be with so many operations.
local function step_bound(self, operations)
  return MOST_STEPS + STEPS_ALLOWED * self.most_operations + STEPS_EACH * operations
end

local function refuse_steps(self, at, bound)
  fault.raise(at, "the program does more than %d steps before its first shot (option max_operations: %d)", bound,
    self.most_operations)
end

local function refuse_operations(self, at)
  fault.raise(at, "the program has more than %d operations (option max_operations)", self.most_operations)
end

-- Counts steps that are done before the shots begin.
function Environment:charge(at, count)
  local steps = self.steps + (count or 1)
  self.steps = steps
  if steps <= self.most_steps then return end
  self.most_steps = step_bound(self, self.operations)
  if steps > self.most_steps then refuse_steps(self, at, self.most_steps) end
end

-- Refuses at once what will come to more steps, or to more operations, than there may be.
function Environment:expect(at, steps, operations)
  if self.operations + operations > self.most_operations then refuse_operations(self, at) end
  local bound = step_bound(self, self.most_operations)
  if self.steps + steps > bound then refuse_steps(self, at, bound) end
end

-- Adds an operation.
function Environment:emit(op, node)
  local count = self.operations + 1
  self.operations = count
  if count > self.most_operations then refuse_operations(self, node.at) end
  form.add(self.block, op, node.position)
end

-- ---- names

-- What a name stands for, or nil. The body of a subroutine sees what was declared before it, wherever it is called.
function Environment:lookup(name)
  local scope, call = self.scope, self.calls[#self.calls]
  repeat
    local binding = scope.names[name]
    local is_late = call and scope == self.globals and binding and (binding.born or 0) > call.subroutine.generation
    if binding and not is_late then return binding end
    scope = scope.outer
  until not scope
end

M.lookup = Environment.lookup

function Environment:push_scope() self.scope = { names = {}, outer = self.scope } end

function Environment:pop_scope() self.scope = self.scope.outer end

function Environment:is_global() return not self.scope.outer and #self.calls == 0 end

-- Makes a name stand for a binding, which it may not do yet in this scope.
function Environment:bind(name, binding, at)
  if self.scope.names[name] then fault.raise(at, "%s is declared already", name) end
  binding.name, binding.depth, binding.gate = name, self.depth, self.gate
  self.scope.names[name] = binding
  self.generation = self.generation + 1
  binding.born = self.generation
  return binding
end

local function check_size(size, count, at)
  if size < 1 then fault.raise(at, "a register of size %d, expected 1 at least", size) end
  if count + size > MOST_QUBITS then fault.raise(at, "more than %d qubits or bits", MOST_QUBITS) end
end

-- size: nil for a single one
function Environment:declare_qubits(name, size, at)
  check_size(size or 1, self.form.qubit_count, at)
  if self.physical.count > 0 and not self.physical.base then
    error({ restart = "physical" }, 0)
  end
  local register = form.declare_qubits(self.form, name, size)
  local list = {}
  for i = 1, register.size do list[i] = register.first + i - 1 end
  return self:bind(name, { kind = "qubits", list = list, scalar = size == nil }, at)
end

-- The expression of a bit of the program.
function Environment:bit_node(number)
  local node = self.bit_nodes[number]
  if not node then
    node = { "bit", number }
    self.bit_nodes[number] = node
  end
  return node
end

-- A register of bits that is reported. Every bit is 0 until it is written.
function Environment:declare_bits(name, size, at)
  check_size(size or 1, self.form.bit_count, at)
  local register = form.declare_bits(self.form, name, size)
  local kind = size and values.bits(size) or values.BIT
  return self:bind(name, {
    kind = "value", type = kind, value = values.zero(kind), first = register.first, writable = true,
  }, at)
end

-- The qubit with this number in the machine.
function Environment:physical_qubit(number, at)
  local physical = self.physical
  if self.form.qubit_count > 0 and not physical.base then error({ restart = "physical" }, 0) end
  if number >= MOST_QUBITS then
    fault.raise(at, "the physical qubit $%d, expected one below %d", number, MOST_QUBITS)
  end
  if number >= physical.count then physical.count = number + 1 end
  return (physical.base or 0) + number
end

-- ---- values under conditions

-- Remembers what a binding holds before it is written under a condition.
local function remember(self, binding)
  local log = self.log
  if not log or binding.depth >= self.depth or log[binding] then return end
  local kind = binding.type.kind
  if kind == "array" or kind == "bits" then self:charge(self.statement.at, #binding.value // 4) end
  log[binding] = { value = values.copy(binding.value, binding.type.kind) }
  log[#log + 1] = binding
end

-- Gives a binding another value. index: of a bit of a register, or of an element of an array; nil: the whole.
function Environment:set(binding, index, value)
  remember(self, binding)
  if index then
    binding.value[index] = value
  else
    binding.value = values.copy(value, binding.type.kind)
  end
end

local MEASURABLE = { int = true, uint = true, bool = true, bit = true }

-- A variable of the form that holds values of this type.
function Environment:variable(name, kind)
  local width = kind.width or kind.kind == "bit" and 1 or nil
  return { var = form.declare_variable(self.form, name, kind.kind, width) }
end

-- A measured value that stays what it is whatever is assigned to its bits later: in a variable of its own.
function Environment:freeze(value, kind, name, node)
  if type(value) ~= "table" or value[1] == "var" or value == values.MIXED or not MEASURABLE[kind.kind] then
    return value
  end
  local target = self:variable(name, kind)
  self:emit({ form.ASSIGN, target, value }, node)
  return { "var", target.var }
end

local function same(a, b)
  if a == b then return true end
  if type(a) ~= "table" or type(b) ~= "table" or a[1] ~= b[1] then return false end
  return (a[1] == "var" or a[1] == "bit" or a[1] == "name" or a[1] == "param") and a[2] == b[2]
end

-- One value of what two branches came to. Blocks are those of the branches.
local function join(self, kind, name, yes, no, branch)
  if same(yes, no) and math.type(yes) == math.type(no) then return yes end
  if not MEASURABLE[kind.kind] or yes == values.MIXED or no == values.MIXED then return values.MIXED end
  local target = self:variable(name, kind)
  local block = self.block
  self.block = branch.yes
  self:emit({ form.ASSIGN, target, values.exact(yes, kind, branch.node.at) }, branch.node)
  self.block = branch.no
  self:emit({ form.ASSIGN, target, values.exact(no, kind, branch.node.at) }, branch.node)
  self.block = block
  return { "var", target.var }
end

local function join_list(self, binding, yes, no, branch)
  local is_bits = binding.type.kind == "bits"
  local kind = is_bits and values.BIT or binding.type.base
  local list = { n = yes.n }
  for i = is_bits and 0 or 1, is_bits and yes.n - 1 or #yes do
    if binding.first then
      list[i] = same(yes[i], no[i]) and yes[i] or self:bit_node(binding.first + i)
    else
      list[i] = join(self, kind, binding.name, yes[i], no[i], branch)
    end
  end
  return list
end

local function join_binding(self, binding, yes, no, branch)
  if binding.is_exit and yes == true and binding.value ~= true then return binding.value end
  if binding.type.kind == "bits" or binding.type.kind == "array" then
    if yes == values.MIXED or no == values.MIXED then return values.MIXED end
    return join_list(self, binding, yes, no, branch)
  end
  if binding.first then return same(yes, no) and yes or self:bit_node(binding.first) end
  return join(self, binding.type, binding.name, yes, no, branch)
end

-- Runs one side of a condition in a block of its own. Afterwards bindings are as before; returns the block and the
-- values that were written.
local function run_branch(self, run)
  local block, log = self.block, self.log
  self.block, self.log = form.block(), {}
  if run then run(self) end
  local branch, written = self.block, self.log
  for _, binding in ipairs(written) do
    local before = written[binding]
    before.after, binding.value = binding.value, before.value
  end
  self.block, self.log = block, log
  return branch, written
end

-- All bindings of two lists, each once, in a fixed order.
local function union(a, b)
  local list = table.move(a, 1, #a, 1, {})
  for _, binding in ipairs(b) do
    if not a[binding] then list[#list + 1] = binding end
  end
  return list
end

-- Carries out what stands under a condition on measured values: yes and no are functions, no may be nil.
function Environment:branch(test, node, yes, no)
  if self.depth >= DEEPEST then fault.raise(node.at, "conditions nested more than %d deep", DEEPEST) end
  self.depth = self.depth + 1
  local yes_block, yes_log = run_branch(self, yes)
  local no_block, no_log = run_branch(self, no)
  self.depth = self.depth - 1
  local branch = { yes = yes_block, no = no_block, node = node }
  for _, binding in ipairs(union(yes_log, no_log)) do
    local yes_value, no_value = binding.value, binding.value
    if yes_log[binding] then yes_value = yes_log[binding].after end
    if no_log[binding] then no_value = no_log[binding].after end
    local joined = join_binding(self, binding, yes_value, no_value, branch)
    self:set(binding, nil, joined)
  end
  if yes_block.n + no_block.n > 0 then
    self:emit({ form.IF, test, yes_block, no_block.n > 0 and no_block or nil }, node)
  end
end

-- ---- ways out: break, continue, return, end

-- A way out. Its value says whether the program still goes on: true until it is taken.
function Environment:new_exit(name)
  return { kind = "value", name = name, type = values.BOOL, value = true, is_exit = true, depth = self.depth }
end

-- A way out that may be taken from here on.
function Environment:push_exit(name)
  local exit = self:new_exit(name)
  self.exits[#self.exits + 1] = exit
  return exit
end

function Environment:pop_exit() self.exits[#self.exits] = nil end

function Environment:leave(exit)
  self.exit_used = true
  self:set(exit, nil, false)
end

-- Whether what comes next is carried out: true, false, or an expression of measured values.
function Environment:is_alive(at)
  if not self.exit_used then return true end
  local alive = true
  for _, exit in ipairs(self.exits) do
    local value = exit.value
    if value == false then return false end
    if value ~= true then alive = alive == true and value or values.node(at, "&&", alive, value) end
  end
  return alive
end

-- Carries something out under the condition that the program is still alive. Where it is not, and there is one way out
-- only, that way was taken.
function Environment:while_alive(alive, node, run)
  local taken = {}
  for _, exit in ipairs(self.exits) do
    if exit.value ~= true then taken[#taken + 1] = exit end
  end
  self:branch(alive, node, function()
    for _, exit in ipairs(taken) do self:set(exit, nil, true) end
    run(self)
  end, function()
    if #taken == 1 then self:set(taken[1], nil, false) end
  end)
end

return M
