-- One batch while it runs: entries in, at most max_workers jobs open, outcomes out. It runs in the caller, who is a
-- task or is not; what comes in between (answers, an entry, a cancel from outside) only wakes it.
-- Invariant: an entry that was drawn becomes one input, which ends in finish, once, whatever happens.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local commits = require "arvak.batch.commits"
local detached = require "arvak.async.detached"
local entries = require "arvak.streams.entries"
local errors = require "arvak.base.errors"
local future = require "arvak.async.future"
local progress = require "arvak.batch.progress"
local queue = require "arvak.base.queue"
local raised = require "arvak.base.raised"
local transport_stream = require "arvak.batch.transport_stream"
local transport_unary = require "arvak.batch.transport_unary"
local watcher = require "arvak.batch.watcher"

local M = {}

local LINGER = 0.5              -- seconds that a batch which was stopped waits for its cancellations
local DRAWN_A_TURN = 256        -- entries at most that are drawn before the loop turns
local MAX_ATTEMPTS = 5          -- submits of one input, where the options want repetitions
local REFUSAL_PATIENCE = 300.0  -- seconds that a server may refuse every submit while no job of ours is unfinished

local Run = {}
Run.__index = Run

-- client, target, patience (seconds that the server may fail without a break), max_workers, backend_id, options,
-- source, sink(item, input): told of each end, in the order of the ends; on_submitted(input) or nil; on_end(run).
function M.new(spec)
  local run = setmetatable({
    has_news = false, open = {}, open_count = 0, acknowledged = 0, completed = 0, failed = 0, kept = 0,
    ready = queue.new(), ended = queue.new(), skipped = {}, tickets = {}, started_at = core.now(), next_report = 0,
  }, Run)
  run.answered_at = run.started_at
  for name, value in pairs(spec) do run[name] = value end
  run.watcher, run.commits = watcher.new(run), commits.direct(run)
  local transport = run.options.transport or "auto"
  run.transport = transport == "unary" and transport_unary.new(run) or transport_stream.new(run, transport == "auto")
  if run.options.timeout then run.ends_at = run.started_at + run.options.timeout end
  return run
end

-- Ends the wait of whoever runs it.
function Run:wake()
  self.has_news = true
  future.wake(self.tickets)
end

-- ---- why it stops

-- From now on nothing is drawn or sent, and what is open ends with an error of this kind. The first reason counts.
function Run:stop(err)
  if self.stopped_by then return end
  self.stopped_by, self.stops_at = err, core.now() + LINGER
  self:wake()
end

function Run:closed_error() return errors.new("closed", "the client was closed", { target = self.target }) end

-- The server has answered, whatever it was.
function Run:note_answer()
  self.failing_since, self.answered_at = nil, core.now()
end

-- The server has failed; when it does so without a break for as long as a call may take, it is given up. A breaker that
-- is open refuses on its own; its probe will tell.
function Run:note_failure(err)
  if err.kind == "circuit_open" then return end
  local now = core.now()
  self.failing_since = self.failing_since or math.max(now - (err.elapsed or 0), self.answered_at)
  if now - self.failing_since < self.patience then return end
  self:stop(errors.new(err.kind, ("the server has failed for %g s without a break: %s")
    :format(self.patience, err.message or err.kind), { cause = err, target = self.target }))
end

-- The server has refused a submit as too much.
function Run:note_refusal(err)
  local now = core.now()
  self:note_answer()
  if self.acknowledged > 0 then self.refused_since = nil end
  self.refused_since = self.refused_since or now
  if now - self.refused_since < REFUSAL_PATIENCE then return end
  self:stop(errors.new(err.kind, ("the server has refused every submit for %g s: %s")
    :format(REFUSAL_PATIENCE, err.message or err.kind), { cause = err, target = self.target }))
end

