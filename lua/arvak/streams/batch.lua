-- Many jobs over one stream. Invariant: every input that was drawn gets one last event, "completed" or "error",
-- whatever happens to the stream; only then does its own error come.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local answers = require "arvak.streams.answers"
local check = require "arvak.base.check"
local entries = require "arvak.streams.entries"
local errors = require "arvak.base.errors"
local future = require "arvak.async.future"
local poll = require "arvak.jobs.poll"
local program = require "arvak.results.program"
local raised = require "arvak.base.raised"
local records = require "arvak.results.records"
local source = require "arvak.async.source"
local stream = require "arvak.streams.stream"
local task = require "arvak.async.task"
local wait = require "arvak.jobs.wait"

local M = {}

local GRACE = 2.0   -- seconds that an iterator which waits may take to end

-- ---- inputs

local function read(entry, index, backend_id)
  local submission, problem = entries.read(entry, index, backend_id)
  if submission and submission.id == nil then return submission end
  check.misuse("%s", problem or string.format('circuits[%d]: unknown option "id"', index))
end

-- A list is copied and checked whole. An iterator is drawn in a task of its own, so that it may wait for what the loop
-- does. That task knows nothing of the stream, so that a stream that is dropped in the middle is collected.
local function source_of(self, circuits)
  local list, draw = entries.check_circuits(circuits, self._backend_id)
  local tickets = self._tickets
  if not list then return source.from_iterator(entries.copying(draw), function() future.wake(tickets) end) end
  for i = 1, #list do read(list[i], i, self._backend_id) end
  return source.from_list(list)
end

local function check_end(self)
  if self._source.raised then error((raised.read(self._source.raised)), 0) end
  self._is_exhausted = self._source:is_exhausted()
  if self._is_exhausted and self._raw then core.stream_close_writes(self._raw) end
end

-- Writes one input, if there is one: whether it went on, and the event when it cannot be sent.
local function write_next(self)
  self._source:want(1)
  local index, entry = self._source:take()
  if not index then
    check_end(self)
    return self._is_exhausted
  end
  local submission = read(entry, index, self._backend_id)
  self._count = index
  local lowered, unfit = entries.lower(submission)
  if not lowered then return true, "error", index, nil, unfit end
  self._ways[index] = submission.way
  local circuit, backend_id = submission.circuit, submission.backend_id
  local too_large = entries.size_error(circuit, self._target)
  if too_large then return true, "error", index, nil, too_large end
  if self._raw and core.stream_can_write(self._raw) then
    local ok, err = core.stream_write(self._raw, circuit, index, backend_id)
    if not ok then return true, "error", index, nil, err end
    self._first = index == 1 and table.pack(circuit, index, backend_id) or nil
  end
  self._reader:note_written(index, backend_id, circuit.shots)
  return true
end

-- ---- the end

