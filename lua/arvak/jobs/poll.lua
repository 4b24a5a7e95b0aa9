-- Following one job by polling: what to do after each answer. Waits, job futures and batches decide here and nowhere
-- else; they make the calls themselves. Pure: time is passed in, randomness is a rule.
-- Invariant: without a usable answer nothing goes on for ever, and the first end seen is final, since the reference
-- server can move a job on after one (contract 2.9, item 12).
--
--   step     event                             what is next
--   look     status: QUEUED, RUNNING           look, after the next pause; or rest, for a part of that, while it is not
--                                              known how long such jobs take
--   rest     rested                            look, if the pause is over or the job may have ended by now; else rest
--   look     status: unspecified, or unknown   look, after the next pause; no usable answer
--   look     status: COMPLETED                 fetch, at once
--   look     status: another end               end, with the error of that end
--   fetch    result                            end, with the result
--   fetch    error: too large for one message  chunks, at once
--   chunks   result                            end, with the result
--   any      error that may pass               the same step, after the next pause or the server's; no usable answer
--   any      another error                     end, with that error
--   over     any                               over
--
-- Bounds, looked at after each event: the end of the wait (_ends_at); where that is not set, `patience` seconds without
-- a usable answer. A breaker that is open gets the time that it asks for besides, one more patience at most.
-- SPDX-License-Identifier: Apache-2.0
local errors = require "arvak.base.errors"
local records = require "arvak.results.records"

local M = {}

local JITTER = 0.2                              -- share of a pause
local EARLY = 0.25                              -- of the time that jobs usually take
local LEAST_DELAY = 0.0005                      -- seconds, around the time when a job is expected to end
local PARTS = 4                                 -- of a pause, between which a wait hears what others have learned
local RESOURCE_EXHAUSTED, OUT_OF_RANGE = 8, 11
M.FIRST_DELAY, M.GROWTH, M.POLL_INTERVAL = 0.0011, 1.3, 1.0   -- seconds, factor, seconds

-- ---- what answers mean

-- A pause made a little shorter or longer, so that many who wait do not fall into step.
function M.jittered(delay, random)
  return delay * (1 + JITTER * (2 * (random or math.random)() - 1))
end

-- An error after which looking again may help.
function M.is_transient(err)
  return err.retryable or err.kind == "unavailable" or err.kind == "timeout" or err.kind == "circuit_open"
end

-- The result does not fit into one message: for the server, or for this client.
function M.is_too_large(err)
  return err.code == OUT_OF_RANGE or (err.code == RESOURCE_EXHAUSTED and not err.retryable)
end

-- What a job that ended without a result comes to.
function M.end_error(job, target)
  local fields = { job_id = job.job_id, target = target }
  if job.state == "FAILED" then return errors.new("job_failed", job.error_message or "the job failed", fields) end
  if job.state == "CANCELED" then return errors.new("job_canceled", "the job was canceled", fields) end
  return errors.new("result_expired", "the job succeeded, but its result has expired", fields)
end

local is_pending = { QUEUED = true, RUNNING = true }

-- ---- the ends

local function finish(followed, result, err)
  followed._step = "over"
  return "end", result, err
end

local function max_wait_over(followed, rules, now)
  local cause = followed._stuck and followed._stuck.err
  local why = cause and "; the last answer was: " .. tostring(cause.message or cause.kind) or ""
  return finish(followed, nil, errors.new("timeout", string.format("job %s has not ended within max_wait = %s s "
    .. "(last seen %s); it goes on%s", followed.job_id, errors.seconds(rules.max_wait), followed._seen or "never", why),
    { scope = "wait", job_id = followed.job_id, target = rules.target, cause = cause,
      elapsed = now - (followed._ends_at - rules.max_wait) }))
end

local function state_unclear(followed, rules, state)
  return finish(followed, nil, errors.new("timeout", string.format("for %s s the server has given no state of job "
    .. "%s that this client knows (last seen %s); it may go on", errors.seconds(rules.patience), followed.job_id,
    state),
    { scope = "wait", job_id = followed.job_id, target = rules.target }))
end

local function server_failing(followed, rules, err)
  local what = err.kind == "circuit_open" and "the breaker has refused every call for %s s: %s"
    or "the server has failed for %s s without a break: %s"
  err.message = string.format(what, errors.seconds(rules.patience), err.message or err.kind)
  return finish(followed, nil, err)
end

-- ---- the next time

local function go_on(followed, rules, step, now)
  followed._step, followed._delay, followed._stuck = step, math.min(M.FIRST_DELAY, rules.interval), nil
  return step, now
end

-- No usable answer since then, or since earlier.
local function note_stuck(followed, since)
  followed._stuck = followed._stuck or { since = since }
  return followed._stuck
end

-- The same step after the next pause, or after least seconds, but before `last`, a time.
local function again(followed, rules, now, least, last)
  local pause = M.jittered(followed._delay, rules.random)
  followed._delay = math.min(followed._delay * M.GROWTH, rules.interval)
  return followed._step, math.min(now + math.max(pause, least), last, followed._ends_at or math.huge)