-- What an open input ends with once the batch has stopped. All that were never sent share one.
local function stop_error(self, input)
  local by = self.stopped_by
  if not input.is_sent and not input.job_id then
    self.unsent_error = self.unsent_error or errors.new(by.kind, "not submitted: " .. by.message,
      { cause = by, scope = by.scope, target = self.target, attempts = 0 })
    return self.unsent_error
  end
  return errors.new(by.kind, by.message, { cause = by, scope = by.scope, target = self.target, job_id = input.job_id,
    maybe_executed = not input.job_id })
end

-- ---- inputs

-- Ends an input. What comes later for it is ignored.
function Run:finish(input, result, err)
  if self.open[input.index] ~= input then return end
  self.open[input.index] = nil
  self.open_count = self.open_count - 1
  if input.is_acknowledged then self.acknowledged = self.acknowledged - 1 end
  input.result, input.err = result, err
  if input.is_kept then self.kept = self.kept + 1 end
  if result then
    self.completed = self.completed + 1
    if input.sent_at then self.watcher:note_duration(core.now() - input.sent_at) end
  else
    self.failed = self.failed + 1
    if input.job_id then err.job_id = err.job_id or input.job_id end
    if self.options.fail_fast and not self.stopped_by and not input.is_kept then
      self:stop(errors.new("canceled", ("circuits[%d] failed, and fail_fast is set"):format(input.index),
        { cause = err, target = self.target }))
    end
  end
  self.commits:note_end(input)
  self:wake()
end

local function on_cancel(call, ok, err)
  local self, input = call.run, call.input
  self:wake()
  if self.open[input.index] ~= input then return end
  if ok then return self:finish(input, nil, stop_error(self, input)) end
  if err.kind == "not_cancelable" then return self.watcher:look_now(input, core.now()) end   -- it has ended: how?
  self:finish(input, nil, stop_error(self, input))
end

local function ignore() end

-- Requests the cancellation of a job; on_end is told what the server said.
local function cancel_job(self, input, job_id, on_end)
  if input.is_canceling or core.is_closed(self.client) then return end
  input.is_canceling = true
  detached.go_on({ run = self, input = input, job_id = job_id }, on_end, "cancel_job", self.client, job_id)
end

-- An input's job is known from an earlier run.
function Run:attach(input, job_id)
  input.job_id, input.is_sent, input.is_acknowledged = job_id, true, true
  self.acknowledged = self.acknowledged + 1
  self.watcher:look_now(input, core.now())
end

-- That job was canceled when its batch was stopped.
function Run:submit_anew(input)
  self.acknowledged = self.acknowledged - 1
  input.job_id, input.is_sent, input.is_acknowledged, input.was_stopped = nil, false, false, nil
  self.commits:intend(input)
end

-- The server has taken an input's circuit.
function Run:acknowledge(input, job_id)
  input.job_id, input.is_sent, input.is_acknowledged = job_id, true, true
  self.acknowledged, self.refused_since = self.acknowledged + 1, nil
  self:note_answer()
  self.commits:note_submitted(input)
  if self.on_submitted then self.on_submitted(input) end
  if self.stopped_by then cancel_job(self, input, job_id, on_cancel) end
end

-- The same when the input has ended meanwhile: nobody waits for that job any more.
function Run:note_late_id(input, job_id)
  if job_id then cancel_job(self, input, job_id, ignore) end
end

-- A submit that made no job.
function Run:send_again(input)
  if input.cancel_error then return self:finish(input, nil, input.cancel_error) end
  self.ready:push_front(input)
end

-- A submit of which nobody knows whether it made a job.
function Run:lose(input, err)
  if self.options.on_unknown ~= "resubmit" or input.attempts >= MAX_ATTEMPTS or self.stopped_by then
    return self:finish(input, nil, self.stopped_by and stop_error(self, input) or err)
  end
  input.is_sent = false
  self:send_again(input)
end

-- Whether an input is to be sent. Those that ended in the queue are dropped.
function Run:has_ready()
  while true do
    local input = self.ready:peek()
    if not input then return false end
    if self.open[input.index] == input then return true end
    self.ready:pop()
  end