-- Those without an end, in the order of the inputs: the stream says nothing of jobs that failed.
local function start_settling(self, err)
  self._stream_error = err
  self._is_late = err ~= nil and err.kind == "timeout"
  local unanswered, open, jobs = self._reader:take_rest()
  self._settling, self._open = table.move(open, 1, #open, #unanswered + 1, unanswered), jobs
  table.sort(self._settling, function(a, b) return a > b end)
end

-- Where time is over, a job is looked at once and not waited for.
local function look_once(self, job_id)
  local job, err = core.try.get_job_status(self._client, job_id, { metadata = self._options.metadata })
  if not job then return nil, err end
  if records.is_terminal[job.state] then return true end
  return nil, errors.new("timeout", string.format("the job was %s when the time of the stream was over; it goes on",
    job.state), { scope = "wait", target = self._target })
end

-- One patience for all of them: when the server has not answered for one job, the others are not waited for.
local function result_of(self, job_id)
  local lost = self._lost
  if lost then return nil, errors.new(lost.kind, lost.message, { target = self._target, cause = lost }) end
  local ok, err = true, nil
  if self._is_late then ok, err = look_once(self, job_id) end
  local result
  if ok then
    local max_wait = self._options.idle_timeout or self._options.timeout
    result, err = wait.wait_for_job(self._client, self._target, self._patience, job_id,
      { max_wait = max_wait, metadata = self._options.metadata })
    if result then return result end
  end
  if err.scope == "wait" then
    self._is_late = true
  elseif poll.is_transient(err) then
    self._lost = err
  end
  return nil, err
end

-- In a task of its own, so that canceling the stream ends the wait.
local function await_result(self, job_id)
  local f = task.spawn_detached(result_of, self, job_id)
  future.observe(f, { note = function() future.wake(self._tickets) end })
  while not f:done() and not self._is_over do
    local woken, err = future.park(self._tickets, self._method)
    if woken == nil then
      f:cancel()
      return nil, err
    end
  end
  if f:done() then return f:result() end
  f:cancel()
  return nil, self._error
end

-- The last event of a job with this result.
local function completed(self, index, job_id, result)
  local way = self._ways[index]
  self._ways[index] = nil
  local own, err = program.read(result, way)
  if own then return "completed", index, job_id, own end
  return "error", index, job_id, err
end

local function settle_open(self, index, job_id)
  local result, err = await_result(self, job_id)
  if result then return completed(self, index, job_id, result) end
  if err.kind == "canceled" then return nil, err end
  err.job_id = err.job_id or job_id
  return "error", index, job_id, err
end

-- What was drawn from an iterator, but not written before the stream ended. One that waits is canceled, and has the
-- time that a canceled task has.
local function take_rest(self)
  local rest, ends_at = self._source, core.now() + GRACE
  if not rest.draw then return nil end
  rest:stop()
  while not rest:is_exhausted() do
    local index = rest:take()
    if index then
      self._count = index
      return index
    end
    local left = ends_at - core.now()
    if left <= 0 or future.park(self._tickets, self._method, left) == nil then return nil end
  end
end

local function settle_next(self)
  local index = table.remove(self._settling) or take_rest(self)
  if not index then
    local err = self._stream_error
    if err then err.maybe_executed = false end   -- each job has been accounted for by its own event
    return nil, err
  end
  local job_id = self._open[index]
  if job_id then return settle_open(self, index, job_id) end
  return "error", index, nil, answers.unanswered(self._stream_error, self._target)
end

-- ---- the loop

local advance

-- A stream that failed before its first write was through may not have been sent at all, and if so is opened again when
-- the client's policy says so; the one input that was drawn is written again.
local function retry(self, err)
  if not err or self._count > 1 or (self._count == 1 and not self._first) then return false, err end
  local goes_on
  goes_on, err = stream.retry(self, nil, err)
  if not goes_on then return false, err end
  if self._first then core.stream_write(self._raw, table.unpack(self._first, 1, 3)) end
  self._must_close = self._is_exhausted
  return true
end

local function on_taken(self, what, ...)
  if what == "end" then
    local goes_on, err = retry(self, (...))
    if not goes_on then start_settling(self, err) end
    return advance(self)
  end
  local event, index, job_id, data = self._reader:read(...)
  if not event then return advance(self) end
  if event == "completed" then return completed(self, index, job_id, data) end
  return event, index, job_id, data
end

local GO_ON = {}

-- Writes what can be written, or waits for a change: GO_ON, or an event, or nil and an error.
local function write_or_wait(self)
  if not self._is_exhausted and core.stream_can_write(self._raw) then
    local has_gone_on, event, index, job_id, data = write_next(self)
    if event then return event, index, job_id, data end
    if has_gone_on then return GO_ON end
  end
  local is_waiting = next(self._reader.jobs) ~= nil or self._is_exhausted
  local ok, err = stream.wait_change(self, not is_waiting)
  if ok then return GO_ON end
  if err.kind == "canceled" then return nil, err end
  stream.close_rpc(self)
  err.maybe_executed = true
  start_settling(self, err)
  return GO_ON
end

-- Reading goes before writing, and neither waits for the other: a server whose replies nobody reads stops reading too.
function advance(self)
  while not self._settling do
    if self._is_over then return nil, self._error end   -- canceled by another task, while this one waited
    local ok, err = stream.open(self)
    if not ok then
      start_settling(self, err)
      break
    end
    core.stream_read(self._raw)
    local taken = table.pack(core.stream_take(self._raw))
    if taken[1] then return on_taken(self, table.unpack(taken, 1, taken.n)) end
    if self._must_close and core.stream_can_write(self._raw) then
      self._must_close = false
      core.stream_close_writes(self._raw)
    else
      local event, index, job_id, data = write_or_wait(self)
      if event ~= GO_ON then return event, index, job_id, data end
    end
  end
  return settle_next(self)
end

-- Between two steps nothing is drawn.
local function rest(self, ...)
  self._source.wanted = 0
  return ...
end

local function step(self) return rest(self, advance(self)) end

-- Events of many jobs over one RPC: "submitted", "completed" (a result) or "error" (an error object), the index of the
-- input, the job's id, the data. circuits: a list, or an iterator function (which may wait), of {qasm, shots} or
-- {qasm =, shots =, optimization_level =, backend_id =}, where qasm is a text or a circuit, or of circuits. options:
-- idle_timeout, timeout (of the RPC; none), metadata, label.
function M.submit_batch_stream(client, circuits, backend_id, options)
  local target, patience = core.check_client(client, "submit_batch_stream")
  if backend_id ~= nil then check.text(backend_id, "backend_id") end
  options = stream.options(options, "submit_batch_stream", "label")
  local label = check.label(options.label)
  local self = stream.new(client, "submit_batch_stream", step, {
    _backend_id = backend_id, _options = options, _target = target, _patience = patience, _rpc = "SubmitBatchStream",
    _count = 0, _reader = answers.reader(target, client, label), _tickets = {}, _ways = {},
  })
  self._source = source_of(self, circuits)
  return stream.for_loop(self)
end

return M
