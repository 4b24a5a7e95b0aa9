-- The inputs of a batch: what an entry may be, and where the next one comes from.
-- Invariant: what was drawn from an iterator is handed on once, also when the batch has stopped meanwhile.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local check = require "arvak.base.check"
local future = require "arvak.async.future"
local task = require "arvak.async.task"

local M = {}

local DEFAULT_SHOTS, MAX_UINT32 = 1024, 0xffffffff

-- ---- one entry

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

-- An entry as a table of its own: circuit (for the core), shots, backend_id, id. Or nil and what is wrong with it.
-- Whether the text can be sent is for the core to say, when it is sent.
function M.read(entry, index, backend_id)
  local place = ("circuits[%d]"):format(index)
  if type(entry) ~= "table" then
    return nil, ("%s: got %s, expected {qasm, shots} or {qasm =, shots =, optimization_level =, id =, backend_id =}")
      :format(place, core.describe(entry))
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

-- ---- from a list

local List = {}
List.__index = List

-- Draws from a list; total is known. indexes: only these places, in this order.
function M.from_list(circuits, indexes)
  return setmetatable({ circuits = circuits, indexes = indexes, next = 1, total = indexes and #indexes or #circuits,
    drawn = 0 }, List)
end

function List.want() end
function List.stop() end

-- The next index and entry, or nil.
function List:take()
  if self.next > self.total then return nil end
  local index = self.indexes and self.indexes[self.next] or self.next
  self.next, self.drawn = self.next + 1, self.drawn + 1
  return index, self.circuits[index]
end

function List:is_exhausted() return self.next > self.total end

-- ---- from an iterator

local Iterator = {}
Iterator.__index = Iterator

-- Draws from an iterator function in a task of its own, so that one that waits, for a result of this very batch even,
-- holds up nothing. wake() is called when something has come. total is nil until the iterator has ended.
function M.from_iterator(draw, wake)
  return setmetatable({ draw = draw, wake = wake, queue = {}, first = 1, last = 0, wanted = 0, drawn = 0, tickets = {},
    is_over = false, is_stopped = false, has_started = false, raised = false, total = false,
    task = { false },   -- a place for it: a task that could not be noted for want of memory would go on for ever
  }, Iterator)
end

local Caught = {}

-- A message handler: the error and its traceback.
function M.catch(err)
  local traceback = debug and debug.traceback and debug.traceback(tostring(err), 2)
  return setmetatable({ err = err, traceback = traceback }, Caught)
end

-- What such a handler gave, or what came in its place when there was no memory: the error, and its traceback or nil.
function M.caught(value)
  if getmetatable(value) == Caught then return value.err, value.traceback end
  return value
end

local function draw_wanted(self)
  while not self.is_stopped do
    if self.wanted > 0 then
      local entry = self.draw()
      if entry == nil then return end
      self.wanted = self.wanted - 1
      self.last = self.last + 1
      self.queue[self.last] = entry
      self.wake()
    elseif future.park(self.tickets, "the iterator of a batch") == nil then
      return
    end
  end
end

local function run_iterator(self)
  self.has_started = true
  local ok, caught = xpcall(draw_wanted, M.catch, self)
  self.is_over = true
  if not ok then self.raised = caught end
  self.wake()
end

-- Asks for inputs, until count are there to be taken.
function Iterator:want(count)
  local wanted = count - (self.last - self.first + 1)
  if wanted <= 0 or self.is_over or self.is_stopped or wanted == self.wanted then return end
  self.wanted = wanted
  if not self.task[1] then self.task[1] = task.spawn_detached(run_iterator, self)._task end
  future.wake(self.tickets)
end

-- The next index and entry that has been drawn, or nil.
function Iterator:take()
  local entry = self.queue[self.first]
  if entry == nil then return nil end
  self.queue[self.first] = nil
  self.first, self.drawn = self.first + 1, self.drawn + 1
  return self.drawn, entry
end

function Iterator:is_exhausted()
  if not self.is_over or self.first <= self.last then return false end
  if not self.is_stopped and not self.raised then self.total = self.drawn end
  return true
end

-- Draws no further. What waits in the iterator is canceled. Allocates nothing.
function Iterator:stop()
  if self.is_stopped then return end
  self.is_stopped = true
  if self.task[1] and not self.is_over then core.cancel_tasks(self.task) end
  if not self.has_started then self.is_over = true end
end

return M
