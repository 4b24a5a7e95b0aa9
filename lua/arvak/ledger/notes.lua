-- The writer of a ledger: notes of a client's jobs, given to a store, whose thread writes them.
-- Invariant: nobody ever waits for a note, and no note makes a call fail: at most one transaction is on its way, the
-- next one fills meanwhile, within bounds, and what cannot be written is counted and told once.
--
--   state      event                                        then
--   ready      a note                                       busy: the note is handed over
--   busy       a note                                       busy: it waits
--   busy       the transaction has ended well               busy with what waits, or ready
--   busy       it has failed: a full disk, a lock           the same; its notes are lost
--   busy       the guard has failed                         dead: the database is no ledger
--   any        the database is lost, or cannot be opened    away: what was not written waits
--   away       a note or a look, RETRY seconds later; at    busy, with a new connection
--              once where the connection had written before
--   any        the database lets nobody in                  dead
--   away       close                                        dead: what waits is handed over to a new connection
--   any        close, the end of the Lua state              dead: what waits is handed over, unless it was away or dead
--
-- A look is whatever the client hears of its jobs, and client:stats(): no timer of a ledger keeps a program alive.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local connections = require "arvak.store.connection"
local places = require "arvak.ledger.place"
local raised = require "arvak.base.raised"
local strays = require "arvak.async.strays"

local M = {}

local RETRY = 5.0                -- seconds between two connections
local MOST_WAITING = 10000       -- notes
local MOST_IN_TRANSACTION = 1000
local MOST_REMEMBERED = 10000    -- jobs, whose last state is known, so that it is not written again

local Notes = {}
Notes.__index = Notes

local known_states = { QUEUED = true, RUNNING = true, COMPLETED = true, FAILED = true, CANCELED = true,
  RESULT_EXPIRED = true }

-- ---- trouble

-- The first is told, all are counted.
local function note_trouble(self, message, lost)
  self._lost = self._lost + lost
  if self._problem then return end
  self._problem = self._place.hide(message)
  strays.say(string.format("the ledger %s: %s; client:stats().ledger counts what is not noted", self._place.shown,
    self._problem))
end

-- The client is closed, and nobody can ask it any more.
local function say_lost(self, count)
  self._lost = self._lost + count
  strays.say(string.format("the ledger %s: the client was closed while the database was away, and %d notes are lost",
    self._place.shown, count))
end

local function die(self, message)
  local lost = #self._waiting
  self._state, self._waiting = "dead", {}
  note_trouble(self, message, lost)
end

local connect, hand_over

-- The database is not there: what was not written waits for another connection. One that has served before may have
-- ended while nothing was to be noted: then the next one begins now, since no other note may follow.
local function go_away(self, message)
  if self._state == "away" or self._state == "dead" then return end
  self._state, self._retry_at = "away", core.now() + RETRY
  self._connection:abandon()
  note_trouble(self, message, 0)
  if not self._has_served then return end
  self._has_served = false
  local ok, err = connect(self)
  if not ok then return note_trouble(self, err.message, 0) end
  if #self._waiting > 0 then hand_over(self) end
end

-- The guard has failed: asks the database what it is instead.
local function ask_why(self, message)
  if self._place.kind ~= "sqlite" then return die(self, message) end
  local connection = self._connection
  local tx = connection:transaction()
  tx:add(self._place.dialect.look)
  self._state = "dead"
  connection:start(tx, "read", function(outcome)
    local ok, verdict = core.protect(self._place.dialect.verdict, outcome.ok and outcome[1][1])
    die(self, ok and verdict or message)
    connection:abandon()
  end)
end

-- ---- transactions

local function transaction_of(self, statements)
  local tx = self._connection:transaction()
  for _, sql in ipairs(statements) do tx:add(sql) end
  return tx
end

local function add_note(self, tx, note)
  local dialect, age = self._place.dialect, core.now() - note.at
  if note.state then
    tx:add(dialect.update, note.state, age, note.job_id)
  else
    tx:add(dialect.insert, note.job_id, self._address, note.backend_id, note.shots, note.label, age, age)
  end
end

