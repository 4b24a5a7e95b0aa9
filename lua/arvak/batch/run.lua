-- One batch while it runs: entries in, outcomes out, as many jobs open as its manager has places for. It runs in the
-- caller, who is a task or is not; what comes in between (answers, an entry, a cancel from outside) only wakes it.
-- Invariant: an entry that was drawn becomes one input (inputs.lua), and its end is told once, whatever happens.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local commits = require "arvak.batch.commits"
local detached = require "arvak.async.detached"
local entries = require "arvak.streams.entries"
local errors = require "arvak.base.errors"
local future = require "arvak.async.future"
local inputs = require "arvak.batch.inputs"
local limits = require "arvak.batch.limits"
local patience = require "arvak.batch.patience"
local program = require "arvak.results.program"
local progress = require "arvak.batch.progress"
local queue = require "arvak.base.queue"
local raised = require "arvak.base.raised"
local strays = require "arvak.async.strays"
local transport_stream = require "arvak.batch.transport_stream"
local transport_unary = require "arvak.batch.transport_unary"
local watcher = require "arvak.batch.watcher"

local M = {}

local LINGER, SUBMITS = 0.5, 2.0   -- seconds that a stopped batch waits for cancellations, or to note what it submits
local DRAWN_A_TURN = 256        -- entries at most that are drawn before the loop turns
local NOTICE = 2.0              -- seconds of trouble with the server, after which it is said, once for each trouble
local PACING = 2.0              -- seconds of refusals that are no trouble: a usual way of servers to slow clients down

local Run = {}
Run.__index = Run

-- Ends the wait of whoever runs it.
function Run:wake()
  self.has_news = true
  future.wake(self.tickets)
end

-- ---- why it stops

-- From now on nothing is drawn or sent, and what is open ends with an error of this kind. The first reason counts.
function Run:stop(err, linger)
  if self.stopped_by then return end
  self.stopped_by, self.stops_at = err, core.now() + (linger or LINGER)
  self.inputs:stop()
  self:wake()
end

function Run:closed_error() return errors.new("closed", "the client was closed", { target = self.target }) end

-- reason: as of patience, nil as long as the server is borne.
local function give_up(self, reason, err)
  if reason then self:stop(errors.new(err.kind, reason, { cause = err, target = self.target })) end
end

-- The server has answered, whatever it was; has failed; has refused a submit as too much.
function Run:note_answer() self.bounds:note_answer(core.now()) end
function Run:note_failure(err) give_up(self, self.bounds:note_failure(core.now(), err), err) end
function Run:note_refusal(err)
  give_up(self, self.bounds:note_refusal(core.now(), err, self.inputs:unfinished()), err)
end

-- What an open input ends with once the batch has stopped. All that were never sent share one.
local function stop_error(self, input)
  local by = self.stopped_by
  if inputs.is_unsent(input) then
    self.unsent_error = self.unsent_error or errors.new(by.kind, "not submitted: " .. by.message,
      { cause = by, scope = by.scope, target = self.target, attempts = 0 })
    return self.unsent_error
  end
  return errors.new(by.kind, by.message, { cause = by, scope = by.scope, target = self.target, job_id = input.job_id,
    maybe_executed = not inputs.has_job(input) })
end

-- ---- inputs

local function ignore() end

local function on_cancel(call, ok, err)
  local self, input = call.run, call.input
  self.canceling[input] = nil
  if ok then
    self:tell(input, "cancel")
  else
    self:tell(input, "refuse_cancel", err)
  end
  self:wake()
end

local function send_cancel(self, input)
  self.canceling[input] = true
  detached.go_on({ run = self, input = input, job_id = input.job_id }, self.on_cancel, "cancel_job", self.client,
    input.job_id)
end

-- Requests the cancellations that are due. Why they were requested is on the disk by now.
local function send_cancels(self)
  while true do
    local input = self.cancels:pop()
    if not input then return end
    local is_due = inputs.is_canceling(input) and not self.canceling[input] and not self.keeps_jobs
    if is_due and not core.is_closed(self.client) then send_cancel(self, input) end
  end
end

