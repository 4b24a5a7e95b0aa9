-- Random events against the states of inputs (batch/inputs.lua): a server, a disk and a batch in a few lines each.
-- Answers come in any order, late, twice, or never, and the process dies at any moment; check says what must hold.
-- SPDX-License-Identifier: Apache-2.0
local M = {}

local inputs = assert(loadfile "lua/arvak/batch/inputs.lua")()

local CIRCUITS = 24

local Model = {}
Model.__index = Model

-- random: as math.random.
function M.new(random)
  local model = setmetatable({ random = random, jobs = {}, disk = {}, last_job = {}, may_run_twice = {}, told = {},
    runs = 0, clock = 0 }, Model)
  model:start()
  return model
end

-- ---- the batch: what run, transports and journal do with effects

local effects = {}

function Model:tell(input, event, ...)
  assert(input.run == self.runs, "an input of an earlier run")
  local before = input.state
  local effect = self.inputs:tell(input, event, ...)
  if before == "ended" then assert(input.state == "ended" and effect ~= "end", "ended twice") end
  if event == "lose" and self.resubmits then self.may_run_twice[input.index] = true end
  if effect then effects[effect](self, input, ...) end
end

local function note(self, input, state)
  self.dirty[input.index] = { state = state, job_id = input.job_id, result = input.result, attempts = input.attempts,
    err = (state == "failed" or state == "unknown") and input.err or nil }
end

-- What is noted is on the disk; then what waited for that goes on.
function Model:commit()
  for index, row in pairs(self.dirty) do self.disk[index] = row end
  self.dirty = {}
  local intended, cancels = self.intended, self.cancels
  self.intended, self.cancels = {}, {}
  for _, input in ipairs(intended) do self:tell(input, "release") end
  for _, input in ipairs(cancels) do
    if inputs.is_canceling(input) then
      self.jobs[input.job_id].is_asked = true
      self:call(input, "cancel", input.job_id)
    end
  end
end

