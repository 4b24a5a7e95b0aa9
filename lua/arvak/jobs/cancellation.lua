-- Canceling the job of a future on the server: once, however many ask for it, and each is given the same answer.
-- Invariant: a future whose job was canceled on the server for it settles as canceled.
--
-- A future has a cancellation, f._canceling, from the first request on; its step is one of
--   submit   the answer to the submit is waited for, since the server may have the job
--   ask      CancelJob is under way
--   unclear  the answer to CancelJob was lost: a look that finds the job canceled takes that for ours
--   over     nothing more comes of it
--
--   step      event                               what is next
--   (none)    requested, the job's id is known    ask
--   (none)    requested, the submit can be undone over; the future ends as canceled
--   (none)    requested otherwise                 submit
--   submit    the id comes                        ask
--   submit    the submit has failed               over; the future ends as canceled
--   any       the future ends otherwise           over
--   ask       canceled                            over; the future ends as canceled
--   ask       refused, or surely not sent         over; the future goes on
--   ask       lost                                unclear; the future goes on
--   unclear   requested again                     as at first
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local detached = require "arvak.async.detached"
local errors = require "arvak.base.errors"
local future = require "arvak.async.future"

local M = {}

-- Whoever waits for it may be canceled; it goes on all the same.
local function go_to(canceling, step, err)
  canceling.step, canceling.err = step, err
  if step == "over" then canceling.future._canceling = nil end
  future.wake(canceling.tickets)
end

local function on_answer(canceling, ok, err)
  local f = canceling.future
  if canceling.step ~= "ask" then return end   -- f has ended meanwhile
  if ok then
    return f._job.end_canceled(f, errors.new("canceled", "the job was canceled",
      { job_id = f.job_id, target = f._job.target }))   -- and so this is over
  end
  go_to(canceling, err.maybe_executed and "unclear" or "over", err)
end

local function ask(canceling)
  local f = canceling.future
  go_to(canceling, "ask")
  if core.is_closed(f._client) then
    return on_answer(canceling, nil, errors.new("closed", "the client was closed; the job goes on",
      { job_id = f.job_id, target = f._job.target }))
  end
  canceling.job_id = f.job_id
  detached.go_on(canceling, on_answer, "cancel_job", f._client, f.job_id, f._job.calls)
end

-- Begins to cancel, if that is not under way: the cancellation, which may be over at once.
function M.start(f)
  local canceling = f._canceling
  if canceling and canceling.step ~= "unclear" then return canceling end
  canceling = { future = f, tickets = {}, step = "submit", err = false }
  f._canceling = canceling
  if f.job_id then
    ask(canceling)
  else
    f._job.undo_submit(f)   -- whatever comes of that is told by the two functions below
  end
  return canceling
end

-- The server has answered f's submit with the job's id.
function M.note_submitted(f)
  if f._canceling then ask(f._canceling) end
end

-- f's submit has come to nothing, or to nothing that is known: whether f ends as canceled for it.
function M.note_not_submitted(f, err)
  if not f._canceling then return false end
  if err.kind ~= "canceled" or err.rpc then
    err = errors.new("canceled", "canceled before the server had answered the submit",
      { cause = err, rpc = err.rpc, target = err.target, maybe_executed = err.maybe_executed })
  end
  f._job.end_canceled(f, err)
  return true
end

-- f has ended, however: whoever waits learns it.
function M.note_end(f)
  if f._canceling then go_to(f._canceling, "over") end
end

-- Whether a job of f's that is found canceled was canceled for f.
function M.is_wanted(f) return f._canceling ~= nil end

-- What future:cancel does of a job's future: true, or nil and an error.
function M.cancel(f)
  core.check_wait("cancel")
  local canceling = M.start(f)
  while (canceling.step == "submit" or canceling.step == "ask") and not f:done() do
    local woken, err = future.park(canceling.tickets, "cancel")
    if woken == nil then return nil, err end
  end
  if f:canceled() then return true end
  return nil, canceling.err or errors.new("not_cancelable", "the job has ended already", { job_id = f.job_id })
end

return M
