-- Who keeps notes of a client's jobs (a ledger), and what calls and streams have to tell him.
-- Invariant: a keeper is told what the server has said before the caller has it, and what he does with that makes no
-- call fail.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"

local M = {}

-- keeper:submitted(job_id, backend_id, shots, label) and keeper:seen(job_id, state) return at once.
M.set = core.set_keeper

-- ---- calls

local begun = {}   -- by the place in a ticket: what an answer does not say. Places are used again.

local function place_of(ticket) return (ticket & 0xffffffff) + 1 end

core.set_upcall("job_begun", function(keeper, ticket, rpc, id, shots, label)
  begun[place_of(ticket)] = { ticket = ticket, keeper = keeper, rpc = rpc, id = id, shots = shots, label = label }
end)

local answers = {}

function answers.SubmitJob(note, job_id)
  if job_id then note.keeper:submitted(job_id, note.id, note.shots[1], note.label) end
end

-- A batch that came back short has made jobs all the same.
function answers.SubmitBatch(note, job_ids, err)
  for i, job_id in ipairs(job_ids or err.job_ids or {}) do
    note.keeper:submitted(job_id, note.id, note.shots[i], note.label)
  end
end

function answers.GetJobStatus(note, job)
  if job then note.keeper:seen(note.id, job.state) end
end

function answers.GetJobResult(note, result)
  if result then note.keeper:seen(note.id, "COMPLETED") end
end

function answers.CancelJob(note, is_canceled)
  if is_canceled then note.keeper:seen(note.id, "CANCELED") end
end

core.set_upcall("job_answered", function(ticket, value, err)
  local place = place_of(ticket)
  local note = begun[place]
  if not note or note.ticket ~= ticket then return end
  core.protect(answers[note.rpc], note, value, err)
  begun[place] = false
end)

-- ---- streams

-- Whoever keeps notes of the jobs of this client, or nil.
M.of = core.keeper

-- A stream of the client has made a job.
function M.submitted(client, ...)
  local keeper = core.keeper(client)
  if keeper then core.protect(keeper.submitted, keeper, ...) end
end

-- A stream of the client has told the state of a job.
function M.seen(client, job_id, state)
  local keeper = core.keeper(client)
  if keeper then core.protect(keeper.seen, keeper, job_id, state) end
end

return M
