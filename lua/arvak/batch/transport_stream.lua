-- The jobs of a batch over SubmitBatchStream: one stream at a time, and a new one when it breaks.
-- It stands on the steps of the core and not on client:submit_batch_stream, since it has to wait for a message, for
-- answers of calls beside the stream and for whoever stops the batch, all at once.
-- Invariant: an input is in written from the moment it was written until the server has said something about it, or
-- its stream has ended; one that the server passes over for too long is lost. A stream that has not spoken yet has one
-- input at most, so that a stream that breaks at once takes no more with it.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local answers = require "arvak.streams.answers"
local entries = require "arvak.streams.entries"
local errors = require "arvak.base.errors"
local inputs = require "arvak.batch.inputs"
local pacing = require "arvak.batch.pacing"
local poll = require "arvak.jobs.poll"
local queue = require "arvak.base.queue"
local task = require "arvak.async.task"

local M = {}

local FIRST_PAUSE, LAST_PAUSE = 0.05, 2.0   -- seconds between two streams that bring nothing
local LOOKS = 4                             -- waits in vain, at least, before a stream is taken for dead
local FEWEST_AT_ONCE, MOST_AT_ONCE = 8, 64   -- bounds of the messages and writes between two turns of the run
local LINGER = 2.0                          -- seconds that a stream is read on after its batch, which nobody waits for
local PERMISSION_DENIED, UNIMPLEMENTED = 7, 12

local Streaming = {}
Streaming.__index = Streaming

-- run: as of a unary transport, and stop, note_answer, use_unary. may_fall_back: whether UNIMPLEMENTED leads to unary
-- calls.
function M.new(run, may_fall_back)
  return setmetatable({ run = run, may_fall_back = may_fall_back, written = {}, line = queue.new(),
    reader = answers.reader(run.target, run.client, run.options.label), waited = 0, progress = 0,
    pause = FIRST_PAUSE, opens_at = 0 }, Streaming)
end

function Streaming.room() return math.huge end

-- ---- its end