local function note_end(self, input)
  self.watcher:forget(input)
  self.places:give_back(self)
  if input.result ~= nil and input.sent_at then
    self.watcher:note_duration(core.now() - (input.accepted_at or input.sent_at))
  end
  if input.err ~= nil and self.options.fail_fast and not self.stopped_by and not input.is_kept then
    self:stop(errors.new("canceled", string.format("circuits[%d] failed, and fail_fast is set", input.index),
      { cause = input.err, target = self.target }))
  end
  self.commits:note_end(input)
  self:wake()
end

-- What follows from a change of an input's state.
local effects = { ["end"] = note_end }

function effects.part(self, input)
  self.watcher:forget(input)
  self.places:give_back(self)
end

function effects.queue(self, input) self.ready:push(input) end
function effects.look(self, input) self.watcher:look_now(input, core.now()) end

function effects.requeue(self, input)
  local err = self.skipped[input.index]
  if not err then return self.ready:push_front(input) end
  err.maybe_executed = input.may_have_run == true
  self:tell(input, "fail", err)
end

function effects.again(self, input)
  self.watcher:forget(input)
  self.commits:intend(input)
end

function effects.follow(self, input)
  self.commits:note_submitted(input)
  input.accepted_at = core.now()
  self.transport:watch(input, input.accepted_at)
end

function effects.cancel(self, input)
  if self.is_over then   -- a submit was under way when it was broken off
    return core.is_closed(self.client) or send_cancel(self, input)
  end
  self.commits:note_canceling(input)
  self:wake()
end

function effects.cancel_stray(self, _, job_id)
  if core.is_closed(self.client) then return end
  detached.go_on({ job_id = job_id }, ignore, "cancel_job", self.client, job_id)
end

-- Tells an input of an event (inputs.lua), and does what follows.
function Run:tell(input, event, ...)
  local effect = self.inputs:tell(input, event, ...)
  if effect then effects[effect](self, input, ...) end
end

-- Whether an input may be sent: a circuit gets its text and its way of reading, and the option `check` looks at limits.
-- If not, it has ended, or waits for its backend's answer and is intended again then.
function Run:prepare(input)
  return (not self.limits or self.limits:allow(input)) and self:lower(input)
end

-- Gives an input its text and its way of reading, where it is a circuit: true. One that cannot be lowered ends: false.
function Run:lower(input)
  local ok, err = entries.lower(input)
  if ok then return true end
  err.target = self.target
  self:tell(input, "fail", err)
  return false
end

-- The server has given the result of an input's job.
function Run:complete(input, result)
  if not inputs.is_open(input) then return end
  local own, err = program.read(result, input.way)
  if own then
    self:tell(input, "complete", own)
  else
    self:tell(input, "fail", err)
  end
end

-- The server has taken an input's circuit.
function Run:accept(input, job_id)
  local is_open = inputs.is_open(input)
  self.bounds:note_acceptance(core.now())
  self:tell(input, "accept", job_id)
  if is_open and self.on_submitted then self.on_submitted(input) end
end

-- Nobody knows whether the server has a circuit that was sent.
function Run:lose(input, err)
  self:tell(input, "lose", self.stopped_by and stop_error(self, input) or err)
end

-- Protects a function that is told the ends of calls: what is raised in it ends the batch.
function Run:answer(fn)
  return function(...)
    local ok, err = core.protect(fn, ...)
    if ok then return end
    self.broken_by = table.pack(err)
    self:wake()
  end
end

-- An input that was not sent ends with this error, now or when it is drawn: true. One that was sent does when it turns
-- out that its submit has made no job: false.
function Run:withdraw(index, err)
  local input = self.inputs:get(index)
  if input and inputs.is_unsent(input) then
    self:tell(input, "fail", err)
    return true
  end
  self.skipped[index] = err
  return input == nil
end

-- An input's job was canceled on the server, for its future.
function Run:end_canceled(index, err)
  local input = self.inputs:get(index)
  if input then self:tell(input, "fail", err) end
end

-- Whether an input is to be sent. Those that ended in the queue are dropped.
function Run:has_ready()
  if not self.commits:may_send() then return false end
  while true do
    local input = self.ready:peek()
    if not input then return false end
    if inputs.is_ready(input) then return true end
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

