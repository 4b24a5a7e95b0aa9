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
local function compile(path, values, used)
  local circuit, err = source.load(path)
  if not circuit then return nil, err end
  local bound = source.bind(circuit, values, path, used)
  local lowered
  lowered, err = bound:lowered()
  if not lowered then return nil, err end
  return bound, lowered
end

-- What is wrong with a program names its file, line and column itself, and so does what ends another command.
local function tell_refusal(path, err)
  out.complain((err.line or ends.is_stop(err)) and err.message or out.printable(path) .. ": " .. err.message)
end

-- As compile, where what ends another command (a file that cannot be read, a parameter without a value) is an error.
local function try_to_compile(path, values, used)
  local ok, circuit, lowered = pcall(compile, path, values, used)
  if ok then return circuit, lowered end
  if not ends.is_stop(circuit) then error(circuit, 0) end
  return nil, circuit
end

-- The exit code of one file.
local function check_one(path, values, used, client, settings)
  local circuit, lowered = try_to_compile(path, values, used)
  local ok, err = circuit ~= nil, lowered
  if ok and client then ok, err = client:check(circuit, settings.backend, settings.shots) end
  if not ok then
    tell_refusal(path, err)
    return ends.is_stop(err) and err.code or ends.code_of(err)
  end
  out.write(("%s: ok, %d qubits, %d operations\n"):format(out.printable(path), lowered.qubit_count, lowered.gate_count))
  for _, note in ipairs(lowered.notes or {}) do out.write("  ", out.printable(tostring(note)), "\n") end
  return ends.codes.ok
end

function M.check(options)
  local client, settings = client_for(options)
  local values, used, code = source.values(options.param), {}, ends.codes.ok
  for _, path in ipairs(options.file) do
    code = ends.join(code, check_one(path, values, used, client, settings))
  end
  if client then client:close() end
  if code == ends.codes.ok then source.check_used(values, used) end
  return code
end

function M.draw(options)
  local circuit = source.one(options.file)
  if options.svg then
    local ok, rest = circuit:to_svg(options.svg)
    if not ok then ends.fail(rest) end   -- it names the file
    if rest then out.note("%s: %s", out.printable(options.svg), rest) end
    return ends.codes.ok
  end
  out.write(circuit:draw { width = options.width or screen.columns(),
    ascii = options.ascii or not screen.has_unicode() }, "\n")
  return ends.codes.ok
end

function M.convert(options)
  local circuit = source.all({ options.file }, options.param)[1]
  local lowered, err = circuit:lowered()
  if not lowered then ends.fail(err) end
  out.write(lowered.qasm)
  if lowered.qasm:sub(-1) ~= "\n" then out.write "\n" end
  return ends.codes.ok
end

return M
