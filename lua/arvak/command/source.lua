-- Circuits from files, folders, lists and manifests, each with a name that tells it from the others. Invariant: nothing
-- is sent before every file has been read and understood.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local ends = require "arvak.command.ends"
local out = require "arvak.command.out"
local text_of = require "arvak.command.text"
local words = require "arvak.command.values"

local M = {}

-- ---- one program

local MOST_BYTES = 256 * 1024 * 1024   -- of a text; a device may have no end
local CHUNK = 1024 * 1024   -- bytes

-- All of a file, or nil and what is wrong.
local function read_bounded(file)
  local parts, size = {}, 0
  while true do
    local part, problem = file:read(CHUNK)
    if problem then return nil, problem end
    if not part then return table.concat(parts) end
    parts[#parts + 1], size = part, size + #part
    if size > MOST_BYTES then return nil, ("got more than %d MB of text"):format(MOST_BYTES >> 20) end
  end
end

local has_read_input = false

local function open_text(path)
  if path ~= "-" then return io.open(path, "rb") end
  if has_read_input then ends.usage "- is standard input, which is there once: it can stand for one thing only" end
  has_read_input = true
  return io.stdin
end

-- What is in a file, which is opened once: a FIFO gives it once. path: as it was given, - is standard input. at: where
-- the file is named, for messages, or nil.
local function read_text(path, at)
  local place = at and at .. ": " or ""
  if path == "" then ends.usage("%sgot an empty text, expected the name of a file", place) end
  local name = path == "-" and "standard input" or path
  local file, message = open_text(path)
  if not file then ends.stop(ends.codes.failed, "%s%s", place, message) end
  local text, problem = read_bounded(file)
  if file ~= io.stdin then file:close() end
  if not text then ends.stop(ends.codes.failed, "%s%s: %s", place, name, problem) end
  return text, name
end

-- The same of a list, whose first bytes may be a mark of UTF-8.
local function read_list_text(path) return (read_text(path):gsub("^\u{FEFF}", "")) end

-- All of standard input.
function M.input() return read_list_text "-" end

-- The circuit in a file, or nil and an error of the library. Includes are looked for beside it. at: as of read_text.
function M.load(path, at)
  local text, name = read_text(path, at)
  return arvak.circuit.from_qasm(text, { name = name, include_path = { path:match "^.*/" or "./" } })
end

-- ---- parameters

-- name → value of a list of { name, value }.
local function values_of(list)
  local values = {}
  for _, pair in ipairs(list) do values[pair[1]] = pair[2] end
  return values
end

-- Ends the command where two of these name the same parameter.
local function check_once(list, option)
  local seen = {}
  for _, pair in ipairs(list) do
    if seen[pair[1]] then ends.usage("%s: %s is given twice", option, pair[1]) end
    seen[pair[1]] = true
  end
end

-- name → value of --param.
function M.values(list)
  check_once(list, "--param")
  return values_of(list)
end

-- The circuit with these parameters, of which it may lack some. Complains of those that nothing binds. name: of the
-- circuit, for messages; used: gets the names that the circuit has.
function M.bind(source, values, name, used)
  local known = {}
  for _, parameter in ipairs(source:parameters()) do
    known[parameter] = values[parameter]
    used[parameter] = true
    if values[parameter] == nil then
      ends.usage("%s: the parameter %s has no value: give --param %s=...", out.printable(name), parameter, parameter)
    end
  end
  return next(known) and source:bind(known) or source
end

-- Ends the command when no circuit has one of these parameters: a typing mistake would go unseen.
function M.check_used(values, used)
  for name in pairs(values) do
    if not used[name] then ends.usage("no circuit has the parameter %s", name) end
  end
end

-- One circuit, as it stands in its file; ends the command when it is refused.
function M.one(path)
  local source, err = M.load(path)
  if not source then ends.fail(err, nil, path) end
  return source
end

-- The circuits of these files with the parameters of --param.
function M.all(paths, params)
  local values, used, circuits = M.values(params), {}, {}
  for i, path in ipairs(paths) do circuits[i] = M.bind(M.one(path), values, path, used) end
  M.check_used(values, used)
  return circuits
end

-- ---- sweeps

-- Ends the command where a parameter has two values, or there would be more points than a batch may have circuits.
local function check_sweeps(sweeps, given)
  check_once(sweeps, "--sweep")
  local total = 1
  for _, sweep in ipairs(sweeps) do
    local name, count = sweep[1], sweep[4]
    if given[name] then ends.usage("--sweep: %s is given by --param as well: give it once", name) end
    if count > words.MOST_CIRCUITS // total then
      ends.usage("--sweep: the counts multiply to more than %d circuits, which is the most of one batch",
        words.MOST_CIRCUITS)
    end
    total = total * count
  end
end

-- The values of a sweep, each another one.
local function values_between(name, from, to, count)
  local values = { from }
  for i = 1, count - 1 do
    values[i + 1] = from + (to - from) * i / (count - 1)
    if values[i + 1] == values[i] then
      ends.usage("--sweep: there are no %d different numbers for %s between %s and %s", count, name,
        text_of.number(from), text_of.number(to))
    end
  end
  return values
end

local function sweep_points(sweeps, given)
  check_sweeps(sweeps, given)
  local points = { {} }
  for _, sweep in ipairs(sweeps) do
    local values, more = values_between(table.unpack(sweep)), {}
    for _, point in ipairs(points) do
      for _, value in ipairs(values) do
        local next_point = { table.unpack(point) }
        next_point[#next_point + 1] = { sweep[1], value }
        more[#more + 1] = next_point
      end
    end
    points = more
  end
  return points
end

-- A name with the values of a list of { name, value }: name?a=1,b=2.
local function with_point(name, point)
  local parts = {}
  for i, pair in ipairs(point) do parts[i] = ("%s=%s"):format(pair[1], text_of.number(pair[2])) end
  return #parts > 0 and name .. "?" .. table.concat(parts, ",") or name
end

-- ---- lists of files

-- What a command of the shell prints, and whether it has succeeded.
local function ask_shell(line)
  local pipe = assert(io.popen(line))
  local text = pipe:read "a"
  return text, pipe:close() == true
end

-- The files below a folder, sorted; found by find, which Debian's base system has. Links to files count, links to
-- folders below it are not followed.
local function list_folder(path)
  local find = ("find -H %s%s %%s"):format(path:find "^%-" and "./" or "", text_of.shell_word(path))
  local text, is_whole = ask_shell(find:format "-name '*.qasm' \\( -type f -o -type l \\) -print0 2>/dev/null")
  if not is_whole then
    local why = ask_shell(find:format "-name ' ' 2>&1 >/dev/null"):match "[^\n]+" or "find has failed"
    ends.stop(ends.codes.failed, "%s: cannot be listed: %s", path, why)
  end
  local files = {}
  for name in text:gmatch "[^\0]+" do files[#files + 1] = name end
  table.sort(files)
  if #files == 0 then ends.usage("%s: no file in it ends in .qasm", path) end
  return files
end

-- Whether it is a folder, without opening what is none: a FIFO is opened once.
local function is_folder(path)
  local file = io.open(path .. "/.", "rb")
  if file then file:close() end
  return file ~= nil
end

local manifest_names = { qasm = "string", file = "string", shots = "number", id = "string", params = "table" }

-- Parameters of a line: numbers, or texts that mean one.
local function check_params(params, at)
  for name, given in pairs(params) do
    local value = words.expression(tostring(given))
    if not value or type(name) ~= "string" then
      ends.usage("%s: params.%s: got %s, expected a number, or a text such as \"pi/2\"", at, tostring(name),
        type(given) == "table" and "an object" or tostring(given))
    end
    params[name] = type(given) == "number" and given or value
  end
end

-- What JSON calls a value of Lua.
local json_words = { string = "a text", number = "a number", table = "an object", boolean = "a boolean" }

local function check_line(entry, at)
  if type(entry) ~= "table" then ends.usage("%s: expected an object, such as {\"file\": \"bell.qasm\"}", at) end
  for name, value in pairs(entry) do
    if not manifest_names[name] then
      ends.usage("%s: unknown field '%s', expected qasm, file, shots, id, params", at, tostring(name))
    end
    if type(value) ~= manifest_names[name] and not (name == "id" and math.type(value) == "integer") then
      ends.usage("%s: %s: got %s, expected %s", at, name, json_words[type(value)], json_words[manifest_names[name]])
    end
  end
  if (entry.qasm == nil) == (entry.file == nil) then ends.usage("%s: expected one of qasm and file", at) end
  if entry.shots then
    local _, problem = words.shots(text_of.number(entry.shots))
    if problem then ends.usage("%s: shots: %s", at, problem) end
  end
  if entry.params then check_params(entry.params, at) end
end

-- The id of a line that gives none: its file or place, and the values of its parameters, in the order of their names.
local function id_of_line(name, params)
  local list = {}
  for parameter, value in pairs(params or {}) do list[#list + 1] = { parameter, value } end
  table.sort(list, function(a, b) return a[1] < b[1] end)
  return with_point(name, list)
end

-- The lines of a manifest. Files are looked for beside it.
local function read_manifest(path, add)
  local folder = path:match "^(.*/)" or ""
  local count = 0
  for line in (read_list_text(path) .. "\n"):gmatch "(.-)\r?\n" do
    count = count + 1
    if line:find "%S" then
      local at = ("%s:%d"):format(path, count)
      local entry, problem = text_of.decode(line)
      if problem then ends.usage("%s: %s", at, problem) end
      check_line(entry, at)
      local file = entry.file and (entry.file:find "^/" and entry.file or folder .. entry.file)
      add { id = entry.id ~= nil and tostring(entry.id) or id_of_line(file or at, entry.params), path = file,
        qasm = entry.qasm, at = at, shots = entry.shots, params = entry.params, is_line = true, is_named = true }
    end
  end
end

local function read_list(add)
  local text, count = M.input(), 0
  local pattern = text:find "\0" and "[^\0]*" or "[^\n]*"
  for name in text:gmatch(pattern) do
    count = count + 1
    name = name:gsub("\r$", "")
    local at = ("line %d of standard input"):format(count)
    if name ~= "" then add { id = name, path = name, at = at, is_line = true } end
  end
end

-- What each source names. at: the place where it is named.
local function collect(sources)
  local list = {}
  local function add(found) list[#list + 1] = found end
  for i, source in ipairs(sources) do
    if source == "-" then read_list(add)
    elseif source:find "%.jsonl$" then read_manifest(source, add)
    elseif is_folder(source) then
      for _, path in ipairs(list_folder(source)) do add { id = path, path = path, at = "the folder " .. source } end
    else add { id = source, path = source, at = ("source %d"):format(i) } end
  end
  if #list == 0 then ends.usage("no circuits: the sources name none") end
  return list
end

-- ---- the inputs of a batch

-- Ends the command where results could not be told apart.
local function check_ids(list)
  local seen = {}
  for _, found in ipairs(list) do
    local other = seen[found.id]
    if other then
      ends.usage("two circuits are called %s, in %s and %s, but ids tell results apart: %s", out.printable(found.id),
        out.printable(other.at), out.printable(found.at), (found.is_named or other.is_named)
        and 'give one of them another "id" in the manifest' or "name it once")
    end
    seen[found.id] = found
  end
end

-- Ends the command where there would be more circuits than a batch may have, or a line gives what is swept.
local function check_points(list, points)
  if #list > words.MOST_CIRCUITS // #points then
    ends.usage("got %d circuits at %d points each, expected %d in all at the most", #list, #points, words.MOST_CIRCUITS)
  end
  for _, found in ipairs(list) do
    for _, pair in ipairs(points[1]) do
      if (found.params or {})[pair[1]] then
        ends.usage("%s: params.%s: --sweep gives it as well: give it once", found.at, pair[1])
      end
    end
  end
end

local function load_found(found)
  local source, err
  if found.qasm then
    source, err = arvak.circuit.from_qasm(found.qasm, { name = found.at })
  else
    source, err = M.load(found.path, found.is_line and found.at or nil)
  end
  if not source then ends.fail(err, not found.qasm and found.is_line and found.at or nil) end
  return source
end

-- Ends the command where a line of a manifest gives a parameter that its circuit has not.
local function check_params_used(found, source)
  local has = {}
  for _, name in ipairs(source:parameters()) do has[name] = true end
  for name in pairs(found.params or {}) do
    if not has[name] then
      ends.usage("%s: params.%s: the circuit has no such parameter", found.at, out.printable(name))
    end
  end
end

local function merge(...)
  local values = {}
  for i = 1, select("#", ...) do
    for name, value in pairs((select(i, ...))) do values[name] = value end
  end
  return values
end

-- What the batch manager takes: { qasm, shots, id, optimization_level }, of every source, parameter and sweep.
function M.inputs(options, shots)
  local given, inputs, used = M.values(options.param), {}, {}
  local points, list = sweep_points(options.sweep, given), collect(options.source)
  check_points(list, points)
  check_ids(list)
  for _, found in ipairs(list) do
    local source = load_found(found)
    check_params_used(found, source)
    for _, point in ipairs(points) do
      local values = merge(given, found.params or {}, values_of(point))
      local bound = M.bind(source, values, found.is_named and found.at or found.id, used)
      inputs[#inputs + 1] = { qasm = bound, shots = found.shots or shots, id = with_point(found.id, point),
        optimization_level = options.optimization }
    end
  end
  M.check_used(merge(given, values_of(points[1])), used)
  return inputs
end

return M