local function intend(self, input)
  if self.is_stopped then return end
  self:tell(input, "intend")
  note(self, input, "intent")
  self.intended[#self.intended + 1] = input
end

function effects.queue(self, input) self.ready[#self.ready + 1] = input end
effects.requeue = effects.queue
effects.again = intend

function effects.look(self, input) self:call(input, "look", input.job_id) end

function effects.follow(self, input)
  note(self, input, "submitted")
  self:call(input, "look", input.job_id)
end

function effects.cancel(self, input)
  self.jobs[input.job_id].is_recalled = true
  note(self, input, inputs.journal_state(input))
  self.cancels[#self.cancels + 1] = input
end

function effects.cancel_stray(self, _, job_id)
  local job = self.jobs[job_id]
  if job.state == "RUNNING" then job.state = "CANCELED" end
end

effects["end"] = function(self, input)
  assert(not self.told[input.index], "an end was told twice")
  assert((input.result ~= nil) ~= (input.err ~= nil), "a result or an error")
  local last, err = self.jobs[self.last_job[input.index]], input.err
  assert(not (err and err.kind == "timeout" and last and last.run == self.runs) or err.maybe_executed or input.job_id,
    "not submitted, it says, and there is a job")
  self.told[input.index] = input
  if not input.is_kept then note(self, input, inputs.journal_state(input)) end
end

local function stop_error(input)
  return { kind = "timeout", maybe_executed = not inputs.is_unsent(input) and not inputs.has_job(input),
    attempts = inputs.is_unsent(input) and 0 or nil }
end

local function admit(self, input)
  local row = self.disk[input.index]
  if not row then return intend(self, input) end
  local plan = inputs.plan(row, self.resubmits, false)
  if plan == "again" and self.resubmits then self.may_run_twice[input.index] = true end
  self:tell(input, "restore", row.attempts, plan == "again")
  if plan == "keep" then return self:tell(input, "keep", row.result, row.err, row.job_id) end
  if plan == "attach" then return self:tell(input, "attach", row.job_id, row.state == "failed") end
  if plan == "unknown" then return self:tell(input, "fail", { kind = "rpc", maybe_executed = true }) end
  intend(self, input)
end

-- A run begins, on what the disk says. Calls of the last one are forgotten, with their answers.
function Model:start()
  self.runs, self.told, self.is_stopped, self.resubmits = self.runs + 1, {}, false, self.random(3) == 1
  self.inputs, self.dirty, self.intended, self.cancels, self.ready, self.calls = inputs.new(self.resubmits), {}, {}, {},
    {}, {}
  for index = 1, CIRCUITS do
    local input = self.inputs:draw { index = index, run = self.runs }
    admit(self, input)
  end
end

-- ---- the server

function Model:call(input, what, job_id)
  self.calls[#self.calls + 1] = { input = input, what = what, job_id = job_id, run = self.runs }
end

-- Nothing that may have run is submitted again, unless the options wanted that: the job before was canceled for it.
local function make_job(self, index)
  local last = self.jobs[self.last_job[index]]
  assert(not last or self.may_run_twice[index] or (last.is_recalled and last.state == "CANCELED"),
    "a circuit that may have run was submitted again")
  local id = #self.jobs + 1
  self.jobs[id] = { index = index, state = "RUNNING", run = self.runs }
  self.last_job[index] = id
  return id
end

-- The server does what a call says, or does not get it. Its answer: a list of what the input is told.
local serve = {}

function serve.submit(self, call)
  local fate, input = self.random(10), call.input
  if fate == 1 then return { "unsend" } end
  if fate == 2 then return { "fail", { kind = "invalid_circuit", attempts = 1 } } end
  if fate == 3 then return { "lose", { kind = "unavailable", maybe_executed = true } } end   -- it did not arrive
  local id = make_job(self, input.index)
  if fate > 4 then return { "accept", id } end
  local late = { input = input, what = "submit", run = self.runs, answer = { "accept", id } }   -- too late, or never
  if self.random(2) == 1 then self.calls[#self.calls + 1] = late end
  return { "lose", { kind = "unavailable", maybe_executed = true } }
end

function serve.look(self, call)
  local state = self.jobs[call.job_id].state
  if state == "RUNNING" then return { "again" } end
  return { "see", state, { kind = state == "FAILED" and "job_failed" or "job_canceled" } }
end

function serve.fetch(_, call) return { "complete", call.job_id } end

function serve.cancel(self, call)
  local job = self.jobs[call.job_id]
  local fate = self.random(6)
  if fate == 1 then return { "refuse_cancel", { kind = "unavailable", maybe_executed = false } } end
  local is_done = job.state ~= "RUNNING"
  if not is_done then job.state = "CANCELED" end
  if fate == 2 then return { "refuse_cancel", { kind = "unavailable", maybe_executed = true } } end
  if is_done then return { "refuse_cancel", { kind = "not_cancelable", maybe_executed = false } } end
  return { "cancel" }
end

local function tell_answer(self, call, answer)
  local input, what = call.input, answer[1]
  if call.job_id and call.job_id ~= input.job_id then return end   -- it runs once more
  if what == "again" then return self:call(input, "look", call.job_id) end
  self:tell(input, table.unpack(answer))
  if what == "accept" and input.job_id ~= answer[2] then
    assert(self.jobs[answer[2]].state ~= "RUNNING", "a job that nobody waits for goes on")
  end
  if what == "see" and input.state == "fetching" then self:call(input, "fetch", call.job_id) end
end

-- ---- what happens

local happen = {}

function happen.send(self)
  local input = table.remove(self.ready, self.random(math.max(1, #self.ready)))
  if not input or not inputs.is_ready(input) or self.is_stopped then return end
  self:tell(input, "send", self.clock)
  self:call(input, "submit")
end

function happen.commit(self) self:commit() end

-- An answer comes: the oldest, or any; sometimes it stays, and comes again.
function happen.answer(self)
  local place = self.random(#self.calls)
  local call = self.calls[place]
  call.answer = call.answer or serve[call.what](self, call)
  if self.random(8) > 1 or call.what == "submit" and call.answer[1] ~= "accept" then table.remove(self.calls, place) end
  tell_answer(self, call, call.answer)
end

-- The server answers, and nobody hears it yet: a look may come before the answer to a cancellation that is older.
function happen.serve(self)
  local call = self.calls[self.random(#self.calls)]
  call.answer = call.answer or serve[call.what](self, call)
end

function happen.finish(self)
  local job = self.jobs[self.random(#self.jobs)]
  local fate = self.random(20)
  if job.state == "RUNNING" then job.state = fate == 1 and "FAILED" or fate == 2 and "CANCELED" or "COMPLETED" end
end

-- An event that nobody has caused.
function happen.nonsense(self)
  local input = self.told[self.random(CIRCUITS)]
  local events = { "accept", "unsend", "lose", "fail", "see", "complete", "cancel", "refuse_cancel", "recall", "expire",
    "release", "send", "keep", "attach", "restore", "intend" }
  local event = events[self.random(#events)]
  if input and event ~= "accept" then self:tell(input, event, "COMPLETED", { kind = "unavailable" }) end
end

function happen.stop(self)
  if self.is_stopped then return end
  self.is_stopped = true
  self.inputs:stop()
  for _, input in ipairs(self.inputs:list()) do self:tell(input, "recall", stop_error(input)) end
end

function happen.expire(self)
  if not self.is_stopped then return end
  for _, input in ipairs(self.inputs:list()) do self:tell(input, "expire", stop_error(input)) end
end

-- The process dies: what was noted and not committed is lost. Or all has ended and is on the disk.
function happen.die(self) self:start() end

function happen.close(self)
  if self.inputs.open_count > 0 then return end
  self:check_whole()
  self:commit()
  self:start()
end

local weights = { send = 20, commit = 10, answer = 40, serve = 8, finish = 14, nonsense = 4, close = 4, expire = 1 }
local urn = {}
for name, weight in pairs(weights) do
  for _ = 1, weight do urn[#urn + 1] = name end
end
table.sort(urn)

-- One event.
function Model:happen()
  self.clock = self.clock + 1
  local fate = self.random(400)
  local name = fate <= 2 and "die" or fate <= 5 and "stop" or urn[self.random(#urn)]
  if (name == "answer" or name == "serve") and #self.calls == 0 then name = "commit" end
  if name == "finish" and #self.jobs == 0 then name = "send" end
  happen[name](self)
end

-- ---- what must hold

function Model:check_whole()
  local ledger, completed = self.inputs, 0
  for index = 1, CIRCUITS do
    local input = assert(self.told[index], "an input without an end")
    if input.result ~= nil then completed = completed + 1 end
  end
  assert(ledger.completed == completed and ledger.completed + ledger.failed == CIRCUITS, "the counts of the ends")
  for state, count in pairs(ledger.counts) do assert(count == (state == "ended" and CIRCUITS or 0), state) end
end

function Model:check()
  local sum, told = 0, 0
  for _, count in pairs(self.inputs.counts) do sum = sum + count end
  for _ in pairs(self.told) do told = told + 1 end
  assert(sum == CIRCUITS and self.inputs.counts.ended == told, "the counts of the states")
  assert(self.inputs.open_count == CIRCUITS - told and #self.inputs:list() == CIRCUITS - told, "those that are open")
  assert(not self.is_stopped or self.inputs.counts.running == 0, "a job that nobody wants, and nobody cancels")
end

-- Why an input may have failed when nothing goes wrong any more: for reasons of its own, or for being unknown.
local function may_fail(self, input)
  local err, job = input.err, self.jobs[input.job_id]
  if err.maybe_executed then return not self.resubmits end
  if err.kind == "job_canceled" then return not job.is_asked end   -- somebody else has canceled it
  return err.kind == "job_failed" or err.kind == "invalid_circuit"
end

-- Runs it to its end without trouble.
function Model:settle()
  self:start()
  self.random = function() return 5 end
  while self.inputs.open_count > 0 do
    for _, job in ipairs(self.jobs) do
      if job.state == "RUNNING" then job.state = "COMPLETED" end
    end
    self:commit()
    local ready, calls = self.ready, self.calls
    self.ready, self.calls = {}, {}
    for _, input in ipairs(ready) do
      self:tell(input, "send", self.clock)
      self:call(input, "submit")
    end
    for _, call in ipairs(calls) do tell_answer(self, call, serve[call.what](self, call)) end
  end
  self:check_whole()
  for index, input in ipairs(self.told) do
    local kind = input.err and input.err.kind
    assert(input.result or may_fail(self, input), ("circuit %d ended as %s"):format(index, kind))
  end
end

-- Runs as many events, on models of 400 each: then most has ended.
function M.run(seed, count)
  math.randomseed(seed)
  for from = 1, count, 400 do
    local model = M.new(math.random)
    for i = from, math.min(count, from + 399) do
      model:happen()
      if i % 20 == 0 then model:check() end
    end
    model:settle()
  end
end

return M
