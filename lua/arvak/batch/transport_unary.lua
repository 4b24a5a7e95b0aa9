-- The jobs of a batch over unary calls: SubmitJob each, then looks until it has ended.
-- Invariant: each submit tells its input what came of it, once: taken, refused, unsent, or lost.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local detached = require "arvak.async.detached"
local entries = require "arvak.streams.entries"
local future = require "arvak.async.future"
local pacing = require "arvak.batch.pacing"
local poll = require "arvak.jobs.poll"

local M = {}

local FIRST_PAUSE, LAST_PAUSE = 0.05, 2.0   -- seconds without submits when the server cannot be reached
local LOOK = 0.05   -- seconds between looks at what can be taken back, once the batch was stopped

local Unary = {}
Unary.__index = Unary

-- ---- answers

local function hold(self, err, now)
  self.pacing:pause(now, self.pause, err.retry_after)
  self.pause = math.min(2 * self.pause, LAST_PAUSE)
end

-- Where the client paces submits, it has waited as long as it may.
local function on_refusal(self, input, err, now)
  local run = self.run
  if not core.is_paced(run.client) then
    self.pacing:note_refusal(now, run.inputs:unfinished(), err.retry_after)
  elseif not err.retryable then   -- the server wants that it is not sent again
    return run:tell(input, "fail", err)
  else
    hold(self, err, now)
  end
  run:note_refusal(err)
  run:tell(input, "unsend", err)
end

local function on_outage(self, input, err, now)
  hold(self, err, now)
  self.run:note_failure(err)
  self.run:tell(input, "unsend", err)
end

local function on_submit(call, job_id, err)
  local self, input = call.transport, call.input
  local run, now = self.run, core.now()
  self.in_flight[input] = nil
  run:wake()
  if job_id then
    self.pause = FIRST_PAUSE
    self.pacing:note_acceptance()
    return run:accept(input, job_id)
  end
  if err.maybe_executed then
    run:note_failure(err)
    return run:lose(input, err)
  end
  if err.kind == "canceled" and run.stopped_by then return run:tell(input, "unsend", err) end   -- by stop
  if err.kind == "resource_exhausted" then return on_refusal(self, input, err, now) end
  if poll.is_transient(err) then return on_outage(self, input, err, now) end
  run:tell(input, "fail", err)
end

-- ---- the steps of a turn

function Unary:room() return self.pacing:room() end

-- Takes back what has not left our own queue: the client keeps there what the server has refused for its rate.
function Unary:stop()
  local waiting = {}
  for _, call in pairs(self.in_flight) do waiting[#waiting + 1] = call end
  for _, call in ipairs(waiting) do
    if not detached.is_sent(call) then detached.cancel_call(call) end
  end
end

function Unary:advance()
  if self.run.stopped_by then self:stop() end   -- what is refused after that comes back into the queue
end

-- Of a job nobody tells but the looks.
function Unary:watch(input, now) self.run.watcher:follow(input, now) end

local function submit(self, input)
  local run, circuit = self.run, input.circuit
  if core.is_closed(run.client) then return run:stop(run:closed_error()) end
  local too_large = entries.size_error(circuit, run.target)
  if too_large then return run:tell(input, "fail", too_large) end
  run:tell(input, "send", core.now())
  local call = { transport = self, input = input }
  self.in_flight[input] = call
  detached.go_on(call, self.on_submit, "submit_qasm", run.client, circuit.qasm, input.backend_id,
    { shots = circuit.shots, optimization_level = circuit.optimization_level, label = run.options.label })
end

-- Sends what is ready, as far as the pace allows.
function Unary:send(now)
  local run = self.run
  self.may_send_at = nil
  while run:has_ready() do
    local may, at = self.pacing:take(now)
    if not may then
      self.may_send_at = at
      return
    end
    submit(self, run.ready:pop())
    if run.stopped_by then return end
  end
end

-- Nobody tells when a submission is refused and comes back into the client's queue.
function Unary:next_time()
  if self.run.stopped_by and next(self.in_flight) then return core.now() + LOOK end
  return self.may_send_at
end

function Unary:wait(seconds)
  local woken, err = future.park(self.run.tickets, "execute_batch", seconds)
  if woken == nil then return nil, err end
  return true
end

function Unary.close() end

-- run: the queue `ready`, inputs, tell, accept, lose, note_failure, note_refusal, answer, client, watcher, max_workers.
function M.new(run)
  return setmetatable({ run = run, pacing = pacing.new(run.max_workers), pause = FIRST_PAUSE, in_flight = {},
    on_submit = run:answer(on_submit) }, Unary)
end

return M
