-- The limits of the backends of a batch, for the option `check`: each backend is asked once, and what it would refuse
-- ends in its own place before it is sent.
-- Invariant: an input that waits for its backend's answer is drawn, and is told of again when the answer is there.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local detached = require "arvak.async.detached"
local errors = require "arvak.base.errors"
local inputs = require "arvak.batch.inputs"
local limits = require "arvak.jobs.limits"

local M = {}

local Limits = {}
Limits.__index = Limits

-- run: client, commits, tell, wake, answer.
function M.new(run)
  local self = setmetatable({ run = run, infos = {}, waiting = {} }, Limits)
  self.on_info = run:answer(function(call, info, err) self:note(call.backend_id, info, err) end)
  return self
end

local function refuse(self, input, err)
  self.run:tell(input, "fail", errors.new(err.kind, err.message, { cause = err, target = self.run.target,
    code = err.code, name = err.name, rpc = err.rpc, attempts = 0 }))
end

-- A backend has answered: those that waited go on. One that could not be reached is asked again by the next.
function Limits:note(backend_id, info, err)
  local waiting = self.waiting[backend_id]
  self.waiting[backend_id], self.infos[backend_id] = nil, info
  self.run:wake()
  for _, input in ipairs(waiting) do
    if info and inputs.is_open(input) then
      self.run.commits:intend(input)
    elseif inputs.is_open(input) then
      refuse(self, input, err)
    end
  end
end

-- Whether an input may be sent now. If not, it has ended, or waits.
function Limits:allow(input)
  local info, waiting = self.infos[input.backend_id], self.waiting[input.backend_id]
  if info then
    local circuit = input.circuit
    local ok, err = limits.find(input.source or circuit.qasm, circuit.shots, circuit.optimization_level, info)
    if not ok then
      err.target = self.run.target
      self.run:tell(input, "fail", err)
    end
    return ok
  end
  if waiting then
    waiting[#waiting + 1] = input
    return false
  end
  if core.is_closed(self.run.client) then
    self.run:stop(self.run:closed_error())
    return false
  end
  self.waiting[input.backend_id] = { input }
  detached.go_on({ backend_id = input.backend_id }, self.on_info, "get_backend_info", self.run.client, input.backend_id)
  return false
end

return M
