-- The programs of spec/data with their exact outcomes, and what the library makes of a program, compared with them.
-- Keys are over all bits, the last declared register leftmost; where nothing is measured, over the qubits.
-- SPDX-License-Identifier: Apache-2.0
local circuit = require "arvak.circuit"
local cjson = require "cjson"
local devserver = require "arvak.devserver"

local M = {}

M.LIMIT = 1e-6   -- total variation between what is meant and what is sent

-- cjson gives every number as a float.
local function whole(value)
  return type(value) == "number" and math.tointeger(value) or value
end

-- The programs of a file: a list of { name, origin, version, qasm, probs, inputs }, the latter values of `input`
-- variables or nil.
function M.read(path)
  local list = {}
  for line in io.lines(path) do
    local program = cjson.decode(line)
    for name, value in pairs(program.inputs or {}) do program.inputs[name] = whole(value) end
    list[#list + 1] = program
  end
  return list
end

function M.public() return M.read "spec/data/circuits-public.jsonl" end
function M.tolerant() return M.read "spec/data/circuits-tolerant.jsonl" end

-- Half the sum of the differences.
function M.distance(a, b)
  local sum = 0
  for key, p in pairs(a) do sum = sum + math.abs(p - (b[key] or 0)) end
  for key, p in pairs(b) do
    if not a[key] then sum = sum + p end
  end
  return sum / 2
end

-- A program as a circuit without parameters: circuit, or nil and an error.
function M.circuit_of(program)
  local c, err = circuit.from_qasm(program.qasm, { name = program.name })
  if c and program.inputs then c, err = c:bind(program.inputs) end
  return c, err
end

-- What the service would count of a lowered circuit, read over the program's bits: probabilities.
function M.probabilities_of(lowered)
  return assert(lowered:read(assert(devserver._probabilities(lowered.qasm))))
end

-- The distribution that a program gets by way of circuit and service: probabilities, or nil and an error where it is
-- refused.
function M.exact(program)
  local c, err = M.circuit_of(program)
  if not c then return nil, err end
  local lowered
  lowered, err = c:lowered { qubits = 20 }
  if not lowered then return nil, err end
  return M.probabilities_of(lowered)
end

return M