end

-- The rest of a pause until _look_at, which is over before where it is learned meanwhile that such jobs have ended.
local function rest(followed, rules, now)
  local typical = rules.durations:typical()
  local expected = typical and math.max(followed._since + typical, now) or math.huge
  local at = math.min(followed._look_at, expected)
  followed._step = at > now and "rest" or "look"
  return followed._step, math.min(at, now + followed._part)
end

-- After a look at a job that has not ended. Where it is known how long such jobs take, the next look is then; and one
-- at a quarter of that, so that it is noticed when they take less now.
local function look_again(followed, rules, now)
  local pending = followed._since and now - followed._since
  local durations = pending and not rules.on_progress and rules.durations
  local typical = durations and durations:typical()
  followed._pending = pending
  if not durations or typical and pending >= typical then return again(followed, rules, now, 0, math.huge) end
  if not typical then
    local _, at = again(followed, rules, now, 0, math.huge)
    followed._look_at, followed._part = at, (at - now) / PARTS
    return rest(followed, rules, now)
  end
  followed._delay = math.min(math.max(LEAST_DELAY, typical / 40), rules.interval)   -- then soon again
  local target = pending < EARLY * typical and EARLY * typical or typical
  return "look", math.min(now + math.min(target - pending, rules.interval), followed._ends_at or math.huge)
end

local function note_duration(followed, rules, now)
  if not followed._since or not rules.durations then return end
  rules.durations:note(followed._pending or 0, now - followed._since)
  followed._since = nil
end

-- ---- the events

local on = { look = {}, rest = {}, fetch = {}, chunks = {}, over = {} }

function on.look.status(followed, rules, now, job)
  local state = job.state
  followed._seen = state
  if state == "COMPLETED" then
    note_duration(followed, rules, now)
    return go_on(followed, rules, "fetch", now)
  end
  if records.is_terminal[state] then return finish(followed, nil, M.end_error(job, rules.target)) end
  if is_pending[state] then followed._stuck = nil end
  if followed._ends_at and now >= followed._ends_at then return max_wait_over(followed, rules, now) end
  if is_pending[state] then return look_again(followed, rules, now) end
  local last = followed._ends_at or note_stuck(followed, now).since + rules.patience
  if now >= last then return state_unclear(followed, rules, state) end
  return again(followed, rules, now, 0, last)
end

-- The error of a call that took err.elapsed seconds.
function on.look.error(followed, rules, now, err)
  if not M.is_transient(err) then return finish(followed, nil, err) end
  local stuck = note_stuck(followed, now - (err.elapsed or 0))
  if err.kind ~= "timeout" or not stuck.err then stuck.err = err end   -- what the server said, before its silence
  if followed._ends_at and now >= followed._ends_at then return max_wait_over(followed, rules, now) end
  local wanted = math.min(err.retry_after or 0, rules.patience)
  local last = followed._ends_at or stuck.since + rules.patience + (err.kind == "circuit_open" and wanted or 0)
  if now >= last then return server_failing(followed, rules, err) end
  return again(followed, rules, now, wanted, last)
end

function on.rest.rested(followed, rules, now) return rest(followed, rules, now) end

function on.fetch.result(followed, _, _, result) return finish(followed, result) end

function on.fetch.error(followed, rules, now, err)
  if not M.is_too_large(err) then return on.look.error(followed, rules, now, err) end
  return go_on(followed, rules, "chunks", now)
end

on.chunks.result, on.chunks.error = on.fetch.result, on.look.error

local function stay_over() return "over" end

setmetatable(on.over, { __index = function() return stay_over end })

-- ---- made from outside

-- Begins to follow a job: the time of the first look. followed: any table with the job's job_id; the fields _step,
-- _delay, _stuck, _seen, _pending, _look_at and _part of it are kept here. _ends_at, a time, and _since, when the job
-- was submitted, are read, where they are set.
-- first: seconds before the first look, or nil; delay: between it and the next one (FIRST_DELAY).
function M.start(followed, rules, now, first, delay)
  followed._step, followed._delay, followed._stuck = "look", math.min(delay or M.FIRST_DELAY, rules.interval), nil
  local at = first and now + M.jittered(first, rules.random) or now
  return math.min(at, followed._ends_at or math.huge)
end

-- After an event ("status" and the job, "result" and the result, "error" and the error, "rested"), what is next:
--   "look", "fetch" or "chunks", and the time for it (a status, the result, the result in chunks);
--   "rest", and the time at which to say so;
--   "end", the result or nil, and why there is none;
--   "over" for an answer that came after the end.
-- rules, which many may share: interval (seconds between two looks at most), patience (seconds, above), target,
-- max_wait (with _ends_at, for the message), random (nil: math.random), durations (of jobs/durations.lua, or nil),
-- on_progress (whether each look matters to somebody).
function M.decide(followed, rules, now, event, value)
  return on[followed._step][event](followed, rules, now, value)
end

return M
