-- What a user may write for one circuit of a batch. Streams and batches take the same entries.
-- Invariant: a key that nobody would read is a mistake, and no entry is half understood.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local check = require "arvak.base.check"

local M = {}

local DEFAULT_SHOTS, MAX_UINT32 = 1024, 0xffffffff

local names = { qasm = true, shots = true, optimization_level = true, id = true, backend_id = true }

local function read_count(value, name, standard)
  if value == nil then return standard end
  local count = math.type(value) and math.tointeger(value)
  if count and count >= 0 and count <= MAX_UINT32 then return count end
  return nil, ("%s: got %s, expected an integer from 0 to %d"):format(name, core.describe(value), MAX_UINT32)
end

-- A key that would be overlooked: the message about it.
local function find_unknown(entry, place)
  local is_list = entry[1] ~= nil
  for key in pairs(entry) do
    if not names[key] and not (is_list and (key == 1 or key == 2)) then
      return ("%s: unknown option %s, expected {qasm, shots} or {qasm =, shots =, optimization_level =, id =, "
        .. "backend_id =}"):format(place, core.describe(key))
    end
    if is_list and (key == "qasm" or key == "shots") then
      return ("%s: got the key %s beside {qasm, shots}"):format(place, core.describe(key))
    end
  end
end

-- In a Lua state without utf8 the service tells.
local function is_text(value)
  return type(value) == "string" and not value:find("\0", 1, true) and (not utf8 or utf8.len(value) ~= nil)
end

-- What stands for an entry whose metamethods raised.
local Broken = {}

local function copy_of(entry)
  local own = {}
  for key, value in pairs(entry) do own[key] = value end
  for name in pairs(names) do
    if own[name] == nil then own[name] = entry[name] end
  end
  for i = 1, 2 do
    if own[i] == nil then own[i] = entry[i] end
  end
  return own
end

-- A copy of an entry that was drawn, which whoever wrote it may use again, as a plain table. Never raises: what cannot
-- be read is refused by read.
function M.copy(entry)
  if type(entry) ~= "table" then return entry end
  local ok, own = core.protect(copy_of, entry)
  return ok and own or setmetatable({ reason = own }, Broken)
end

-- An entry as a table of its own: circuit (for the core), shots, backend_id, id. Or nil and what is wrong with it.
-- Whether the text can be sent is for the core to say, when it is sent.
function M.read(entry, index, backend_id)
  local place = ("circuits[%d]"):format(index)
  if type(entry) ~= "table" then
    return nil, ("%s: got %s, expected {qasm, shots} or {qasm =, shots =, optimization_level =, id =, backend_id =}")
      :format(place, core.describe(entry))
  end
  if getmetatable(entry) == Broken then
    return nil, ("%s: reading it raised an error: %s"):format(place, core.describe(entry.reason))
  end
  local problem = find_unknown(entry, place)
  if problem then return nil, problem end
  local qasm = entry.qasm or entry[1]
  if type(qasm) ~= "string" then
    return nil, ("%s.qasm: got %s, expected OpenQASM 3 text"):format(place, core.describe(qasm))
  end
  local shots, level
  shots, problem = read_count(entry.shots or entry[2], place .. ".shots", DEFAULT_SHOTS)
  if not shots then return nil, problem end
  level, problem = read_count(entry.optimization_level, place .. ".optimization_level", 0)
  if not level then return nil, problem end
  local id, backend = entry.id, entry.backend_id or backend_id
  if id ~= nil and type(id) ~= "string" and math.type(id) ~= "integer" then
    return nil, ("%s.id: got %s, expected a string or an integer"):format(place, core.describe(id))
  end
  if not is_text(backend) then
    return nil, ("%s.backend_id: got %s, expected a backend in the entry or as the second argument, in UTF-8 without "
      .. "NUL bytes"):format(place, core.describe(backend))
  end
  return { circuit = { qasm = qasm, shots = shots, optimization_level = level }, backend_id = backend, id = id }
end

-- Raises for the first entry of a list that is none, and for what lies beside the list (but for the n of table.pack):
-- nobody would run it.
function M.check_list(circuits, backend_id)
  local count = #circuits
  for i = 1, count do
    local entry, problem = M.read(circuits[i], i, backend_id)
    if not entry then check.misuse("%s", problem) end
  end
  for key, value in pairs(circuits) do
    local is_of_list = math.type(key) == "integer" and key >= 1 and key <= count
    if not is_of_list and not (key == "n" and value == count) then
      check.misuse("circuits: got the key %s in a list of %d entries", core.describe(key), count)
    end
  end
end

return M