-- The next index and entry, and the input where the source has read it; or nil.
local function take_entry(self)
  local held = self.held
  if not held then return self.source:take() end
  self.held = nil
  return held[1], held[2], held[3]
end

-- Whether there is one; it is held until it is taken.
local function has_entry(self)
  if self.held then return true end
  local index, entry, input = self.source:take()
  if index then self.held = { index, entry, input } end
  return index ~= nil
end

local function open_input(self, index, entry, input)
  local problem, copy, err
  if not input then input, problem, copy = entries.take(entry, index, self.backend_id, inputs.blank(index)) end
  if not input then
    input, err = { index = index, entry = copy },
      errors.new("invalid_circuit", problem, { attempts = 0, target = self.target })
  end
  self.inputs:draw(input)
  self.places:take(self)
  err = err or self.skipped[index]
  if err then
    self:tell(input, "fail", err)
  else
    self.commits:admit(input)
  end
  return input
end

-- What a function of the user's raised stops the batch, and is the cause of its error. What is raised after the batch
-- has stopped is the cause if there is none yet, and else a stray. caught: as of raised.note.
local function stop_by_user(self, name, caught)
  local err, traceback = raised.read(caught)
  local by = self.stopped_by
  if by and by.cause == nil then
    by.cause, by.traceback = err, traceback
  elseif by then
    strays.add(err)
  end
  self:stop(errors.new("canceled", string.format("%s raised an error, see cause: %s", name, tostring(err)),
    { cause = err, traceback = traceback }))
end

-- The iterator of the circuits has something, or has ended. An interrupt in it is for whoever runs the batch.
function Run:note_source()
  local caught = self.source.raised
  if caught and not self.has_raised.iterator then
    self.has_raised.iterator = true
    local err, _, is_interrupt = raised.read(caught)
    if self.is_over then
      strays.add(err)
    elseif is_interrupt then
      self.broken_by = { err }
    else
      stop_by_user(self, "the iterator of the circuits", caught)
    end
  end
  self:wake()
end

local function feed(self, now)
  local places = self.places
  local room = math.min(self.max_workers, self.transport:room()) - self.inputs.open_count
  if room <= 0 then return end
  local wanted = math.min(room, places:free(self))
  if wanted == 0 and places:are_shared() then wanted = 1 end
  if wanted > 0 then self.source:want(wanted) end
  if self.commits:holds(wanted, now) then return end
  for _ = 1, DRAWN_A_TURN do
    if self.inputs.open_count >= math.min(self.max_workers, self.transport:room()) or self.stopped_by then return end
    if places:free(self) == 0 then
      if places:are_shared() and has_entry(self) then places:stand_in_line(self) end
      return
    end
    local index, entry, input = take_entry(self)
    if not index then return end
    open_input(self, index, entry, input)
  end
  self.has_news = true
end

-- ---- stopping

-- What was drawn meanwhile ends at once.
local function end_drawn(self)
  while true do
    local index, entry, read = take_entry(self)
    if not index then return end
    local input = open_input(self, index, entry, read)
    self:tell(input, "expire", stop_error(self, input))
  end
end

local function tell_all(self, event)
  for _, input in ipairs(self.inputs:list()) do self:tell(input, event, stop_error(self, input)) end
end

local function wind_down(self, now)
  if not self.is_winding then
    self.is_winding = true
    self.source:stop()
    self.transport:stop()
    self.places:step_out(self)
  end
  if not self.has_recalled and self.commits:may_recall(now) then
    self.has_recalled = true
    if not self.keeps_jobs then tell_all(self, "recall") end
  end
  end_drawn(self)
  if now < self.stops_at or (self.is_interrupted and self.keeps_jobs) then return end
  send_cancels(self)
  self.source.is_over = true
  tell_all(self, "expire")
end

-- Its task was canceled: nothing can be waited for any more. With a journal the jobs are left to a later run.
local function abandon(self, err)
  self.keeps_jobs = self.keeps_jobs or self.commits.keeps_jobs
  self:stop(err)
  self.commits:let_go()
  self.stops_at = core.now()
  wind_down(self, self.stops_at)
