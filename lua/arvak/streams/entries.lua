-- What a user may write for one circuit of a batch. Streams and batches take the same entries.
-- Invariant: a key that nobody would read is a mistake, and no entry is half understood.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local check = require "arvak.base.check"
local errors = require "arvak.base.errors"
local program = require "arvak.results.program"

local M = {}

local DEFAULT_SHOTS, MAX_UINT32 = 1024, 0xffffffff
local ENTRY_BYTES = 64   -- of a message, for what stands around a text, at most

local names = { qasm = true, shots = true, optimization_level = true, id = true, backend_id = true }

local function read_count(value, name, standard)
  if value == nil then return standard end
  local count = math.type(value) and math.tointeger(value)
  if count and count >= 0 and count <= MAX_UINT32 then return count end
  return nil, string.format("%s: got %s, expected an integer from 0 to %d", name, core.describe(value), MAX_UINT32)
end

-- A key that would be overlooked: the message about it.
local function find_unknown(entry, place)
  local is_list = entry[1] ~= nil
  for key in pairs(entry) do
    if not names[key] and not (is_list and (key == 1 or key == 2)) then
      return string.format("%s: unknown option %s, expected {qasm, shots} or {qasm =, shots =, optimization_level "
        .. "=, id =, backend_id =}", place, core.describe(key))
    end
    if is_list and (key == "qasm" or key == "shots") then
      return string.format("%s: got the key %s beside {qasm, shots}", place, core.describe(key))
    end
  end
end

-- In a Lua state without utf8 the service tells.
local function is_text(value)
  return type(value) == "string" and not string.find(value, "\0", 1, true) and (not utf8 or utf8.len(value) ~= nil)
end

-- ---- copies

local fields = { 1, 2, "qasm", "shots", "optimization_level", "id", "backend_id" }

-- In place of an entry whose metatable raised.
local Unreadable = {}

-- Circuits in a table of its own become ones that nobody can change.
local function freeze_circuits(copy)
  for _, key in ipairs { 1, "qasm" } do
    if program.is_circuit(copy[key]) then copy[key] = program.freeze(copy[key]) end
  end
  return copy
end

local function copy_fields(entry)
  local copy = {}
  for key, value in next, entry do copy[key] = value end
  for _, key in ipairs(fields) do
    if copy[key] == nil then copy[key] = entry[key] end
  end
  return freeze_circuits(copy)
end

-- An entry as it is now, in a table of its own and without a metatable, whose __index has been asked once. What is no
-- table stays what it is; a circuit becomes an entry.
function M.copy(entry)
  if type(entry) ~= "table" or getmetatable(entry) == Unreadable then return entry end
  if program.is_circuit(entry) then return { qasm = program.freeze(entry) } end
  local ok, copy = core.protect(copy_fields, entry)
  if ok then return copy end
  return setmetatable({ cause = type(copy) == "string" and copy or core.describe(copy) }, Unreadable)
end

-- An iterator whose entries are copied as they are drawn, since it may use one table again and again.
function M.copying(draw)
  return function() return M.copy(draw()) end
end

-- ---- reading

-- An entry as a table of its own, or in the one that is given: circuit (for the core), backend_id, id; and source where
-- it is a circuit, whose text comes with lower. Or nil and what is wrong with it. Whether the text can be sent is for
-- the core to say, when it is sent.
function M.read(entry, index, backend_id, submission)
  local place = string.format("circuits[%d]", index)
  if program.is_circuit(entry) then entry = { qasm = entry } end
  if type(entry) ~= "table" then
    return nil, string.format("%s: got %s, expected {qasm, shots} or {qasm =, shots =, optimization_level =, id =, "
      .. "backend_id =}", place, core.describe(entry))
  end
  if getmetatable(entry) ~= nil then entry = M.copy(entry) end
  if getmetatable(entry) == Unreadable then
    return nil, string.format("%s: reading it raised an error: %s", place, entry.cause)
  end
  local problem = find_unknown(entry, place)
  if problem then return nil, problem end
  local qasm, source = entry.qasm or entry[1], nil
  if type(qasm) ~= "string" then
    if not program.is_circuit(qasm) then
      return nil, string.format("%s.qasm: got %s, expected OpenQASM 3 text or a circuit", place, core.describe(qasm))
    end
    qasm, source = nil, qasm
  end
  local shots, level
  shots, problem = read_count(entry.shots or entry[2], place .. ".shots", DEFAULT_SHOTS)
  if not shots then return nil, problem end
  level, problem = read_count(entry.optimization_level, place .. ".optimization_level", 0)
  if not level then return nil, problem end
  local id, backend = entry.id, entry.backend_id or backend_id
  if id ~= nil and type(id) ~= "string" and math.type(id) ~= "integer" then
    return nil, string.format("%s.id: got %s, expected a string or an integer", place, core.describe(id))
  end
  if not is_text(backend) then
    return nil, string.format("%s.backend_id: got %s, expected a backend in the entry or as the second argument, in "
      .. "UTF-8 without NUL bytes", place, core.describe(backend))
  end
  local circuit = { qasm = qasm, shots = shots, optimization_level = level }
  if not submission then return { circuit = circuit, source = source, backend_id = backend, id = id } end
  submission.circuit, submission.source, submission.backend_id, submission.id = circuit, source, backend, id
  return submission
