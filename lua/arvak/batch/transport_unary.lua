-- The jobs of a batch over unary calls: SubmitJob each, then looks until it has ended.
-- Invariant: a submit that surely made no job goes back to the front of the queue or ends its slot; one that may have
-- made a job is never sent again but by the run's own rule for that.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local calls = require "arvak.async.detached"
local pacing = require "arvak.batch.pacing"
local future = require "arvak.async.future"
local settle = require "arvak.batch.watcher"

local M = {}

local FIRST_PAUSE, LAST_PAUSE = 0.05, 2.0   -- seconds without submits when the server cannot be reached

local Unary = {}
Unary.__index = Unary

-- run: the queue `ready`, acknowledge, finish, send_again, lose, note_failure, note_refusal, client, settle.
function M.new(run)
  return setmetatable({ run = run, pacing = pacing.new(run.max_workers), pause = FIRST_PAUSE, in_flight = {} }, Unary)
end

-- ---- answers

local function on_refusal(self, slot, err, now)
  self.pacing:note_refusal(now, self.run.acknowledged, err.retry_after)
  self.run:note_refusal(err)
  self.run:send_again(slot)
end

local function on_outage(self, slot, err, now)
  self.pacing:pause(now, math.max(self.pause, err.retry_after or 0))
  self.pause = math.min(2 * self.pause, LAST_PAUSE)
  self.run:note_failure(err)
  self.run:send_again(slot)
end

local function on_submit(call, job_id, err)
  local self, slot = call.transport, call.slot
  local run, now = self.run, core.now()
  self.in_flight[slot] = nil
  run:wake()
  if run.open[slot.index] ~= slot then return run:note_late_id(slot, job_id) end
  if job_id then
    self.pause = FIRST_PAUSE
    self.pacing:note_acceptance()
    run:acknowledge(slot, job_id)
    return run.settle:follow(slot, now)
  end
  if err.maybe_executed then
    run:note_failure(err)
    return run:lose(slot, err)
  end
  slot.is_sent = false
  if err.kind == "canceled" and run.stopped_by then return run:send_again(slot) end   -- by stop, below
  if err.kind == "resource_exhausted" then return on_refusal(self, slot, err, now) end
  if settle.is_passing(err) then return on_outage(self, slot, err, now) end
  run:finish(slot, nil, err)
end

-- ---- the steps of a turn

function Unary:room() return self.pacing:room() end

function Unary.advance() end

local function submit(self, slot)
  local run, circuit = self.run, slot.circuit
  if core.is_closed(run.client) then return run:stop(run:closed_error()) end
  slot.is_sent, slot.sent_at, slot.attempts = true, core.now(), slot.attempts + 1
  local call = { transport = self, slot = slot }
  self.in_flight[slot] = call
  calls.go_on(call, on_submit, "submit_qasm", run.client, circuit.qasm, slot.backend_id,
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
    if call._ticket and not core.is_sent(call._ticket) then core.cancel_call(call._ticket) end
  end
end

function Unary.close() end

return M
