-- Reads OpenQASM 2 and 3 into the form: text by text, statement by statement.
-- Invariant: a text gives a form or an error that names line and column; it never raises but for misuse, and takes no
-- more time and memory than its size and the option max_operations allow.
-- SPDX-License-Identifier: Apache-2.0
local check = require "arvak.base.check"
local errors = require "arvak.base.errors"
local core = require "arvak.core"
local blocks = require "arvak.circuit.read.blocks"
local control = require "arvak.circuit.read.control"
local environment = require "arvak.circuit.read.environment"
local fault = require "arvak.circuit.read.fault"
local flat = require "arvak.circuit.read.flat"
local form = require "arvak.circuit.form"
local rehearse = require "arvak.circuit.read.rehearse"
local includes = require "arvak.circuit.read.includes"
local scanner = require "arvak.circuit.read.scanner"
local statements = require "arvak.circuit.read.statements"

local M = {}

local MOST_OPERATIONS = 1000000
local SHORTEST = 4              -- characters of a statement that is an operation

-- ---- the version

local VERSION_OF = {
  qreg = 2, creg = 2, opaque = 2, qubit = 3, bit = 3, int = 3, uint = 3, float = 3, angle = 3, bool = 3, const = 3,
  input = 3, output = 3, let = 3, def = 3, array = 3, duration = 3, stretch = 3,
  ctrl = 3, negctrl = 3, inv = 3, pow = 3,
}

-- The version of a text that does not say it: that of the declaration that comes first.
local function guess(body)
  local words, at_start = scanner.new(body, fault.TEXTS), true
  while words.kind ~= "end" do
    if at_start and words.kind == "name" and VERSION_OF[words.value] then return VERSION_OF[words.value] end
    words:begin()
    at_start = words:is(";") or words:is("{") or words:is("}")
    words:next()
  end
  return 3
end

local function guess_version(body)
  local ok, version = pcall(guess, body)
  if ok then return version end
  if not fault.is(version) then error(version, 0) end
  return 3
end

-- Takes OPENQASM and the version that stands behind it, if it is next. Returns 2, 3 or nil.
local function take_version(words)
  if not words:accept("OPENQASM") then return nil end
  local version = words.value
  if words.kind ~= "real" and words.kind ~= "integer" or version < 2 or version >= 4 then
    words:expected("the version of the language, 2.0 or 3.0")
  end
  words:next()
  words:expect(";", "after the version")
  return version < 3 and 2 or 3
end

-- ---- texts