-- A transaction of what waits, and the notes in it.
local function next_transaction(self)
  local tx = transaction_of(self, self._is_ours and {} or { self._place.dialect.guard,
    table.unpack(self._place.dialect.schema) })
  local waiting = self._waiting
  local notes = table.move(waiting, 1, math.min(#waiting, MOST_IN_TRANSACTION), 1, {})
  for _, note in ipairs(notes) do add_note(self, tx, note) end
  self._waiting = table.move(waiting, #notes + 1, #waiting, 1, {})
  return tx, notes
end

local function go_on(self)
  if self._state ~= "busy" then return end
  self._state = "ready"
  if #self._waiting > 0 then hand_over(self) end
end

local function on_written(self, notes)
  self._under_way = 0
  self._noted, self._has_served = self._noted + #notes, true
  if not self._is_ours and self._state == "busy" then
    self._is_ours = true
    self._connection:start(transaction_of(self, self._place.dialect.improvements), "raw", function() end)
  end
  go_on(self)
end

-- A transaction has failed. One that was lost may have been written: writing it again changes nothing.
local function on_failed(self, outcome, notes)
  self._under_way = 0
  local is_gone = outcome.what == "closed" or outcome.what == "lost"
  if is_gone and (self._state == "busy" or self._state == "away") then
    self._waiting = table.move(self._waiting, 1, #self._waiting, #notes + 1, notes)
    return go_away(self, outcome.message)
  end
  if is_gone and self._state == "dead" then return say_lost(self, #notes) end
  if outcome.statement == 1 and not self._is_ours and self._state == "busy" then
    self._lost = self._lost + #notes
    return ask_why(self, outcome.message)
  end
  note_trouble(self, outcome.message, #notes)
  go_on(self)
end

function hand_over(self)
  local tx, notes = next_transaction(self)
  self._state, self._under_way = "busy", #notes
  local ok, caught = xpcall(self._connection.start, raised.note, self._connection, tx, "write", function(outcome)
    if outcome.ok then on_written(self, notes) else on_failed(self, outcome, notes) end
  end)
  if ok then return end
  local err, _, is_interrupt = raised.read(caught)
  self._state, self._under_way = "ready", 0
  if is_interrupt then   -- Ctrl-C is for the program, and nothing that the ledger has met
    self._lost = self._lost + #notes
    error(err, 0)
  end
  note_trouble(self, tostring(err), #notes)
end

-- What waits goes to the store, of whose outcome nobody hears any more.
local function leave_rest(self)
  while #self._waiting > 0 do
    local tx = next_transaction(self)
    self._connection:hand_over(tx, "write")
  end
  self._connection:finish()
end

-- Begins a connection: true, or nil and an error when the module is missing.
function connect(self)
  local place = self._place
  local connection, err = connections.start(place.kind, place.where, place.options, function(_, failure)
    if not failure then return end
    if self._left_waiting then return say_lost(self, self._left_waiting) end
    if failure.what == "auth" and self._state ~= "dead" then return die(self, failure.message) end
    go_away(self, failure.message)
  end)
  if not connection then return nil, err end
  self._connection, self._state = connection, "ready"
  -- Made after the store, so it is finalized before it: at the end of a program what waits is still handed over.
  self._sentinel = setmetatable({}, { __gc = function()
    local is_there = self._state == "ready" or self._state == "busy"
    if is_there and self._connection == connection then pcall(leave_rest, self) end
  end })
  local info = place.kind == "sqlite" and core.file_info(place.where)
  local is_new = info == nil or (info and info.size == 0)
  local settings = is_new and place.dialect.settings_of_new or place.dialect.settings
  if #settings > 0 then connection:start(transaction_of(self, settings), "raw", function() end) end
  return true
end

-- Tries again to reach a database that was away, when that is due.
local function look(self)
  if self._state == "away" and core.now() >= self._retry_at then
    connect(self)
    if self._state == "ready" and #self._waiting > 0 then hand_over(self) end
  end
end

local function add(self, note)
  note.at = core.now()
  if self._state == "dead" then
    self._lost = self._lost + 1
  elseif #self._waiting >= MOST_WAITING then
    note_trouble(self, string.format("%d notes wait to be written, no more are taken", MOST_WAITING), 1)
  else
    self._waiting[#self._waiting + 1] = note
    look(self)
    if self._state == "ready" then hand_over(self) end
  end
end

-- ---- what happens to jobs

local function remember(self, job_id, state)
  if not self._last[job_id] then
    if self._last_count >= MOST_REMEMBERED then self._last, self._last_count = {}, 0 end
    self._last_count = self._last_count + 1
  end
  self._last[job_id] = state
end

-- A submit has made a job.
function Notes:submitted(job_id, backend_id, shots, label)
  remember(self, job_id, "QUEUED")
  add(self, { job_id = job_id, backend_id = backend_id, shots = shots, label = label })
end

-- The server has told a job's state.
function Notes:seen(job_id, state)
  if not known_states[state] or self._last[job_id] == state then return look(self) end
  remember(self, job_id, state)
  add(self, { job_id = job_id, state = state })
end

-- ---- life

-- For client:stats(): notes written, waiting, and lost, and the first trouble, or nil.
function Notes:stats()
  look(self)
  return { noted = self._noted, waiting = #self._waiting + self._under_way, lost = self._lost, problem = self._problem }
end

-- One more handle of the client, and one less: the last one closes. Never waits: the store ends by itself.
function Notes:share() self._handles = self._handles + 1 end

function Notes:close()
  self._handles = self._handles - 1
  if self._handles > 0 or self._state == "dead" then return end
  if self._state == "away" then
    if #self._waiting == 0 then return die(self, "closed while the database was away") end
    self._left_waiting = #self._waiting
    if not connect(self) then return die(self, "closed while the database was away") end
  end
  leave_rest(self)
  self._state = "dead"
  self._connection:leave(function() end)
end

-- Begins to write the ledger of this name for a client at this address; raises when the name is none, or when the
-- module of its database is missing. What else goes wrong is told later.
function M.open(name, address)
  local self = setmetatable({ _place = places.of(name, "ledger"), _address = address, _waiting = {}, _last = {},
    _last_count = 0, _under_way = 0, _noted = 0, _lost = 0, _handles = 1 }, Notes)
  local ok, err = connect(self)
  if not ok then error(err, 0) end
  return self
end

return M