end

-- The server has no batch streams.
function Run:use_unary()
  self.transport:close()
  self.transport = transport_unary.new(self)
  self:wake()
end

-- ---- drawing

local function open_input(self, index, entry)
  local input, problem = entries.read(entry, index, self.backend_id)
  local err
  if not input then
    input, err = {}, errors.new("invalid_circuit", problem, { attempts = 0, target = self.target })
  end
  input.index, input.entry, input.attempts, input.is_sent = index, entry, 0, false
  self.open[index] = input
  self.open_count = self.open_count + 1
  err = err or self.skipped[index]
  if err then self:finish(input, nil, err) end
  if err then return input, "ended" end
  return input, self.commits:admit(input)
end

-- The journal knows another circuit in this place: it belongs to another batch.
local function refuse(self, input)
  local err = self.commits:refusal(input)
  self.is_refused = true
  self:stop(err)
  self:finish(input, nil, err)
end

-- An input that was not sent ends with this error, now or when it is drawn: true. One that was sent does when it turns
-- out that its submit has made no job: false.
function Run:withdraw(index, err)
  local input = self.open[index]
  if not input then
    self.skipped[index] = err
  elseif input.is_sent then
    input.cancel_error = err
    return false
  else
    self:finish(input, nil, err)
  end
  return true
end

-- An input's job was canceled on the server, for its future.
function Run:end_canceled(index, err)
  local input = self.open[index]
  if input then self:finish(input, nil, err) end
end

-- What a function of the user's raised stops the batch. caught: as of raised.note.
local function stop_by_user(self, name, caught)
  local err, traceback = raised.read(caught)
  self:stop(errors.new("canceled", ("%s raised an error, see cause: %s"):format(name, tostring(err)),
    { cause = err, traceback = traceback }))
end

local function check_source(self)
  local caught = self.source.raised
  if caught and not self.stopped_by then stop_by_user(self, "the iterator of the circuits", caught) end
end

local function feed(self, now)
  local source = self.source
  local room = math.min(self.max_workers, self.transport:room()) - self.open_count
  if room > 0 then source:want(room) end
  if self.commits:holds(room, now) then return end
  for _ = 1, DRAWN_A_TURN do
    if room <= 0 then return end
    local index, entry = source:take()
    if not index then return check_source(self) end
    local input, kind = open_input(self, index, entry)
    if kind == "refused" then return refuse(self, input) end
    if kind == "new" then self.commits:intend(input) end
    if kind == "new" or kind == "attached" then room = room - 1 end
  end
  self.has_news = true
end

-- ---- stopping

-- What was drawn or waits to be sent ends at once.
local function end_unsent(self)
  while true do
    local index, entry = self.source:take()
    if not index then break end
    local input, kind = open_input(self, index, entry)
    if kind ~= "kept" and kind ~= "ended" then self:finish(input, nil, stop_error(self, input)) end
  end
  while true do
    local input = self.commits:take_intended() or self:has_ready() and self.ready:pop()
    if not input then break end
    self:finish(input, nil, stop_error(self, input))
  end
end

