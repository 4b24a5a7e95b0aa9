-- Values for parameters, and what a circuit is lowered to.
-- Invariant: a snapshot is lowered once. Circuits bound from one snapshot share what lowering has made of it, so a
-- sweep lowers once and fills in numbers.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local check = require "arvak.base.check"
local errors = require "arvak.base.errors"
local lower = require "arvak.circuit.lower"
local object = require "arvak.circuit.object"
local parameters = require "arvak.circuit.parameters"
local rewrite = require "arvak.circuit.rewrite"

local M = {}
local methods = {}
M.methods = methods

-- ---- parameters

-- What is not bound yet. A bound snapshot knows it without a form.
local function open_names(snapshot) return snapshot.open or object.form_in(snapshot).parameters end

-- The parameters that are not bound, in the order of their first use.
function methods.parameters(circuit)
  local names = open_names(object.snapshot_of(circuit))
  return table.move(names, 1, #names, 1, {})
end

-- The set of open names, kept with the snapshot.
local function name_set(snapshot)
  if not snapshot.set then
    snapshot.set = {}
    for _, name in ipairs(open_names(snapshot)) do snapshot.set[name] = true end
  end
  return snapshot.set
end

-- Whether a parameter is an input of the type bool.
local function is_bool(snapshot, name)
  for _, input in ipairs(object.form_in(snapshot.base or snapshot).inputs or {}) do
    if input.name == name then return input.type == "bool" end
  end
end

local function check_values(values, snapshot)
  if type(values) ~= "table" then
    check.misuse("bind: got %s, expected a table of numbers by name", core.describe(values))
  end
  local known, copy = name_set(snapshot), {}
  for name, value in next, values do
    if not known[name] then
      local list = table.concat(open_names(snapshot), ", ")
      check.misuse("bind: got a value for %s, expected %s", core.describe(name),
        list ~= "" and "parameters of the circuit: " .. list or "none: nothing is left to bind")
    end
    if type(value) == "boolean" and is_bool(snapshot, name) then value = value and 1 or 0 end
    if not math.type(value) or not parameters.is_finite(value) then
      check.misuse("bind: %s: got %s, expected a finite number", name, core.describe(value))
    end
    copy[name] = value
  end
  return copy
end

-- Whether only the reader knows what values do: they decide which operations there are, or have a type of their own.
local function needs_reader(known, values)
  if not known.reread then return false end
  if known.pending then return true end
  for _, input in ipairs(known.inputs) do
    local is_real = input.type == "float" or (input.type == "angle" and not input.width)
    if not is_real and values[input.name] ~= nil then return true end
  end
  return false
end

-- The form with values for parameters that stand in angles alone.
local function bound_form(known, values)
  local copy = {}
  for name, value in pairs(known) do copy[name] = value end
  copy.block, copy.parameters, copy.reread = rewrite.bind(known.block, values), {}, nil
  for _, name in ipairs(known.parameters) do
    if values[name] == nil then copy.parameters[#copy.parameters + 1] = name end
  end
  return copy
end

local function still_open(base, values)
  local list = {}
  for _, name in ipairs(open_names(base)) do
    if values[name] == nil then list[#list + 1] = name end
  end
  return list
end

-- The snapshot that a bound one comes from, and all the values since.
local function root_of(snapshot, values)
  if not snapshot.base then return snapshot, values end
  for name, value in pairs(snapshot.values) do values[name] = value end
  return snapshot.base, values
end

-- A new circuit with values for some parameters, or for all. nil and an error when a program that was read cannot have
-- these values: that of a loop's bound, say.
function methods.bind(circuit, values)
  local snapshot = object.snapshot_of(circuit)
  local base, all = root_of(snapshot, check_values(values, snapshot))
  local known = object.form_in(base)
  if needs_reader(known, all) then
    local made, err = known.reread(all)
    if not made then return nil, err end
    return object.of_snapshot { form = made }
  end
  return object.of_snapshot {
    base = base, values = all, open = still_open(base, all),
    make_form = function() return bound_form(known, all) end,
  }
end

-- ---- lowering

local Lowered = core.metatables["arvak.lowered"]
local contents = setmetatable({}, { __mode = "k" })   -- handle → what lower gave

local function unbound(names)
  return nil, errors.new("invalid_circuit", string.format("the circuit has unbound parameters: %s; bind them first",
    table.concat(names, ", ")))
end

-- What lowering has made of all bindings at once, for these options, kept by their texts; false where that depends on
-- the values.
local function template_of(base, options, key)
  base.templates = base.templates or {}
  if base.templates[key] == nil then base.templates[key] = lower.template(object.form_in(base), options) or false end
  return base.templates[key]
end

local function make_lowered(snapshot, options, key)
  local open, base = open_names(snapshot), snapshot.base
  if #open == 0 and base then
    local template = template_of(base, options, key)
    if template then return template:fill(snapshot.values) end
  end
  local known = object.form_in(snapshot)
  if not known.pending and #open > 0 then return unbound(open) end
  return lower.lower(known, options)
end

local function check_integer(value, name, least, most, default)
  if value == nil then return default end
  local integer = math.type(value) and math.tointeger(value)
  if not integer or integer < least or integer > most then
    check.misuse("%s: got %s, expected an integer from %d to %d", name, core.describe(value), least, most)
  end
  return integer
end

-- What is sent for the circuit as it is now: a frozen table of qasm, qubit_count, gate_count, notes and reading, with
-- the method read. nil and an error of kind "invalid_circuit" when the service cannot run it exactly.
-- optimization_level: the one that the circuit is submitted with (0); qubits: how many the backend has (any number).
function methods.lowered(circuit, options)
  options = check.options(options, "lowered", { optimization_level = true, qubits = true })
  local plain = {
    optimization_level = check_integer(options.optimization_level, "optimization_level", 0, 3, 0),
    qubits = check_integer(options.qubits, "qubits", 1, math.maxinteger),
  }
  local key, snapshot = plain.optimization_level .. " " .. tostring(plain.qubits), object.snapshot_of(circuit)
  snapshot.lowered = snapshot.lowered or {}
  local known = snapshot.lowered[key]
  if known then return known end
  local made, err = make_lowered(snapshot, plain, key)
  if not made then return nil, err end
  local handle = setmetatable({}, Lowered)
  contents[handle] = made
  snapshot.lowered[key] = handle
  return handle
end

-- ---- the object

-- A table that can be read only; what is in it too.
local function frozen(list)
  if type(list) ~= "table" then return list end
  return setmetatable({}, {
    __index = function(_, key) return frozen(list[key]) end,
    __len = function() return #list end,
    __pairs = function()
      return function(_, key)
        local following, value = next(list, key)
        return following, frozen(value)
      end
    end,
    __newindex = function() check.misuse("lowered: it does not change") end,
    __metatable = false,
  })
end

local methods_of_lowered = Lowered.methods or {}

-- The way of reading goes to journals, as a plain table.
function Lowered.__index(handle, name)
  local value = contents[handle][name]
  if value == nil then return methods_of_lowered[name] end
  return name == "reading" and value or frozen(value)
end

function Lowered.__newindex(_, name)
  check.misuse("lowered: got the field %s to set, expected none: it does not change", core.describe(name))
end

function Lowered.__tostring(handle)
  local made = contents[handle]
  return string.format("arvak.lowered (%s qubits, %s gates)", made.qubit_count, made.gate_count)
end

return M
