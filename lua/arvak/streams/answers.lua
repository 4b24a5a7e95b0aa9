-- What a batch stream answers to what was written to it: the one reader of its messages, for streams and for batches.
-- Invariant: each submission that was written is answered once, and has one end at most; what the server says again,
-- or of what nobody wrote, changes nothing. A submission without an answer may have been executed, unless the error of
-- its stream rules that out.
--
--   a submission is       message                          is then      event
--   written               submitted                        open         "submitted"
--   written               error                            gone         "error": the server's refusal
--   open                  completed, of its job            gone         "completed"
--   open                  completed, of another job        gone         "error": a broken answer
--   any other pair                                         as before    none
-- SPDX-License-Identifier: Apache-2.0
local errors = require "arvak.base.errors"
local keeper = require "arvak.base.keeper"

local M = {}

-- ---- errors

-- An error carries no code; its prefix is the contract (contract 2.4).
local function kind_of(message)
  if string.find(message, "^Circuit parsing failed:") or string.find(message, "^Circuit rejected:") then
    return "invalid_circuit"
  end
  if string.find(message, "^Backend not found:") then return "backend_not_found" end
  return "rpc"
end

-- The error that the server gave in place of a job.
local function refusal(message, target)
  return errors.new(kind_of(message), message, { rpc = "SubmitBatchStream", target = target, attempts = 1 })
end

-- A submission about which the server said nothing before the stream had ended, for this reason if any.
function M.unanswered(cause, target)
  return errors.new(cause and cause.kind or "rpc", "the stream ended before the server had answered this submission",
    { rpc = "SubmitBatchStream", target = target, maybe_executed = not cause or cause.maybe_executed, cause = cause })
end

-- ---- the reader

local Reader = {}
Reader.__index = Reader

-- The reader of one stream. jobs: index → false while it is unanswered, then its job's id until its end. label: for a
-- ledger, or nil.
function M.reader(target, client, label)
  return setmetatable({ jobs = {}, unanswered_count = 0, target = target, client = client, label = label,
    written = keeper.of(client) and {} }, Reader)
end

-- The submission with this index, which is its request id, has been written. backend_id and shots: for a ledger.
function Reader:note_written(index, backend_id, shots)
  self.jobs[index] = false
  if self.written then self.written[index] = { backend_id, shots } end
  self.unanswered_count = self.unanswered_count + 1
end

local function answer(self, index, job_id)
  self.jobs[index] = job_id
  self.unanswered_count = self.unanswered_count - 1
end

local on = {}

function on.submitted(self, index, job_id)
  if self.jobs[index] ~= false then return nil end
  answer(self, index, job_id)
  return "submitted", index, job_id
end

function on.error(self, index, _, message)
  if self.jobs[index] ~= false then return nil end
  answer(self, index, nil)
  return "error", index, nil, refusal(message, self.target)
end

function on.completed(self, index, job_id, result)
  local expected = self.jobs[index]
  if not expected then return nil end
  self.jobs[index] = nil
  if job_id == expected then return "completed", index, job_id, result end
  return "error", index, expected, errors.new("rpc", string.format("the server's answer is broken: "
    .. "the result of job %s came for job %s", job_id, expected),
    { rpc = "SubmitBatchStream", target = self.target, attempts = 1, job_id = expected, maybe_executed = true })
end

local note = {}   -- what a ledger is told of an event

function note.submitted(self, index, job_id)
  local backend_id, shots = table.unpack(self.written[index])
  self.written[index] = nil
  keeper.submitted(self.client, job_id, backend_id, shots, self.label)
end

function note.completed(self, _, job_id) keeper.seen(self.client, job_id, "COMPLETED") end

local function noted(self, event, ...)
  if self.written and note[event] then note[event](self, ...) end
  return event, ...
end

-- What a message of the stream means, its values as core.stream_take gives them: an event of the table above, the
-- index, the job's id where there is one, and the result or error; nil where it changes nothing.
function Reader:read(event, request_id, job_id, data)
  local index = math.tointeger(tonumber(request_id))
  if not index or not on[event] then return nil end
  return noted(self, on[event](self, index, job_id, data))
end

-- Takes what is left when the stream has ended: the indexes of those without an answer, and of those with an open job.
-- What is read later changes nothing.
function Reader:take_rest()
  local unanswered, open = {}, {}
  for index, job_id in pairs(self.jobs) do
    local list = job_id and open or unanswered
    list[#list + 1] = index
  end
  table.sort(unanswered)
  table.sort(open)
  local jobs = self.jobs
  self.jobs, self.unanswered_count = {}, 0
  return unanswered, open, jobs
end

-- An open submission is of no interest any more.
function Reader:forget(index)
  if self.jobs[index] then self.jobs[index] = nil end
end

return M
