-- The line of a shared batch to its database: the connection, made again when it is lost; the worker's row; and the one
-- write at a time that goes through it. What comes from the database is kept until turn, which acts on it.
-- Invariant: whoever handed something to write is told once what became of it: "done" or "refused", after a cut too, or
-- "parted".
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local connection = require "arvak.store.connection"
local errors = require "arvak.base.errors"
local future = require "arvak.async.future"
local member = require "arvak.batch.shared.member"
local queue = require "arvak.base.queue"
local sql = require "arvak.batch.shared.sql"

local M = {}

local CONNECT_TIMEOUT = 10.0
local SHORTEST, LONGEST = 2.0, 30.0   -- seconds that a statement may take: a lease, within these
local BEATS = 4                       -- in a lease
local QUIET_LEASES, QUIET = 10, 300.0 -- without a turn of the loop for so long, a worker is taken for dead
local CHANGED = "22012"               -- a division by zero: a statement did not find the rows that are this worker's
local RETRY = 0.2                     -- seconds until a write that was rolled back is tried again

local Link = {}
Link.__index = Link

-- spec: name (of dsn), batch_name, lease, reconnect, worker_name, wake; on: parted(), joined(state), held(rows),
-- lost(err), changed().
function M.new(spec)
  local self = setmetatable({ inbox = queue.new(), generation = 0, pending = nil, not_before = 0, is_asking = false },
    Link)
  for key, value in pairs(spec) do self[key] = value end
  self.member = member.new(self.lease, self.reconnect, core.now())
  self.conninfo = self.name:conninfo_with("application_name", "arvak " .. self.worker_name)
  return self
end

-- An error about this journal. problem: a text, an outcome or an error object.
function Link:failure(what, problem)
  if errors.is_error(problem) and not problem.what then return problem end
  local message = type(problem) == "string" and problem or problem and problem.message
    or "the database does not say why"
  return errors.new("rpc", string.format("the journal %s, batch %s, %s: %s", self.name.shown, self.batch_name, what,
    self.name:hide(message)))
end

-- ---- the connection

local function options_of(self)
  return { purpose = "a journal", connect_timeout = CONNECT_TIMEOUT, idle_timeout = math.max(0.5, self.lease / 2),
    statement_timeout = math.min(LONGEST, math.max(SHORTEST, self.lease)) }
end

-- Opens the first connection, and waits for it: true, or nil and an error.
function Link:open()
  local opened, err = connection.open("postgres", self.conninfo, options_of(self))
  if not opened then return nil, self:failure("cannot be opened", err) end
  self.connection, self.generation = opened, self.generation + 1
  self.member:open()
  self.member:connect(core.now())
  return true
end

