-- The jobs of a batch over SubmitBatchStream: one stream at a time, and a new one when it breaks.
-- It stands on the steps of the core and not on client:submit_batch_stream, since it has to wait for a message, for
-- answers of calls beside the stream and for whoever stops the batch, all at once.
-- Invariant: an input is in written from the moment it was written until the server has said something about it, or
-- its stream has ended.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local answers = require "arvak.streams.answers"
local entries = require "arvak.streams.entries"
local errors = require "arvak.base.errors"
local watcher = require "arvak.batch.watcher"

local M = {}

local FIRST_PAUSE, LAST_PAUSE = 0.05, 2.0   -- seconds between two streams that bring nothing
local LOOKS = 4                             -- waits in vain, at least, before a stream is taken for dead
local PERMISSION_DENIED, UNIMPLEMENTED = 7, 12

local Streaming = {}
Streaming.__index = Streaming

-- run: as of a unary transport, and stop, use_unary. may_fall_back: whether UNIMPLEMENTED leads to unary calls.
function M.new(run, may_fall_back)
  return setmetatable({ run = run, may_fall_back = may_fall_back, reader = answers.reader(run.target), written = {},
    pause = FIRST_PAUSE, opens_at = 0 }, Streaming)
end

function Streaming.room() return math.huge end

-- ---- its end

local function take_unanswered(self)
  local inputs, indexes = {}, self.reader:take_rest()
  for i = #indexes, 1, -1 do inputs[#inputs + 1] = self.written[indexes[i]] end   -- each goes back before the last one
  self.written = {}
  return inputs
end

-- The server does not serve us.
local function is_refusal(err)
  return err.kind == "unauthenticated" or err.code == PERMISSION_DENIED or err.code == UNIMPLEMENTED
end

-- An error with which a new stream would only meet again.
local function is_final(err)
  return is_refusal(err) or err.kind == "closed" or err.kind == "forked" or err.kind == "canceled"
end

local function reopen_later(self, now)
  if self.has_news then
    self.pause, self.opens_at = FIRST_PAUSE, now
  else
    self.opens_at = now + self.pause
    self.pause = math.min(2 * self.pause, LAST_PAUSE)
  end
end

-- What has been submitted is looked at; what was not answered is the run's to decide, unless it surely was not taken.
local function on_stream_end(self, err, now)
  local run = self.run
  if self.raw then core.stream_cancel(self.raw) end
  self.raw = nil
  local is_untouched = err.maybe_executed == false or (is_refusal(err) and not self.has_news)
  for _, input in ipairs(take_unanswered(self)) do
    if not is_untouched then
      run:lose(input, answers.unanswered(err, run.target))
    else
      input.is_sent = false
      run:send_again(input)
    end
  end
  for _, input in pairs(run.open) do
    if input.job_id then run.watcher:look_now(input, now) end
  end
  if err.code == UNIMPLEMENTED and self.may_fall_back then return run:use_unary() end
  reopen_later(self, now)
  if is_final(err) then return run:stop(err) end
  run:note_failure(err)
end

-- ---- answers

local function on_answer(self, event, index, job_id, data)
  local run = self.run
  local written = self.written[index]
  self.written[index] = nil
  if run.open[index] ~= written then return run:note_late_id(written, job_id) end
  if event == "error" then return run:finish(written, nil, data) end
  run:acknowledge(written, job_id)
  run.watcher:expect(written, core.now())
end

local function on_message(self, ...)
  local run = self.run
  self.has_news = true
  run:note_answer()
  local event, index, job_id, data = self.reader:read(...)
  if not event then return end
  if self.written[index] then return on_answer(self, event, index, job_id, data) end
  local input = run.open[index]
  if not input or input.job_id ~= job_id then return end
  if event == "error" then return run:finish(input, nil, data) end
  run:finish(input, data)
end

local function take(self, now, what, ...)
  if what == "message" then
    self.silence = 0
    on_message(self, ...)
    return true
  end
  if what == "end" then
    on_stream_end(self, (...) or errors.new("unavailable", "the server ended the stream before its jobs had ended",
      { rpc = "SubmitBatchStream", target = self.run.target, maybe_executed = true }), now)
  end
  return false
end

-- A peer that is gone without a word leaves a stream that looks open: submissions without an answer tell. What counts
-- is the time that was waited: nothing comes in while a function of the user's computes.
local function check_silence(self, now)
  local patience = self.run.patience
  if self.reader.unanswered_count == 0 or self.silence < patience then return end
  on_stream_end(self, errors.new("timeout", ("no answer to a submission within %g s"):format(patience),
    { rpc = "SubmitBatchStream", target = self.run.target, scope = "call", maybe_executed = true }), now)
end

-- Takes every message that has come.
function Streaming:advance(now)
  while self.raw do
    core.stream_read(self.raw)
    if not take(self, now, core.stream_take(self.raw)) then break end
  end
  if self.raw then check_silence(self, now) end
end

-- ---- sending

-- An open breaker lets the next one through later.
local function on_refusal(self, err, now)
  if not watcher.is_passing(err) then return self.run:stop(err) end
  self.opens_at = now + math.max(self.pause, err.retry_after or 0)
  self.run:note_failure(err)
end

local function open(self, now)
  if core.is_closed(self.run.client) then return self.run:stop(self.run:closed_error()) end
  local ok, raw, err = pcall(core.stream_open, self.run.client, "submit_batch_stream")
  if not ok then   -- what api_key or metadata gave may be no header
    return self.run:stop(errors.new("unauthenticated", tostring(raw), { cause = raw, attempts = 0 }))
  end
  if not raw then return on_refusal(self, err, now) end
  self.raw, self.has_news, self.silence = raw, false, 0
end

local function write(self, input, now)
  local too_large = entries.size_error(input.circuit, self.run.target)
  if too_large then return self.run:finish(input, nil, too_large) end
  input.is_sent, input.sent_at, input.attempts = true, now, input.attempts + 1
  local ok, err = core.stream_write(self.raw, input.circuit, input.index, input.backend_id)
  if not ok then
    input.is_sent = false
    return self.run:finish(input, nil, err)
  end
  self.written[input.index] = input
  self.reader:note_written(input.index)
  self.silence = 0
end

-- Writes what is ready, as far as the connection takes it.
function Streaming:send(now)
  local run = self.run
  while run:has_ready() do
    if not self.raw then
      if now < self.opens_at then return end
      open(self, now)
    end
    if not self.raw or not core.stream_can_write(self.raw) then return end
    write(self, run.ready:pop(), now)
  end
end

-- ---- waiting and stopping

function Streaming:next_time()
  if not self.raw then return self.run:has_ready() and self.opens_at or nil end
  if self.reader.unanswered_count == 0 then return nil end
  return core.now() + self.run.patience / LOOKS
end

function Streaming:wait(seconds)
  local run, since = self.run, core.now()
  local woken, err, ticket
  if self.raw then
    core.stream_read(self.raw)
    woken, err, ticket = core.stream_wait(self.raw, "execute_batch", seconds, run.tickets)
    self.silence = self.silence + math.min(core.now() - since, run.patience / LOOKS)
  else
    woken, err, ticket = core.park("execute_batch", seconds, run.tickets)
  end
  local spent = ticket or err
  if spent then run.tickets[spent] = nil end
  if woken == nil then return nil, err end
  return true
end

-- Answers to what has been written still come, so that those jobs can be canceled.
function Streaming:stop()
  if self.raw then core.stream_close_writes(self.raw) end
end

function Streaming:close()
  if self.raw then core.stream_cancel(self.raw) end
  self.raw = nil
end

return M
