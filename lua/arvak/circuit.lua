-- arvak.circuit: circuits that are read from OpenQASM 2 and 3 or built in Lua, with parameters, and drawn.
-- Invariant: a circuit gives the distribution that its program means, or is refused with a reason before anything is
-- sent. Methods are found in the metatable of circuits, which this file puts together.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local check = require "arvak.base.check"
local bind = require "arvak.circuit.bind"
local build = require "arvak.circuit.build"
local look = require "arvak.circuit.look"
local object = require "arvak.circuit.object"
local parameters = require "arvak.circuit.parameters"
local read = require "arvak.circuit.read"
local transform = require "arvak.circuit.transform"

local Circuit = core.metatables["arvak.circuit"]

local methods = {}
for _, part in ipairs { build.methods, transform.methods, bind.methods, look.methods } do
  for name, method in pairs(part) do methods[name] = method end
end
Circuit.__index = check.seal(methods, Circuit)
Circuit.methods = methods
Circuit.__tostring = look.print

local M = { new = build.new, parameter = parameters.parameter }

local function adopt(form, err)
  if not form then return nil, err end
  return object.of_snapshot { form = form }
end

-- Reads a program of OpenQASM 2 or 3. options: name, include_path, max_operations. nil and an error of kind
-- "invalid_circuit" with line, column and source.
function M.from_qasm(text, options) return adopt(read.from_qasm(text, options)) end

-- Reads a program from a file; includes are looked for beside it. The same options and errors.
function M.load(path, options) return adopt(read.load(path, options)) end

return check.seal(M)