local function take_unanswered(self)
  local list, indexes = {}, self.reader:take_rest()
  for i = #indexes, 1, -1 do   -- each goes back before the last one
    list[#list + 1] = self.written[indexes[i]].input
  end
  self.written, self.line = {}, queue.new()
  return list
end

-- The server does not serve us, and a new stream would only meet with the same.
local function is_barred(err)
  return err.kind == "unauthenticated" or err.code == PERMISSION_DENIED or err.code == UNIMPLEMENTED
end

-- The same, or not now: of a stream that has said nothing, nothing was taken.
local function is_refusal(err) return is_barred(err) or err.kind == "resource_exhausted" end

local function is_final(err)
  return is_barred(err) or err.kind == "closed" or err.kind == "forked" or err.kind == "canceled"
end

local function reopen_later(self, now)
  if self.has_news then
    self.pause, self.opens_at = FIRST_PAUSE, now
  else
    self.opens_at = now + self.pause
    self.pause = math.min(2 * self.pause, LAST_PAUSE)
  end
end

-- What has been submitted is looked at; what was not answered is lost, unless it surely was not taken.
local function on_stream_end(self, err, now)
  local run = self.run
  if self.raw then core.stream_cancel(self.raw) end
  self.raw = nil
  local is_untouched = err.maybe_executed == false or (is_refusal(err) and not self.has_news)
  for _, input in ipairs(take_unanswered(self)) do
    if is_untouched then
      run:tell(input, "unsend", err)
    else
      run:lose(input, answers.unanswered(err, run.target))
    end
  end
  for _, input in ipairs(run.inputs:list()) do
    if inputs.has_job(input) then run.watcher:look_now(input, now) end
  end
  if err.code == UNIMPLEMENTED and self.may_fall_back then return run:use_unary() end
  reopen_later(self, now)
  if is_final(err) then return run:stop(err) end
  run:note_failure(err)
end

-- ---- answers

-- The answer to a submission.
local function on_answer(self, written, event, job_id, data)
  written.answered_at = self.waited
  self.written[written.input.index] = nil
  if event == "error" then return self.run:tell(written.input, "fail", data) end
  self.run:accept(written.input, job_id)
end

local function on_message(self, ...)
  local run = self.run
  self.has_news = true
  run:note_answer()
  local event, index, job_id, data = self.reader:read(...)
  if not event then return end
  local written = self.written[index]
  if written then return on_answer(self, written, event, job_id, data) end
  local input = run.inputs:get(index)
  if not input or input.job_id ~= job_id then return end
  if event == "error" then return run:tell(input, "fail", data) end
  run:complete(input, data)
end

local function take(self, now, what, ...)
  if what == "message" then
    self.heard = self.waited
    on_message(self, ...)
    return true
  end
  if what == "end" then
    on_stream_end(self, (...) or errors.new("unavailable", "the server ended the stream before its jobs had ended",
      { rpc = "SubmitBatchStream", target = self.run.target, maybe_executed = true }), now)
  end
  return false
end

-- ---- what is never answered

-- What has been unanswered for longest, or nil; and since when (on the clock `waited`) the server could have answered:
-- it was written, or the server answered one that was written before it.
local function longest_unanswered(self)
  while true do
    local written = self.line:peek()
    if not written then return nil end
    if not written.answered_at and not written.is_passed_over then
      return written, math.max(written.written_at, self.progress)
    end
    self.progress = math.max(self.progress, written.answered_at or 0)
    self.line:pop()
  end
end

local function pass_over(self, written)
  written.is_passed_over = true
  self.run:lose(written.input, errors.new("timeout",
    string.format("no answer to this submission within %s s, while the stream was busy",
      errors.seconds(self.run.patience)),
    { rpc = "SubmitBatchStream", target = self.run.target, scope = "call", maybe_executed = true }))
end

-- A peer that is gone without a word leaves a stream that looks open: submissions without an answer tell. What counts
-- is the time that was waited: nothing comes in while a function of the user's computes.
local function check_silence(self, now)
  local patience = self.run.patience
  while self.raw do
    local written, since = longest_unanswered(self)
    if not written or self.waited - since < patience then return end
    if self.waited - self.heard >= patience then
      return on_stream_end(self, errors.new("timeout",
        string.format("no answer to a submission within %s s", errors.seconds(patience)),
        { rpc = "SubmitBatchStream", target = self.run.target, scope = "call", maybe_executed = true }), now)
    end
    pass_over(self, written)
  end
end

-- Takes the message that has come, and requests the next: whether there was one.
local function take_message(self, now)
  local raw = self.raw
  if not raw or not take(self, now, core.stream_take(raw)) then return false end
  core.stream_read(raw)
  return true
end

-- Takes what has come.
function Streaming:advance(now)
  while take_message(self, now) do end
  if self.raw then check_silence(self, now) end
end

-- ---- sending

local function is_passing(err) return poll.is_transient(err) or err.kind == "resource_exhausted" end

-- An open breaker lets the next one through later.
-- A plugin whose host lets it open no such stream has its calls.
local function on_refusal(self, err, now)
  if err.scope == "plugin" and self.may_fall_back then return self.run:use_unary() end
  if not is_passing(err) then return self.run:stop(err) end
  self.opens_at = now + pacing.pause(self.pause, err.retry_after)
  self.run:note_failure(err)
end

local function open(self, now)
  if core.is_closed(self.run.client) then return self.run:stop(self.run:closed_error()) end
  local ok, raw, err = core.protect(core.stream_open, self.run.client, "submit_batch_stream")
  if not ok then   -- what api_key or metadata gave may be no header
    return self.run:stop(errors.new("unauthenticated", tostring(raw), { cause = raw, attempts = 0 }))
  end
  if not raw then return on_refusal(self, err, now) end
  self.raw, self.has_news, self.heard = raw, false, self.waited
end

local function write(self, input, now)
  local run = self.run
  local too_large = entries.size_error(input.circuit, run.target)
  if too_large then return run:tell(input, "fail", too_large) end
  run:tell(input, "send", now)
  local ok, err = core.stream_write(self.raw, input.circuit, input.index, input.backend_id)
  if not ok then return run:tell(input, "fail", err) end
  if self.reader.unanswered_count == 0 then self.heard = self.waited end
  local written = { input = input, written_at = self.waited, answered_at = false, is_passed_over = false }
  self.written[input.index] = written
  self.reader:note_written(input.index, input.backend_id, input.circuit.shots)
  self.line:push(written)
end

-- Whether the stream takes another submission now.
local function can_write(self)
  return self.raw and core.stream_can_write(self.raw) and (self.has_news or self.reader.unanswered_count == 0)
end

-- Writes what is ready, as far as the connection takes it.
function Streaming:send(now)
  local run = self.run
  while run:has_ready() do
    if not self.raw then
      if now < self.opens_at then return end
      open(self, now)
    end
    if not can_write(self) then return end
    write(self, run.ready:pop(), now)
  end
end

-- Of its job the stream tells, unless it is silent.
function Streaming:watch(input, now) self.run.watcher:expect(input, now) end

-- ---- waiting and stopping

function Streaming:next_time()
  if not self.raw then return self.run:has_ready() and self.opens_at or nil end
  if self.reader.unanswered_count == 0 then return nil end
  return core.now() + self.run.patience / LOOKS
end

-- As of core.stream_wait and core.park.
local function wait_once(self, seconds)
  local run, since = self.run, core.now()
  local woken, err, ticket
  if self.raw then
    core.stream_read(self.raw)
    woken, err, ticket = core.stream_wait(self.raw, "execute_batch", seconds, run.tickets)
    self.waited = self.waited + math.min(core.now() - since, run.patience / LOOKS)
  else
    woken, err, ticket = core.park("execute_batch", seconds, run.tickets)
  end
  local spent = ticket or err
  if spent then run.tickets[spent] = nil end
  return woken, err
end

-- Takes a message that has come, or writes one if the connection takes it: whether there was anything to do.
local function go_on(self)
  local run, now = self.run, core.now()
  if take_message(self, now) then return true end
  if not can_write(self) or not run:has_ready() then return false end
  write(self, run.ready:pop(), now)
  return true
end

-- A turn of the run costs more than a message, so what comes without waiting is dealt with first. A job makes two
-- messages. One for each place leaves half of the jobs with the server, which would have nothing to do until the next
-- turn; where a commit comes before new submissions, two for each place have one commit carry more.
function Streaming:wait(seconds)
  local woken, err = wait_once(self, seconds)
  local run = self.run
  local left = math.max(FEWEST_AT_ONCE, math.min(run.max_workers * run.commits.messages_a_place, MOST_AT_ONCE))
  while woken and left > 0 and not run.stopped_by and go_on(self) and self.raw do
    woken, err = core.stream_wait(self.raw, "execute_batch", 0)
    left = left - 1
  end
  if woken == nil then return nil, err end
  return true
end

-- Answers to what has been written still come, so that those jobs can be canceled.
function Streaming:stop()
  if self.raw then core.stream_close_writes(self.raw) end
end

local function hear(self, what, ...)
  if what == "message" then on_message(self, ...) end
  return what
end

-- Reads on in a task, with nobody to tell but the inputs: what is accepted now has its job canceled.
local function drain(self, raw)
  if not pcall(core.stream_close_writes, raw) then return end   -- it was collected with its batch
  local ends_at = core.now() + LINGER
  while self.reader.unanswered_count > 0 do
    core.stream_read(raw)
    local left = ends_at - core.now()
    local what = hear(self, core.stream_take(raw))
    if what == "end" or left <= 0 then break end
    if not what and core.stream_wait(raw, "execute_batch", left) == nil then break end
  end
  core.stream_cancel(raw)
end

-- What was written and has no answer may have made jobs, which nobody could find without the answers.
function Streaming:close()
  local raw = self.raw
  self.raw = nil
  if not raw then return end
  local is_drained = self.reader.unanswered_count > 0 and not self.run.keeps_jobs
    and pcall(task.spawn_detached, drain, self, raw)   -- there may be no memory for it
  if not is_drained then core.stream_cancel(raw) end
end

return M
