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

local function read_text(path)
  if path == "-" then return io.read "a", "standard input" end
  local file, message = io.open(path, "rb")
  if not file then ends.stop(ends.codes.failed, "%s", message) end
  local text, problem = file:read "a"
  file:close()
  if not text then ends.stop(ends.codes.failed, "%s: %s", path, tostring(problem)) end
  return text, path
end

-- The circuit in a file, or nil and an error of the library.
function M.load(path)
  if path ~= "-" then
    local file = io.open(path, "rb")
    if file then
      file:close()
      return arvak.circuit.load(path)
    end
  end
  local text, name = read_text(path)
  return arvak.circuit.from_qasm(text, { name = name })
end

-- ---- parameters

-- name → value of a list of { name, value }.
function M.values(list)
  local values = {}
  for _, pair in ipairs(list or {}) do
    if values[pair[1]] then ends.usage("--param: %s is given twice", pair[1]) end
    values[pair[1]] = pair[2]
  end
  return values
end

-- The circuit with these parameters, of which it may lack some. Complains of those that nothing binds. used: gets the
-- names that the circuit has.
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

local function sweep_points(sweeps)
  local points = { {} }
  for _, sweep in ipairs(sweeps or {}) do
    local name, from, to, count = table.unpack(sweep)
    local more = {}
    for _, point in ipairs(points) do
      for i = 0, count - 1 do
        local next_point = { table.unpack(point) }
        next_point[#next_point + 1] = { name, count == 1 and from or from + (to - from) * i / (count - 1) }
        more[#more + 1] = next_point
      end
    end
    points = more
  end
  return points
end

local function point_name(point)
  local parts = {}
  for i, pair in ipairs(point) do parts[i] = ("%s=%s"):format(pair[1], text_of.number(pair[2])) end
  return table.concat(parts, ",")
end

-- ---- lists of files

-- The files below a folder, sorted; found by find, which Debian's base system has.
local function list_folder(path)
  local quoted = "'" .. path:gsub("'", "'\\''") .. "'"
  local pipe <close> = assert(io.popen("find " .. (path:find "^%-" and "./" or "") .. quoted
    .. " -type f -name '*.qasm' -print0"))
  local files = {}
  for name in pipe:read("a"):gmatch "[^\0]+" do files[#files + 1] = name end
  table.sort(files)
  if #files == 0 then ends.usage("%s: no file in it ends in .qasm", path) end
  return files
end

local function is_folder(path)
  local file = io.open(path, "rb")
  if not file then return false end
  local _, _, code = file:read(0)
  file:close()
  return code == 21   -- EISDIR
end

local manifest_names = { qasm = "string", file = "string", shots = "number", id = "string", params = "table" }

-- Parameters of a line: numbers, or texts that mean one.
local function check_params(params, at)
  for name, given in pairs(params) do
    local value = words.expression(tostring(given))
    if not value or type(name) ~= "string" then
      ends.usage("%s: params.%s: got %s, expected a number, or a text such as \"pi/2\"", at, tostring(name),
        tostring(given))
    end
    params[name] = type(given) == "number" and given or value
  end
end

local function check_line(entry, at)
  if type(entry) ~= "table" then ends.usage("%s: expected an object", at) end
  for name, value in pairs(entry) do
    if not manifest_names[name] then
      ends.usage("%s: unknown field '%s', expected qasm, file, shots, id, params", at, tostring(name))
    end
    if type(value) ~= manifest_names[name] and not (name == "id" and math.type(value) == "integer") then
      ends.usage("%s: %s: got a %s, expected a %s", at, name, type(value), manifest_names[name])
    end
  end
  if (entry.qasm == nil) == (entry.file == nil) then ends.usage("%s: expected one of qasm and file", at) end
  if entry.shots and (math.type(entry.shots) ~= "integer" or entry.shots < 1) then
    ends.usage("%s: shots: got %s, expected a whole number from 1 on", at, tostring(entry.shots))
  end
  if entry.params then check_params(entry.params, at) end
end

-- The lines of a manifest. Files are looked for beside it.
local function read_manifest(path, add)
  local folder = path:match "^(.*/)" or ""
  local count = 0
  for line in (read_text(path) .. "\n"):gmatch "(.-)\r?\n" do
    count = count + 1
    if line:find "%S" then
      local at = ("%s:%d"):format(path, count)
      local entry, problem = text_of.decode(line)
      if problem then ends.usage("%s: %s", at, problem) end
      check_line(entry, at)
      local file = entry.file and (entry.file:find "^/" and entry.file or folder .. entry.file)
      local id = entry.id ~= nil and tostring(entry.id) or file or at
      add { id = id, path = file, qasm = entry.qasm, at = at, shots = entry.shots, params = entry.params }
    end
  end
end

local function read_list(add)
  local text = io.read "a"
  local pattern = text:find "\0" and "[^\0]+" or "[^\n]+"
  for name in text:gmatch(pattern) do
    name = name:gsub("\r$", "")
    if name ~= "" then add { id = name, path = name } end
  end
end

local function collect(sources)
  local list = {}
  local function add(found) list[#list + 1] = found end
  for _, source in ipairs(sources) do
    if source == "-" then read_list(add)
    elseif source:find "%.jsonl$" then read_manifest(source, add)
    elseif is_folder(source) then
      for _, path in ipairs(list_folder(source)) do add { id = path, path = path } end
    else add { id = source, path = source } end
  end
  if #list == 0 then ends.usage("no circuits: the sources name none") end
  return list
end

-- ---- the inputs of a batch

local function check_ids(inputs)
  local seen = {}
  for _, input in ipairs(inputs) do
    if seen[input.id] then ends.usage("two circuits are called %s: ids tell results apart", out.printable(input.id)) end
    seen[input.id] = true
  end
end

local function load_found(found)
  local source, err
  if found.qasm then
    source, err = arvak.circuit.from_qasm(found.qasm, { name = found.at })
  else
    source, err = M.load(found.path)
  end
  if not source then ends.fail(err, found.at) end
  return source
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
  local inputs, points, used = {}, sweep_points(options.sweep), {}
  local given = M.values(options.param)
  for _, found in ipairs(collect(options.source)) do
    local source = load_found(found)
    for _, point in ipairs(points) do
      local name = point_name(point)
      local values = merge(given, found.params or {}, M.values(point))
      inputs[#inputs + 1] = { qasm = M.bind(source, values, found.id, used), shots = found.shots or shots,
        id = name == "" and found.id or found.id .. "?" .. name, optimization_level = options.optimization }
    end
  end
  M.check_used(merge(given, M.values(points[1])), used)
  check_ids(inputs)
  return inputs
end

return M
