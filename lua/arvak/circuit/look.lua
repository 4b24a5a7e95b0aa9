-- What a circuit is, for people and other tools: figures, drawings, its source.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local check = require "arvak.base.check"
local errors = require "arvak.base.errors"
local bind = require "arvak.circuit.bind"
local draw_svg = require "arvak.circuit.draw_svg"
local draw_text = require "arvak.circuit.draw_text"
local figures = require "arvak.circuit.figures"
local object = require "arvak.circuit.object"
local source = require "arvak.circuit.source"

local M = {}
local methods = {}
M.methods = methods

-- ---- figures

function methods.qubit_count(circuit) return object.complete(circuit, "qubit_count").qubit_count end

function methods.bit_count(circuit) return object.complete(circuit, "bit_count").bit_count end

function methods.depth(circuit) return figures.depth(object.complete(circuit, "depth")) end

function methods.size(circuit) return figures.size(object.complete(circuit, "size")) end

function methods.count_ops(circuit) return figures.count_ops(object.complete(circuit, "count_ops")) end

-- ---- texts

-- The text that is sent; with lowered = false the circuit itself as OpenQASM 3, for other tools. nil and an error of
-- kind "invalid_circuit" for what cannot be written.
function methods.to_qasm(circuit, options)
  options = check.options(options, "to_qasm", { lowered = true })
  local is_lowered = options.lowered
  if is_lowered ~= nil and type(is_lowered) ~= "boolean" then
    check.misuse("lowered: got %s, expected true or false", core.describe(is_lowered))
  end
  if is_lowered == false then return source.write(object.complete(circuit, "to_qasm")) end
  local lowered, err = bind.methods.lowered(circuit)
  if not lowered then return nil, err end
  return lowered.qasm
end

-- ---- drawings

local DEFAULT_COLUMNS, LEAST_COLUMNS, MOST_COLUMNS, MOST_LINES = 80, 20, 1000000, 200

local function check_width(value, default, least, most)
  if value == nil then return default end
  if value == math.huge then return most end
  local width = math.type(value) and math.tointeger(value)
  if not width or width < least or width > most then
    check.misuse("width: got %s, expected an integer from %d to %d, or math.huge", core.describe(value), least, most)
  end
  return width
end

local function columns_of_terminal()
  return math.max(LEAST_COLUMNS, core.terminal_columns() or DEFAULT_COLUMNS)
end

-- A drawing, whose last line says what of a large circuit it leaves out. width: of a line at most, in characters; by
-- default that of the terminal, or 80. ascii: with the characters of ASCII alone.
function methods.draw(circuit, options)
  options = check.options(options, "draw", { width = true, ascii = true })
  local is_ascii = options.ascii
  if is_ascii ~= nil and type(is_ascii) ~= "boolean" then
    check.misuse("ascii: got %s, expected true or false", core.describe(is_ascii))
  end
  local width = check_width(options.width, nil, LEAST_COLUMNS, MOST_COLUMNS) or columns_of_terminal()
  return draw_text.draw(object.complete(circuit, "draw"), { width = width, ascii = is_ascii or false })
end

-- What print shows: the drawing, of at most 200 lines.
function M.print(circuit)
  local known = object.form_of(circuit)
  if known.pending then return string.format("arvak.circuit (input %s is not bound)", known.pending.name) end
  return draw_text.draw(known, { width = columns_of_terminal(), ascii = false, lines = MOST_LINES })
end

local SVG_WIDTH, LEAST_SVG_WIDTH, MOST_SVG_WIDTH = 1000, 200, 10000000

local function write_file(path, content)
  if not (io and os) then   -- taken from this Lua state
    return nil, errors.new("rpc", string.format("%s cannot be written: there are no io and os in this Lua state", path))
  end
  local draft <close>, message = core.draft(path)
  local ok = draft
  if draft then
    draft:write(content)
    ok, message = draft:commit()
  end
  if not ok then return nil, errors.new("rpc", string.format("%s cannot be written: %s", path, message)) end
  return true
end

-- Writes the drawing as a picture in SVG that needs nothing from outside. width: in pixels, at most (1000). true, and
-- for a large circuit a text that says what was left out; or nil and an error.
function methods.to_svg(circuit, path, options)
  check.path(path, "path")
  options = check.options(options, "to_svg", { width = true })
  local width = check_width(options.width, SVG_WIDTH, LEAST_SVG_WIDTH, MOST_SVG_WIDTH)
  local picture, rest = draw_svg.draw(object.complete(circuit, "to_svg"), width)
  local ok, err = write_file(path, picture)
  if not ok then return nil, err end
  return true, rest
end

return M