end

-- ---- telling

-- A function that has raised is not called again.
local function call_user(self, name, ...)
  local fn = self.options[name]
  if not fn or self.has_raised[name] or self.is_interrupted then return end
  local ok, caught = xpcall(fn, raised.note, ...)
  if ok then return end
  local err, _, is_interrupt = raised.read(caught)
  if is_interrupt then error(err, 0) end
  self.has_raised[name] = true
  stop_by_user(self, name, caught)
end

-- What the server says while the client holds the submits back that it refuses for their rate, or nil; since: when that
-- has lasted longer than so many seconds.
local function refusal(self, since)
  local seconds, message = core.refusal(self.client)
  return seconds and seconds > (since or -1) and errors.new("resource_exhausted", message, { rpc = "SubmitJob",
    target = self.target, elapsed = seconds }) or nil
end

function Run:progress()
  local ledger, workers, mine = self.inputs, self.commits:progress()
  return progress.of {
    total = self.source.total or nil, drawn = self.source.drawn, completed = ledger.completed, failed = ledger.failed,
    kept = ledger.kept, running = ledger.open_count - ledger:waiting(), started_at = self.started_at,
    workers = workers, mine = mine,
    trouble = (self.bounds:trouble(core.now(), ledger:unfinished(), refusal(self, PACING))),
  }
end

-- Says what keeps the batch from its end, when that has lasted: whoever looks at the program would see it hang.
local function note_trouble(self, now)
  local trouble, _, since = self.bounds:trouble(now, self.inputs:unfinished(), refusal(self, PACING))
  if not trouble then self.notice_at, self.has_noticed = nil, false end
  if not trouble or self.has_noticed or self.stopped_by then return end
  self.notice_at = since + NOTICE
  if now < self.notice_at then return end
  self.notice_at, self.has_noticed = nil, true
  strays.say(string.format("a batch at %s waits: %s", self.target, trouble))
end

local function report(self, now)
  if not self.options.progress_callback or now < self.next_report then return end
  self.places:lend(self)
  call_user(self, "progress_callback", self:progress())
  self.places:take_home(self)
  self.next_report = core.now() + progress.INTERVAL   -- after the callback, which may take long itself
end

local function deliver(self)
  while true do
    local input = self.ended:pop()
    if not input then return end
    local item = { index = input.index, id = input.id, job_id = input.job_id, result = input.result, err = input.err,
      attempts = input.attempts }
    self.sink(item, input)
    input.circuit, input.source, input.entry, input.result = nil, nil, nil, nil   -- the heap may keep it for a while
    call_user(self, "on_result", item.index, item.result, item.err, item)
  end
end

-- ---- the loop

local function check_time(self, now)
  if self.stopped_by or not self.ends_at or now < self.ends_at then return end
  local trouble, err = self.bounds:trouble(now, 0, refusal(self))
  self:stop(errors.new("timeout", string.format("the batch has not ended within timeout = %s s%s",
    errors.seconds(self.options.timeout), trouble and "; " .. trouble or ""),
    { scope = "batch", target = self.target, cause = err }))
end

