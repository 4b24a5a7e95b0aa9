-- Watching a job: each change of its state, also over connections that break.
-- Invariant: the first terminal state is the last one that a watch gives, and only a job that has ended ends it well.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local check = require "arvak.base.check"
local errors = require "arvak.base.errors"
local keeper = require "arvak.base.keeper"
local poll = require "arvak.jobs.poll"
local records = require "arvak.results.records"
local stream = require "arvak.streams.stream"
local task = require "arvak.async.task"

local M = {}

local INTERNAL, DEADLINE_EXCEEDED, UNAVAILABLE = 13, 4, 14
local LEAST_LIFE = 1.0   -- seconds for which a watch tells something before its end is a trouble of its own

local function remember(self, state, timestamp, message)
  self._last = state
  self._is_ended = records.is_terminal[state]
  keeper.seen(self._client, self._job_id, state)
  return state, timestamp, message ~= "" and message or nil
end

-- From here on the server's patience and the pauses count anew.
local function recovered(self) self._failing_since, self._delay = nil, nil end

-- The reference server reports a job that it does not know as INTERNAL, in the stream (contract 2.9, item 2), so the
-- status is looked up before anything is believed. A job that has ended meanwhile is told from there.
local function confirm(self)
  local job, err = core.try.get_job_status(self._client, self._job_id, { metadata = self._options.metadata })
  if not job then return nil, not poll.is_transient(err) and err or nil end
  if not records.is_terminal[job.state] then return nil end
  return remember(self, job.state, job.completed_at or os and os.time() or 0, job.error_message or "")
end

-- The server ends a watch after an hour with DEADLINE_EXCEEDED; that and a broken connection only mean: again.
local function is_passing(self, err)
  if err and err.code == DEADLINE_EXCEEDED then return not self._ends_at end
  return not err or err.code == UNAVAILABLE or err.code == INTERNAL
end

-- Whether the watch may be opened once more after err, or after an end without one. A message alone is no recovery: a
-- watch that always ends after its first one would be opened for ever.
local function has_patience(self)
  local now = core.now()
  if self._heard_at and self._heard_at - self._opened_at >= LEAST_LIFE then recovered(self) end
  self._failing_since = self._failing_since or now
  return now - self._failing_since < self._patience
end

local function give_up(self, err)
  err = err or errors.new("rpc", "the server ends the watch again and again before the job has ended",
    { rpc = self._rpc, target = self._target, job_id = self._job_id })
  err.message = string.format("for %s s the watch has broken again and again, without a new state: %s",
    errors.seconds(self._patience), err.message or err.kind)
  return false, nil, err
end

local function reopen(self)
  stream.close_rpc(self)
  self._delay = math.min((self._delay or poll.FIRST_DELAY) * poll.GROWTH, poll.POLL_INTERVAL)
  local slept, err = task.pause(poll.jittered(self._delay))
  if not slept then return nil, err end
  return true
end

-- After the RPC has ended before the job did: true to go on, or what the watch gives instead.
local function recover(self, err)
  if not is_passing(self, err) then return false, nil, err end
  if not has_patience(self) then return give_up(self, err) end
  if err and err.code == INTERNAL then
    local state, timestamp_or_err, message = confirm(self)
    if state then return false, state, timestamp_or_err, message end
    if timestamp_or_err then return false, nil, timestamp_or_err end
  end
  local ok, canceled = reopen(self)
  if not ok then return false, nil, canceled end
  return true
end

local advance

local function after_recovery(self, goes_on, ...)
  if goes_on then return advance(self) end
  return ...
end

local function on_message(self, state, timestamp, message)
  self._heard_at = core.now()
  if state ~= self._last then
    recovered(self)
  elseif not self._options.every_tick then
    return advance(self)
  end
  return remember(self, state, timestamp, message)
end

local function on_event(self, what, ...)
  if what == "message" then return on_message(self, ...) end
  if what == "end" then return after_recovery(self, recover(self, (...))) end
  return nil, ...
end

local function timeout_error(self)
  return errors.new("timeout", string.format("the job has not ended within timeout = %s s (last seen %s)",
    errors.seconds(self._timeout), self._last or "never"),
    { scope = "call", rpc = self._rpc, target = self._target, job_id = self._job_id })
end

-- Opens the RPC if it is not open. A timeout is of the whole watch, however often it is opened.
local function open(self)
  if self._raw then return true end
  local now = core.now()
  if self._timeout then
    self._ends_at = self._ends_at or now + self._timeout
    if now >= self._ends_at then return nil, timeout_error(self) end
    self._options.timeout = self._ends_at - now
  end
  self._opened_at, self._heard_at = now, nil
  return stream.open(self, self._job_id)
end

function advance(self)
  if self._is_ended then return nil end
  local ok, err = open(self)
  if not ok then
    -- A breaker that refuses a watch which was there before only means: later.
    if self._failing_since and err.kind == "circuit_open" then return after_recovery(self, recover(self, err)) end
    return nil, err
  end
  return on_event(self, stream.receive(self))
end

-- Each change of a job's state, until it has ended: state, timestamp (the server's clock), message (of a failure).
-- options: every_tick (also states that repeat), idle_timeout, timeout (of the whole watch; none), metadata.
function M.watch_job(client, job_id, options)
  local target, patience = core.check_client(client, "watch_job")
  check.text(job_id, "job_id")
  options = stream.options(options, "watch_job", "every_tick")
  return stream.for_loop(stream.new(client, "watch_job", advance, {
    _job_id = job_id, _options = options, _patience = patience, _target = target, _rpc = "WatchJob",
    _timeout = options.timeout,
  }))
end

return M
