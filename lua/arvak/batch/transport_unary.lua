-- The jobs of a batch over unary calls: SubmitJob each, then looks until it has ended.
-- Invariant: a submit that surely made no job goes back to the front of the queue or ends its input; one that may have
-- made a job is never sent again but by the run's own rule for that.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local detached = require "arvak.async.detached"
local future = require "arvak.async.future"
local pacing = require "arvak.batch.pacing"
local watcher = require "arvak.batch.watcher"

local M = {}

local FIRST_PAUSE, LAST_PAUSE = 0.05, 2.0   -- seconds without submits when the server cannot be reached

local Unary = {}
Unary.__index = Unary

-- run: the queue `ready`, acknowledge, finish, send_again, lose, note_failure, note_refusal, client, watcher.
function M.new(run)
  return setmetatable({ run = run, pacing = pacing.new(run.max_workers), pause = FIRST_PAUSE, in_flight = {} }, Unary)
end

-- ---- answers

local function on_refusal(self, input, err, now)
  self.pacing:note_refusal(now, self.run.acknowledged, err.retry_after)
  self.run:note_refusal(err)
  self.run:send_again(input)
end

local function on_outage(self, input, err, now)
  self.pacing:pause(now, math.max(self.pause, err.retry_after or 0))
  self.pause = math.min(2 * self.pause, LAST_PAUSE)
  self.run:note_failure(err)
  self.run:send_again(input)
end

local function on_submit(call, job_id, err)
  local self, input = call.transport, call.input
  local run, now = self.run, core.now()
  self.in_flight[input] = nil
  run:wake()
  if run.open[input.index] ~= input then return run:note_late_id(input, job_id) end
  if job_id then
    self.pause = FIRST_PAUSE
    self.pacing:note_acceptance()
    run:acknowledge(input, job_id)
    return run.watcher:follow(input, now)
  end
  if err.maybe_executed then
    run:note_failure(err)
    return run:lose(input, err)
  end
  input.is_sent = false
  if err.kind == "canceled" and run.stopped_by then return run:send_again(input) end   -- by stop, below
  if err.kind == "resource_exhausted" then return on_refusal(self, input, err, now) end
  if watcher.is_passing(err) then return on_outage(self, input, err, now) end
  run:finish(input, nil, err)
end

-- ---- the steps of a turn

function Unary:room() return self.pacing:room() end

function Unary.advance() end

local function submit(self, input)
  local run, circuit = self.run, input.circuit
  if core.is_closed(run.client) then return run:stop(run:closed_error()) end
  input.is_sent, input.sent_at, input.attempts = true, core.now(), input.attempts + 1
  local call = { transport = self, input = input }
  self.in_flight[input] = call
  detached.go_on(call, on_submit, "submit_qasm", run.client, circuit.qasm, input.backend_id,
    { shots = circuit.shots, optimization_level = circuit.optimization_level })
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

function Unary:next_time() return self.may_send_at end

function Unary:wait(seconds)
  local woken, err = future.park(self.run.tickets, "execute_batch", seconds)
  if woken == nil then return nil, err end
  return true
end

-- Takes back what has not left our own queue.
function Unary:stop()
  local waiting = {}
  for _, call in pairs(self.in_flight) do waiting[#waiting + 1] = call end
  for _, call in ipairs(waiting) do
    if not detached.is_sent(call) then detached.cancel_call(call) end
  end
end

function Unary.close() end

return M