-- Does what can be done now, and waits for nothing (but for functions of the user's, if they wait).
function Run:turn()
  local now = core.now()
  self.has_news = false
  if self.broken_by then error(self.broken_by[1], 0) end
  self.watcher:look(now)
  self.transport:advance(now)
  check_time(self, now)
  deliver(self)
  if not self.stopped_by then feed(self, now) end
  if self.stopped_by then wind_down(self, now) end
  self.commits:turn(now)
  send_cancels(self)
  if not self.stopped_by then self.transport:send(now) end
  note_trouble(self, now)
  report(self, now)
end

local function is_over(self)   -- an interrupted one with a journal leaves what has a job to a later run
  local is_settled = self.inputs.counts.sending == 0 or (self.stops_at and core.now() >= self.stops_at)
  if self.is_interrupted and self.keeps_jobs and is_settled then return true end
  return self.inputs.open_count == 0 and self.ended:is_empty() and self.commits:is_empty() and not self.held
    and self.source:is_exhausted()
end

local function earliest(time, other)
  if not time or (other and other < time) then return other end
  return time
end

local function wait(self)
  local time = earliest(self.watcher:next_time(), self.transport:next_time())
  time = earliest(time, self.commits:next_time())
  time = earliest(time, self.stopped_by and self.stops_at or self.ends_at)
  time = earliest(time, self.notice_at)
  if self.options.progress_callback then time = earliest(time, self.next_report) end
  if self.has_news or not self.ended:is_empty() then time = 0 end
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

-- What would go on for ever is stopped. Where there is no memory even for a call, the guard does it again.
local function let_go(self)
  self.source:stop()
  self.transport:close()
  self.on_end(self)
  self.is_over = true
end

local function close(self, waits)   -- until all that was noted is written
  let_go(self)
  self.places:leave(self)
  self.commits:close(waits)
  self.total_time = core.now() - self.started_at
end

-- Ends it in the middle, where nobody is told of ends any more. Without a journal nobody could find the jobs again, so
-- they are canceled; with one, nobody will ask what became of those that were never sent.
local function break_off(self)
  if not self.keeps_jobs then tell_all(self, "recall") end
  for _, input in ipairs(self.inputs:list()) do
    if inputs.is_unsent(input) then self.commits:note_unsent(input) end
  end
  send_cancels(self)
  close(self, false)
end

-- From now on no function of the user's is called.
local function interrupt(self, err)
  self.is_interrupted, self.broken_by, self.keeps_jobs = true, nil, self.keeps_jobs or self.commits.keeps_jobs
  self:stop(errors.new("canceled", "the batch was interrupted", { cause = err }), self.keeps_jobs and SUBMITS)
end

-- On the stack of whoever runs it: when that ends in the middle, the coroutine closed or collected, the batch does too.
local Guard = {}

function Guard.__close(guard)
  local self = guard.run
  if self.is_over then return self.commits:close(false) end
  pcall(interrupt, self, "its coroutine was closed")
  let_go(self)
  pcall(break_off, self)
end

Guard.__gc = Guard.__close

local function open_and_loop(self)
  local ok, err = self.commits:open()
  self.started_at = core.now()   -- opening a journal takes nothing of its time
  self.ends_at = self.options.timeout and self.started_at + self.options.timeout
  if ok then loop(self) end
  return ok, err
end

-- Runs it to its end: true; nil and an error when it could not begin. Raises Ctrl-C and a lack of memory only.
function Run:execute()
  local guard <close> = setmetatable({ run = self }, Guard)
  local ok, has_begun, problem = pcall(open_and_loop, guard.run)   -- or false and what was raised
  if not ok then
    pcall(interrupt, self, has_begun)
    pcall(loop, self)   -- for a moment, so that cancellations leave, and a journal learns what was being submitted
    let_go(self)
    pcall(break_off, self)
    error(has_begun, 0)
  end
  close(self, has_begun)
  if not has_begun then return nil, problem end
  self.source.total = self.source.total or self.source.drawn   -- an iterator that was stopped is not drawn further
  self.next_report = 0
  report(self, core.now())
  return true
end

-- ---- made from outside

-- client, target, patience (seconds that the server may fail without a break), places, backend_id, options, source,
-- sink(item, input), told of each end in order; on_submitted(input), earlier (items by index), or nil; on_end(run).
function M.new(spec)
  local run = setmetatable({
    has_news = false, ready = queue.new(), ended = queue.new(), cancels = queue.new(), canceling = {}, skipped = {},
    tickets = {}, has_raised = {}, started_at = core.now(), next_report = 0,
  }, Run)
  for name, value in pairs(spec) do run[name] = value end
  run.max_workers = run.places.limit
  run.inputs = inputs.new(run.options.on_unknown == "resubmit")
  run.bounds, run.on_cancel = patience.new(run.started_at, run.patience), run:answer(on_cancel)
  run.watcher, run.commits = watcher.new(run), commits.direct(run, run.earlier)
  run.limits = run.options.check and limits.new(run) or nil
  local transport = run.options.transport or "auto"
  run.transport = transport == "unary" and transport_unary.new(run) or transport_stream.new(run, transport == "auto")
  run.places:enter(run)
  return run
end

return M