local function end_all(self)
  local rest = {}
  for _, input in pairs(self.open) do rest[#rest + 1] = input end
  for _, input in ipairs(rest) do self:finish(input, nil, stop_error(self, input)) end
end

local function cancel_jobs(self)
  for _, input in pairs(self.open) do
    if input.job_id then cancel_job(self, input, input.job_id, on_cancel) end
  end
end

local function wind_down(self, now)
  if not self.is_winding then
    self.is_winding = true
    self.source:stop()
    self.transport:stop()
    if not self.keeps_jobs then cancel_jobs(self) end
  end
  end_unsent(self)
  if now < self.stops_at then return end
  self.source.is_over = true
  end_all(self)
end

-- The task was canceled: nothing can be waited for any more. With a journal the jobs are left to a later run.
local function abandon(self, err)
  self.keeps_jobs = self.commits.keeps_jobs
  self:stop(err)
  self.stops_at = core.now()
  wind_down(self, self.stops_at)
end

-- ---- telling

-- A function that has raised is not called again.
local function call_user(self, name, ...)
  local fn = self.options[name]
  if not fn or self.has_raised == name then return end
  local ok, caught = xpcall(fn, raised.note, ...)
  if ok then return end
  self.has_raised = name
  stop_by_user(self, name, caught)
end

function Run:progress()
  return progress.of {
    total = self.source.total or nil, drawn = self.source.drawn, completed = self.completed, failed = self.failed,
    kept = self.kept, running = math.max(0, self.open_count - self.ready:count() - self.commits:waiting()),
    started_at = self.started_at,
  }
end

local function report(self, now)
  if not self.options.progress_callback or now < self.next_report then return end
  call_user(self, "progress_callback", self:progress())
  self.next_report = core.now() + progress.INTERVAL   -- after the callback, which may take long itself
end

local function deliver(self)
  while true do
    local input = self.ended:pop()
    if not input then return end
    local item = { index = input.index, id = input.id, job_id = input.job_id, result = input.result, err = input.err,
      attempts = input.attempts }
    self.sink(item, input)
    input.circuit, input.entry, input.result = nil, nil, nil   -- the heap may keep the input for a while
    call_user(self, "on_result", item.index, item.result, item.err, item)
  end
end

-- ---- the loop

-- Does what can be done now, and waits for nothing (but for functions of the user's, if they wait).
function Run:turn()
  local now = core.now()
  self.has_news = false
  self.watcher:look(now)
  self.transport:advance(now)
  if self.ends_at and now >= self.ends_at then
    self:stop(errors.new("timeout", ("the batch has not ended within timeout = %g s"):format(self.options.timeout),
      { scope = "batch", target = self.target }))
  end
  if not self.stopped_by then feed(self, now) end
  if self.stopped_by then
    wind_down(self, now)
  end
  self.commits:turn(now)
  if not self.stopped_by then self.transport:send(now) end
  deliver(self)
  report(self, now)
end

local function is_over(self)
  return self.open_count == 0 and self.ended:is_empty() and self.commits:is_empty() and self.source:is_exhausted()
end

local function earliest(time, other)
  if not time or (other and other < time) then return other end
  return time
end

local function wait(self)
  local time = earliest(self.watcher:next_time(), self.transport:next_time())
  time = earliest(time, self.commits:next_time())
  time = earliest(time, self.stopped_by and self.stops_at or self.ends_at)
  if self.options.progress_callback then time = earliest(time, self.next_report) end
  if self.has_news then time = 0 end
  return self.transport:wait(time and math.max(0, time - core.now()))
end

local function loop(self)
  while true do
    self:turn()
    if is_over(self) then return end
    local ok, err = wait(self)
    if not ok then abandon(self, err) end
  end
end

local function close(self)
  self.on_end(self)
  self.source:stop()
  self.transport:close()
  self.commits:close()
  self.total_time = core.now() - self.started_at
end

-- Without a journal nobody could find the jobs again.
local function break_off(self, err)
  self:stop(errors.new("canceled", "the batch was interrupted", { cause = err }))
  if not self.commits.keeps_jobs then cancel_jobs(self) end
  close(self)
end

-- Runs it to its end. Raises only what no part of it can answer for: Ctrl-C, and no memory. Then at least what
-- would go on for ever is stopped, which needs none.
function Run:execute()
  local ok, err = pcall(loop, self)
  if not ok then
    self.on_end(self)
    self.source:stop()
    self.transport:close()
    pcall(break_off, self, err)
    error(err, 0)
  end
  close(self)
  self.source.total = self.source.total or self.source.drawn   -- an iterator that was stopped is not drawn further
  self.next_report = 0
  report(self, core.now())
end

return M