end

-- The same, for a batch: what is read is its own, also a circuit in it, which its owner could change. Or nil, what is
-- wrong with it, and a copy of the entry.
function M.take(entry, index, backend_id, submission)
  local taken = M.read(entry, index, backend_id, submission)
  if taken and not taken.source then return taken end
  local copy = M.copy(entry)
  local again, problem = M.read(copy, index, backend_id, submission)
  return again, problem, copy
end

-- An entry that says what was read; where that failed, the entry that is in its place.
function M.entry_of(submission)
  local circuit = submission.circuit
  if not circuit then return submission.entry end
  return { qasm = submission.source or circuit.qasm, shots = circuit.shots,
    optimization_level = circuit.optimization_level, backend_id = submission.backend_id, id = submission.id }
end

-- Gives an entry that was read its text and its way of reading, where it is a circuit and has none: true, or nil and an
-- error.
function M.lower(submission)
  if submission.circuit.qasm then return true end
  local text, way = program.lower(submission.source, submission.circuit.optimization_level, submission.backend_id)
  if not text then return nil, way end
  submission.circuit.qasm, submission.way = text, way
  return true
end

-- What a user gave as circuits: a list, copied, whose entries have all been looked at, or nil and an iterator function.
-- A table that can be called and holds nothing is an iterator. Anything else raises, since nobody would run it.
-- note(submission), if given, is called for each entry of a list.
function M.check_circuits(circuits, backend_id, note)
  if check.is_callable(circuits) and (type(circuits) ~= "table" or next(circuits) == nil) then return nil, circuits end
  if type(circuits) ~= "table" then
    check.misuse("circuits: got %s, expected a list or an iterator function", core.describe(circuits))
  end
  return M.check_list(circuits, backend_id, note)
end

local function check_no_circuit(circuits)
  if program.is_circuit(circuits) then check.misuse("circuits: got a circuit, expected a list of circuits") end
end

-- A list of circuits, copied. Raises for the first entry that is none. note: as of check_circuits.
function M.check_list(circuits, backend_id, note)
  check_no_circuit(circuits)
  local copy, count = check.list(circuits, "circuits", "circuits", "circuit")
  for i = 1, count do
    local entry, problem = M.read(copy[i], i, backend_id)
    if not entry then check.misuse("%s", problem) end
    if entry.source then copy[i] = M.copy(copy[i]) end
    if note then note(entry) end
  end
  return copy, count
end

-- ---- lists for a single RPC, whose entries the core reads

-- Where an entry has its circuit: 1 or "qasm", or nil.
local function circuit_key(entry)
  if type(entry) ~= "table" then return nil end
  return program.is_circuit(rawget(entry, "qasm")) and "qasm" or program.is_circuit(rawget(entry, 1)) and 1 or nil
end

local function with_text(entry, key, text)
  local copy = {}
  for name, value in next, entry do copy[name] = value end
  copy[key] = text
  return copy
end

-- A list of entries as the core takes them, copied, in which every circuit is one of now.
function M.check_plain_list(circuits)
  check_no_circuit(circuits)
  local copy, count = check.list(circuits, "circuits", "circuits", "circuit")
  for i = 1, count do
    local entry, key = copy[i], circuit_key(copy[i])
    if program.is_circuit(entry) then
      copy[i] = { qasm = program.freeze(entry) }
    elseif key then
      copy[i] = with_text(entry, key, program.freeze(entry[key]))
    end
  end
  return copy
end

function M.has_circuit(list)
  for _, entry in ipairs(list) do
    if circuit_key(entry) then return true end
  end
  return false
end

-- The list with an empty text for each circuit, so that the core checks the rest.
function M.without_circuits(list)
  if not M.has_circuit(list) then return list end
  local texts = {}
  for i, entry in ipairs(list) do
    local key = circuit_key(entry)
    texts[i] = key and with_text(entry, key, "") or entry
  end
  return texts
end

-- An entry with the text of its circuit; nil and an error when that cannot be lowered.
function M.lower_plain(entry, backend_id)
  local key = circuit_key(entry)
  if not key then return entry end
  local text, err = program.text_of(entry[key], entry, backend_id)
  if not text then return nil, err end
  return with_text(entry, key, text)
end

-- ---- sizes

local MOST_BYTES = 16 * 1024 * 1024 - 4096   -- of a message: what the service takes (contract 2.1), less what is around

-- The error of a circuit that no message can carry, or nil: sent on a stream, it would take the stream with it.
function M.size_error(circuit, target)
  if #circuit.qasm <= MOST_BYTES then return nil end
  return errors.new("invalid_circuit", string.format("the circuit has %d bytes, the service takes %d",
    #circuit.qasm, MOST_BYTES), { attempts = 0, target = target })
end

-- The last place of a list from first on, so that the circuits up to it fit into one message and are most at most.
function M.find_part(circuits, first, most)
  local bytes, last = 0, first - 1
  while last < #circuits and last - first + 1 < most do
    local entry = circuits[last + 1]
    bytes = bytes + #(entry.qasm or entry[1]) + ENTRY_BYTES
    if bytes > MOST_BYTES and last >= first then break end
    last = last + 1
  end
  return last
end

return M
