-- The result of a job, or why there is none: the server says the same of a job that runs and of one that was canceled
-- (contract 2.9, item 3), so the job's state is looked up as well.
-- Invariant: an error that was refined is the error that the server gave, with a kind and a message that fit the state.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local check = require "arvak.base.check"
local chunks = require "arvak.jobs.chunks"
local poll = require "arvak.jobs.poll"
local program = require "arvak.results.program"

local M = {}

local FAILED_PRECONDITION = 9

-- Of get_job_result.
M.option_names = program.with_circuit_names(check.call_options)

-- err, which a request for a job's result came to, made to say why there is none; and whether the job has completed
-- since.
function M.refine(client, job_id, err, options)
  if err.code ~= FAILED_PRECONDITION then return err end
  local job = core.try.get_job_status(client, job_id, options)
  if not job then return err end
  if job.state == "CANCELED" then
    err.kind, err.message = "job_canceled", "the job was canceled and has no result"
  elseif job.state == "RESULT_EXPIRED" then
    err.kind, err.message = "result_expired", "the job succeeded, but its result has expired"
  elseif job.state ~= "COMPLETED" then
    err.message = string.format("the job is %s and has no result yet", job.state)
  end
  return err, job.state == "COMPLETED"
end

local function fetch(client, job_id, options)
  local result, err = core.call.get_job_result(client, job_id, options)
  if result then return result end
  if poll.is_too_large(err) and not core.is_closed(client) then
    local target, timeout = core.check_client(client, "get_job_result")
    local patience = type(options) == "table" and options.timeout or timeout
    return chunks.fetch(client, { target = target, patience = patience }, job_id, options)
  end
  local has_completed
  err, has_completed = M.refine(client, job_id, err, options)
  if has_completed then return core.try.get_job_result(client, job_id, options) end
  return nil, err
end

-- The result of a completed job: result, or nil and an error. One that is too large for a message comes in chunks.
-- options: those of a call; circuit, from which the job was made, and its optimization_level.
function M.get_job_result(client, job_id, options)
  local others, made = program.take_circuit(options, "get_job_result", M.option_names)
  if not made then return fetch(client, job_id, others) end
  core.check.get_job_result(client, job_id, others)
  local ok, way = program.way_of(made)
  if not ok then return nil, way end
  local result, err = fetch(client, job_id, others)
  if not result then return nil, err end
  return program.read(result, way)
end

return M
