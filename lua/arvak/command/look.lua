-- arvak check, draw, convert: circuits without running them.
-- SPDX-License-Identifier: Apache-2.0
local ends = require "arvak.command.ends"
local out = require "arvak.command.out"
local screen = require "arvak.command.screen"
local source = require "arvak.command.source"
local where = require "arvak.command.where"

local M = {}

-- A client, when a backend is named whose limits are to be looked at.
local function client_for(options)
  if not options.backend then return nil end
  local settings = where.settings(options)
  return where.connect(settings), settings
end

-- The circuit in a file and what it comes to, or nil and an error.
local function compile(path, values)
  local circuit, err = source.load(path)
  if not circuit then return nil, err end
  local bound = source.bind(circuit, values, path)
  local lowered
  lowered, err = bound:lowered()
  if not lowered then return nil, err end
  return bound, lowered
end

-- What is wrong with a program names its file, line and column itself.
local function tell_refusal(path, err)
  out.complain(err.line and err.message or out.printable(path) .. ": " .. err.message)
end

local function check_one(path, values, client, settings)
  local circuit, lowered = compile(path, values)
  local ok, err = circuit ~= nil, lowered
  if ok and client then ok, err = client:check(circuit, settings.backend, settings.shots) end
  if not ok then
    tell_refusal(path, err)
    return false
  end
  out.write(("%s: ok, %d qubits, %d gates\n"):format(out.printable(path), lowered.qubit_count, lowered.gate_count))
  for _, note in ipairs(lowered.notes or {}) do out.write("  ", out.printable(tostring(note)), "\n") end
  return true
end

function M.check(options)
  local client, settings = client_for(options)
  local values, code = source.values(options.param), ends.codes.ok
  for _, path in ipairs(options.file) do
    if not check_one(path, values, client, settings) then code = ends.codes.failed end
  end
  if client then client:close() end
  return code
end

function M.draw(options)
  local circuit = source.one(options.file)
  if options.svg then
    local ok, err = circuit:to_svg(options.svg)
    if not ok then ends.fail(err, options.svg) end
    return ends.codes.ok
  end
  out.write(circuit:draw { width = options.width or screen.columns(),
    ascii = options.ascii or not screen.has_unicode() }, "\n")
  return ends.codes.ok
end

function M.convert(options)
  local circuit = source.one(options.file, options.param)
  local lowered, err = circuit:lowered()
  if not lowered then ends.fail(err) end
  out.write(lowered.qasm)
  if lowered.qasm:sub(-1) ~= "\n" then out.write "\n" end
  return ends.codes.ok
end

return M
