-- A program as callers give it: a text, or a circuit, which is lowered to a text and knows how its answer is read.
-- Invariant: a text passes untouched, and the circuit module is loaded only where a circuit, or a stored way of
-- reading, is at hand. A way of reading is what circuit/reading.lua reads by: a plain table, kept as JSON in journals.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local check = require "arvak.base.check"
local json = require "arvak.base.json"
local records = require "arvak.results.records"

local M = {}

local Circuit, Lowered = core.metatables["arvak.circuit"], core.metatables["arvak.lowered"]
M.MOST_OPERATIONS = 50000   -- of a circuit: what servers take at their defaults

-- How many qubits a backend has, where every service has it. Nobody is asked for the others before a job is sent.
local known_qubits = { simulator = 20 }

function M.is_circuit(value) return core.metatable_of(value) == Circuit end

-- The circuit as it is now, as one that nobody can change.
function M.freeze(circuit)
  local object = require "arvak.circuit.object"
  return object.of_snapshot(object.snapshot_of(circuit))
end

-- ---- before a job

local function warn_of_size(gate_count)
  if gate_count <= M.MOST_OPERATIONS or not warn then return end
  warn(string.format("arvak: a circuit has %d operations; servers at their defaults refuse more than %d",
    gate_count, M.MOST_OPERATIONS))
end

-- The service takes any level, and the highest for all above it.
function M.level(level) return math.min(level, 3) end

-- What is sent of a circuit, and the way of reading what comes back; nil and an error. level: the optimization level.
function M.lower(circuit, level, backend_id)
  local lowered, err = circuit:lowered { optimization_level = M.level(level), qubits = known_qubits[backend_id] }
  if not lowered then
    err.attempts = 0
    return nil, err
  end
  warn_of_size(lowered.gate_count)
  return lowered.qasm, lowered.reading
end

-- The text of a program and, of a circuit, its way of reading; nil and an error when it cannot be lowered. options: of
-- a submit, checked: a number of shots, a table or nil.
function M.text_of(program, options, backend_id)
  if not M.is_circuit(program) then return program end
  return M.lower(program, type(options) == "table" and rawget(options, "optimization_level") or 0, backend_id)
end

-- The names of the options that say which circuit a job was made from, with those in `names`.
function M.with_circuit_names(names)
  local all = { circuit = true, optimization_level = true, backend_id = true }
  for name in pairs(names) do all[name] = true end
  return all
end

-- Of the options of a method that takes a job's id, which may only have these names: the others; and the circuit from
-- which that job was made, as a table: circuit (as it is now), optimization_level, backend_id; nil where there is none.
function M.take_circuit(options, method, names)
  if type(options) ~= "table" then return options end
  options = check.options(options, method, names)
  local circuit, level, backend_id = options.circuit, options.optimization_level, options.backend_id
  if circuit == nil then
    if level ~= nil then check.misuse("%s: optimization_level: expected a circuit beside it", method) end
    if backend_id ~= nil then check.misuse("%s: backend_id: expected a circuit beside it", method) end
    return options
  end
  if not M.is_circuit(circuit) then
    check.misuse("%s: circuit: got %s, expected a circuit", method, core.describe(circuit))
  end
  if level ~= nil and (math.type(level) ~= "integer" or level < 0) then
    check.misuse("%s: optimization_level: got %s, expected an integer from 0 on", method, core.describe(level))
  end
  if backend_id ~= nil then check.text(backend_id, "backend_id") end
  options.circuit, options.optimization_level, options.backend_id = nil, nil, nil
  return options, { circuit = M.freeze(circuit), optimization_level = level, backend_id = backend_id }
end

-- The way of reading a job that was made from a circuit, as of take_circuit; made: nil for a text. true and the way, or
-- nil and an error.
function M.way_of(made)
  if not made then return true, nil end
  local text, way = M.lower(made.circuit, made.optimization_level or 0, made.backend_id or "simulator")
  if not text and not made.backend_id then   -- then it was another backend's
    text, way = M.lower(made.circuit, made.optimization_level or 0)
  end
  if not text then return nil, way end
  return true, way
end

-- What a journal knows a circuit by, whatever text is made of it.
function M.canonical(circuit)
  local lower = require "arvak.circuit.lower"
  local object = require "arvak.circuit.object"
  return lower.canonical(object.form_of(circuit))
end

-- ---- after it

-- Counts over the program's bits, of what the service has counted; nil and an error. way: nil for a text.
function M.read_counts(counts, way, job_id)
  if not way then return counts end
  local reading = require "arvak.circuit.reading"
  local translated, err = reading.read(way, counts)
  if translated then return translated end
  err.message, err.job_id = "the answer does not fit the circuit: " .. err.message, job_id
  return nil, err
end

local function registers_of(way)
  if not way or not way.registers then return nil end
  local list = {}
  for i, register in ipairs(way.registers) do list[i] = { name = register[1], size = register[2] } end
  return list
end

-- A result over the program's bits, made from one of the service's. way: nil for a text, whose result stays as it is.
function M.read(result, way)
  if not way then return result end
  local counts, err = M.read_counts(result.counts, way, result.job_id)
  if not counts then return nil, err end
  return records.new_result {
    job_id = result.job_id, counts = counts, shots = result.shots, execution_time_ms = result.execution_time_ms,
    metadata_json = result.metadata_json, raw_counts = result.counts, registers = registers_of(way),
  }
end

-- ---- a lowered circuit

local lowered = {}
Lowered.methods = lowered

-- What the service has said of the lowered circuit, over the program's bits: a result, or a table of counts by
-- bitstring; nil and an error when it is the answer to another circuit.
function lowered:read(result)
  if records.is_result(result) then
    if rawget(result, "raw_counts") then
      check.misuse("read: got a result that was read already, expected a raw one")
    end
    return M.read(result, self.reading)
  end
  if type(result) ~= "table" or getmetatable(result) ~= nil then
    check.misuse("read: got %s, expected a result or a table of counts", core.describe(result))
  end
  return M.read_counts(result, self.reading)
end

-- ---- what a journal keeps

-- A way of reading that was kept as JSON, or nil when it is none.
function M.decode_way(text)
  local way = json.decode(text)
  return type(way) == "table" and math.type(way.version) and way or nil
end

-- A result that was read before and kept in a journal, with the registers of its way of reading.
function M.restore(result, way)
  result.registers = registers_of(way)
  return result
end

return M