-- A text whose lines all end with a line feed, also those that end with a carriage return alone.
local function with_lines(body)
  if not string.find(body, "\r[^\n]") then return body end
  return (string.gsub(body, "\r\n?", function(ending) return #ending == 1 and "\n" or nil end))
end

local run_text

-- Takes an include, which is next. Returns the name of the file and the place.
local function take_include(words)
  local at = words.base + words.at
  words:next()
  if words.kind ~= "string" then words:expected("the name of a file in quotes") end
  local name = words.value
  words:next()
  words:expect(";", "after the name of a file")
  return name, at
end

local function run_include(reading, env, words)
  local line, column = words:locate(words.at)
  local name, at = take_include(words)
  local body, path = includes.open(reading, name, at)
  if not body then return end
  body = with_lines(body)
  reading.texts[#reading.texts + 1] = { body = body, name = path }
  reading.open[#reading.open + 1] = path
  local inner = scanner.new(body, #reading.texts * fault.TEXTS)
  inner.version, inner.outer = env.version, words.outer or form.position(line, column)
  local version = take_version(inner)
  if version and version ~= env.version then
    fault.raise(at, "%s is OpenQASM %d, expected %d as here", name, version, env.version)
  end
  run_text(reading, env, inner)
  reading.open[#reading.open] = nil
end

-- Reads the statements that are left as a text only; files that are included have to be there. visit: is given each
-- statement.
local function skip_text(reading, words, visit)
  while words.kind ~= "end" do
    words:begin()
    if words:is("include") then
      includes.open(reading, take_include(words))
    else
      local node = statements.statement(words)
      if visit then visit(node) end
    end
  end
end

-- Carries out the statements that are left. After a way out that may have been taken, the rest under that condition.
function run_text(reading, env, words)
  while true do
    flat.run(env, words)
    if words.kind == "end" then return end
    local at = words.base + words.at
    if words:is("include") then
      run_include(reading, env, words)
    else
      blocks.run(env, words)
    end
    local alive = env:is_alive(at)
    if alive == false then return skip_text(reading, words, env.rehearse.start(env, false)) end
    if alive ~= true then
      local line, column = words:locate(words.at)
      local node = { at = at, position = words.outer or form.position(line, column) }
      return env:while_alive(alive, node, function() run_text(reading, env, words) end)
    end
  end
end

-- ---- inputs

-- The statements that are left when an input's value was needed: they are read as a text, for what inputs they declare.
local function collect_inputs(reading, env, words)
  local inputs = env.form.inputs
  skip_text(reading, words, function(node)
    if node[1] == "declare" and node.role == "input" then
      inputs[#inputs + 1] = { name = node[3], type = node[2][1] }
    end
  end)
end

-- Adds the inputs that were not used to the parameters: all of them can be bound.
local function add_unused(env)
  local list = env.form.parameters
  for _, input in ipairs(env.form.inputs) do
    if env.inputs[input.name] == nil and not env.used[input.name] then
      env.used[input.name] = true
      list[#list + 1] = input.name
    end
  end
end

-- ---- reading

local function new_reading(body, options)
  body = with_lines(body)
  return {
    texts = { { body = body, name = options.name } }, files = {}, open = { options.path }, included = 0, bytes = #body,
    include_path = options.include_path,
  }
end

local function start(reading, options)
  local words = scanner.new(reading.texts[1].body, fault.TEXTS)
  words.version = take_version(words) or guess_version(reading.texts[1].body)
  local env = environment.new(words.version, options)
  if options.physical_count then
    form.declare_qubits(env.form, "$", options.physical_count)
  end
  env:push_exit("program")
  env.call_subroutine, env.rehearse = control.call, rehearse
  return env, words
end

local function finish(env, options)
  rehearse.subroutines(env)
  local count = env.physical.count
  if count > 0 and not env.physical.base then form.declare_qubits(env.form, "$", count) end
  if options.physical_base and not options.physical_count then
    error({ restart = "declared", count = count }, 0)
  end
  add_unused(env)
  return env.form
end

-- What is left to do when reading has stopped because an input's value is needed.
local function suspend(err, reading, env, words)
  local ok, failure = pcall(collect_inputs, reading, env, words)
  if not ok then error(failure, 0) end
  env.used, env.form.parameters = {}, {}
  add_unused(env)
  local object = fault.error(err, reading.texts)
  env.form.pending = { name = err.input, line = object.line, column = object.column, err = object }
  return env.form
end

local function run(reading, options)
  local env, words = start(reading, options)
  local ok, err = pcall(run_text, reading, env, words)
  if ok then return finish(env, options) end
  if fault.is(err) and err.input then return suspend(err, reading, env, words) end
  error(err, 0)
end

-- Qubits of the machine beside declared ones need their number beforehand: read once to count them, then again.
local function restarted(options, err)
  local copy = {}
  for name, value in pairs(options) do copy[name] = value end
  if err.restart == "physical" then
    copy.physical_base = 1 << 30
  else
    copy.physical_base, copy.physical_count = 0, err.count
  end
  return copy
end

local function read(body, options)
  for _ = 1, 3 do
    local reading = new_reading(body, options)
    local ok, result = pcall(run, reading, options)
    if ok then return result end
    if fault.is(result) then return nil, fault.error(result, reading.texts) end
    if type(result) ~= "table" or not rawget(result, "restart") then error(result, 0) end
    options = restarted(options, result)
  end
end

local function check_names(made, inputs)
  local known = {}
  for _, input in ipairs(made.inputs) do known[input.name] = true end
  for name in pairs(inputs) do
    if not known[name] then
      return nil, errors.new("invalid_circuit", string.format("there is no input %s", tostring(name)))
    end
  end
  return made
end

-- The form of a text. A form with inputs can be read again with values for them.
local function read_with(body, options, inputs)
  local copy = {}
  for name, value in pairs(options) do copy[name] = value end
  copy.inputs = inputs
  local made, err = read(body, copy)
  if not made then return nil, err end
  if #made.inputs == 0 then return made end
  function made.reread(more)
    local merged = {}
    for name, value in pairs(inputs) do merged[name] = value end
    for name, value in pairs(more) do merged[name] = value end
    local again, failure = read_with(body, options, merged)
    if not again then return nil, failure end
    return check_names(again, merged)
  end
  return made
end

-- ---- for the others

local OPTIONS = { name = true, include_path = true, max_operations = true }

local function include_path(value)
  if value == nil then return {} end
  if type(value) == "string" then return { check.path(value, "include_path") } end
  local list = check.list(value, "include_path", "include_path", "folder")
  for i, folder in ipairs(list) do check.path(folder, string.format("include_path[%d]", i)) end
  return list
end

local function most_operations(value, body)
  if value == nil then return math.max(MOST_OPERATIONS, #body // SHORTEST) end
  local whole = type(value) == "number" and math.tointeger(value)
  if not whole or whole < 0 then
    check.misuse("max_operations: got %s, expected a number from 0 on", core.describe(value))
  end
  return whole
end

local function options_of(given, method, body)
  local options = check.options(given, method, OPTIONS)
  if options.name ~= nil then check.string(options.name, "name") end
  return {
    name = options.name, include_path = include_path(options.include_path),
    max_operations = most_operations(options.max_operations, body or ""), given_most = options.max_operations ~= nil,
  }
end

-- Reads a text. options: name (of the text, for errors), include_path (a list of folders for includes), max_operations
-- (of the program, loops unrolled; 1,000,000 by default, and never fewer than the text's own statements).
-- Returns the form, or nil and an error of kind "invalid_circuit".
function M.from_qasm(body, options)
  check.string(body, "text")
  return read_with(body, options_of(options, "from_qasm", body), {})
end

-- Reads a file. Includes are looked for in its folder first. Options and returns as from_qasm's.
function M.load(path, options)
  check.path(path, "path")
  local read_options = options_of(options, "load")
  local body, message = includes.read_file(path)
  if not body then
    return nil, errors.new("invalid_circuit", string.format("%s cannot be read: %s", path, message), { source = path })
  end
  read_options.name, read_options.path = read_options.name or path, path
  if not read_options.given_most then read_options.max_operations = most_operations(nil, body) end
  table.insert(read_options.include_path, 1, includes.folder(path))
  return read_with(body, read_options, {})
end

return M