-- Waits for statements, each a table of a text and its values, n of them: the rows of each; or nil, and the outcome.
function Link:ask(mode, list)
  local transaction = self.connection:transaction()
  for _, statement in ipairs(list) do transaction:add(table.unpack(statement, 1, statement.n or #statement)) end
  local outcome, err = self.connection:run(transaction, mode)
  if not outcome then return nil, err end
  if not outcome.ok then return nil, outcome end
  return outcome
end

-- Whether the connection has ended with it.
local function is_gone(outcome)
  return outcome.what == "closed" or outcome.what == "lost" or outcome.what == "readonly"   -- it is a standby now
end

Link.is_gone = is_gone

-- The first connection is lost before there was a row: another one may be opened.
function Link:forget()
  local left = self.connection
  self.connection, self.generation = nil, self.generation + 1
  self.member:lose(core.now())
  if left then left:leave(function() end) end
end

local function lose(self, problem)
  local left = self.connection
  self.connection, self.generation, self.is_asking = nil, self.generation + 1, false
  self.last_problem = problem
  self.member:lose(core.now())
  if left then left:leave(function() end) end
end

-- handler(outcome) is called in a turn, unless the connection has been lost before.
local function start(self, transaction, mode, is_beat, handler)
  local generation = self.generation
  self.connection:start(transaction, mode, function(outcome)
    self.inbox:push { generation = generation, handler = handler, outcome = outcome }
    self.wake()
  end, is_beat)
end

local function connect(self)
  self.member:open()
  self.generation = self.generation + 1
  local generation = self.generation
  local ok, err = connection.start("postgres", self.conninfo, options_of(self), function(opened, problem)
    self.inbox:push { generation = generation, opened = opened, outcome = problem, handler = function()
      if not opened then return lose(self, problem) end
      self.connection = opened
      self.member:connect(core.now())
    end }
    self.wake()
  end)
  if not ok then lose(self, err) end
end

-- ---- the worker's row

local function beat(self)
  local transaction = self.connection:transaction()
  transaction:add(sql.beat, self.member.worker, self.member.epoch, 0.0)
  local generation = self.generation
  self.connection:beat(transaction, self.lease / BEATS, math.max(QUIET_LEASES * self.lease, QUIET), 3, function(outcome)
    self.inbox:push { generation = generation, outcome = outcome, handler = function()
      if outcome.what == "fenced" then
        self:part()
      elseif not outcome.ok and is_gone(outcome) then
        lose(self, outcome)
      end
    end }
    self.wake()
  end)
end

-- Another program has what was this worker's.
function Link:part()
  local pending = self.pending
  self.pending = nil
  if self.member.state ~= "member" and self.member.state ~= "resyncing" then return end
  self.member:part(core.now())
  if self.connection then self.connection:beat(nil) end
  if pending then pending.done("parted") end
  self.on.parted()
end

local function on_joined(self, outcome)
  local count = #outcome
  self.member:join(outcome[count - 1][1].worker)
  beat(self)
  self.on.joined(outcome[count][1])
end

-- The statements that make a worker's row, and those before them; the state of the batch comes last.
function Link:join_statements(before)
  local list = before or {}
  list[#list + 1] = { sql.insert_worker, self.batch, self.worker_name, self.lease }
  list[#list + 1] = { sql.read_state, self.batch }
  return list
end

-- The row that was made while somebody waited.
function Link:note_joined(outcome) on_joined(self, outcome) end

local function fill(transaction, list)
  for _, statement in ipairs(list) do transaction:add(table.unpack(statement, 1, statement.n or #statement)) end
  return transaction
end

-- A question of ours that failed: asked again later, or on the next connection.
local function put_off(self, outcome)
  if is_gone(outcome) then return lose(self, outcome) end
  self.is_asking, self.not_before, self.last_problem = false, core.now() + RETRY, outcome
end

local function join_again(self)
  self.is_asking = true
  start(self, fill(self.connection:transaction(), self:join_statements()), "raw", false, function(outcome)
    if not outcome.ok then return put_off(self, outcome) end
    self.is_asking = false
    on_joined(self, outcome)
  end)
end

-- What became of the write that was under way when the connection was lost.
local function settle_pending(self, kind, was_done)
  local pending = self.pending
  self.pending = nil
  if kind then pending.done(was_done and "done" or "refused") end
end

local function on_resync(self, outcome)
  if not outcome.ok then return put_off(self, outcome) end
  self.is_asking = false
  local row = outcome[1][1]
  if not row then return self:part() end
  local kind, was_done = self.member:resync(row.seq, row.session)
  beat(self)
  settle_pending(self, kind, was_done)
  self.on.held(outcome[2])
end

local function resync(self)
  self.is_asking = true
  local worker, epoch = self.member.worker, self.member.epoch
  start(self, fill(self.connection:transaction(), { { sql.resync, worker, epoch },
    { sql.read_held, self.batch, worker, epoch } }), "write", false, function(outcome) on_resync(self, outcome) end)
end

-- ---- what goes through it

local function is_fenced(write, outcome)
  if outcome.ok then return write.is_claim and #outcome[1] == 0 end
  return outcome.code == CHANGED and outcome.statement == 1
end

-- Only these end well when they are tried again.
local passing = { ["40001"] = true, ["40P01"] = true, ["55P03"] = true, ["57014"] = true, ["53200"] = true,
  ["53400"] = true }

local function on_written(self, write, outcome)
  if self.pending ~= write then return end
  if is_fenced(write, outcome) then return self:part() end
  if outcome.what == "lost" then return lose(self, outcome) end
  self.pending = nil
  if outcome.ok then
    self.member:commit()
    return write.done("done", outcome)
  end
  self.member:refuse()
  if is_gone(outcome) then
    lose(self, outcome)
  elseif outcome.what == "timeout" or outcome.what == "busy" or passing[outcome.code] then
    self.not_before, self.last_problem = core.now() + RETRY, outcome
  elseif outcome.code == CHANGED then
    self.not_before = core.now() + RETRY
    self.on.changed()
  else
    self.on.lost(self:failure("cannot be written", outcome))
  end
  write.done("refused")
end

-- Whether a write may begin, now or later, without anything coming before.
function Link:may_begin() return self.member:is_free() end

-- Whether a write may begin now.
function Link:is_free(now) return self.member:is_free() and now >= self.not_before end

-- Begins a write: fill_in(transaction, seq) adds its statements, the fence first. is_claim: one statement that is whole
-- by itself, and gives a row where the worker holds. done(fate, outcome): "done", "refused" (rolled back) or "parted".
-- After a cut there is no outcome; what the worker has then is told to on.held.
function Link:write(kind, is_claim, fill_in, done)
  local transaction, seq = self.connection:transaction(), self.member:begin(kind)
  self.is_leaving = kind == "leave"
  fill_in(transaction, seq)
  local write = { is_claim = is_claim, done = done }
  self.pending = write
  start(self, transaction, is_claim and "raw" or "write", true, function(outcome) on_written(self, write, outcome) end)
end

-- The last write of those who cannot wait, behind the one that is under way, if there is one: with it it fails.
function Link:write_last(fill_in)
  local transaction = self.connection:transaction()
  fill_in(transaction, self.member:seq_after())
  self.connection:hand_over(transaction, "write")
end

-- Adds what every turn begins with.
function Link:add_fence(transaction, seq, ends)
  local worker = self.member
  transaction:add(sql.fence, worker.worker, worker.epoch, worker.session, seq, ends)
end

-- Asks something beside the writes: on_answer(outcome), when it went well; on_failure() otherwise.
function Link:query(mode, list, on_answer, on_failure)
  start(self, fill(self.connection:transaction(), list), mode, false, function(outcome)
    if outcome.ok then return on_answer(outcome) end
    if is_gone(outcome) then lose(self, outcome) end
    on_failure(outcome)
  end)
end

function Link:is_up() return self.connection ~= nil and self.member.state == "member" end

-- Whether circuits may be sent.
function Link:may_send()
  local opened = self.connection
  if not opened then return false end
  local sent_at, now = opened:last_beat()
  return self.member:may_send(sent_at and now - sent_at)
end

-- ---- turns

-- Acts on what has come, and does what is due. Returns an error when the database has been away for too long.
function Link:turn(now)
  if self.connection then self.connection:touch() end
  while true do
    local news = self.inbox:pop()
    if not news then break end
    if news.generation == self.generation then
      news.handler(news.outcome)
    elseif news.opened then
      news.opened:leave(function() end)
    end
  end
  local state = self.member.state
  if state == "parted" and self.is_leaving then return end   -- its row is gone with its last words
  if state == "parted" and self.connection then self.member:rejoin() end
  if state == "parted" and not self.connection then self.member:lose(now) end
  if self.member:is_lost(now) then
    return self:failure(string.format("cannot be reached, and reconnect = %s s have passed",
      errors.seconds(self.reconnect)), self.last_problem)
  end
  if self.member:may_open(now) then connect(self) end
  if self.is_asking or now < self.not_before then return end
  if self.member.state == "joining" then join_again(self) end
  if self.member.state == "resyncing" then resync(self) end
end

-- When turn has something to do without being woken.
function Link:next_time()
  local state = self.member.state
  if state == "away" then return self.member.retry_at end
  if self.not_before > core.now() then return self.not_before end
  if state == "parted" then return 0 end
end

-- ---- the end

-- Lets go of the connection after what is under way; waits: until then, for some seconds at most.
function Link:close(waits)
  local left = self.connection
  self.connection, self.generation = nil, self.generation + 1
  self.member:leave()
  if not left then return end
  left:beat(nil)
  if waits then left:close() else left:leave(function() end) end
end

-- Waits until a write may begin, or is_over() says so, for some time at most: whether that is so.
function Link:wait_until_free(tickets, ends_at, is_over)
  while true do
    local err = self:turn(core.now())
    if is_over and is_over() then return true end
    if err or self:is_free(core.now()) then return not err end
    local left = ends_at - core.now()
    if left <= 0 or future.park(tickets, "execute_batch", math.min(left, RETRY)) == nil then return false end
  end
end

return M
