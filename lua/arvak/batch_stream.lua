-- Many jobs over one stream. Invariant: every input that was drawn gets one last event, "completed" or "error",
-- whatever happens to the stream; only then does its own error come.
-- SPDX-License-Identifier: Apache-2.0
local core, import = ...
local check = import "arvak.check"
local errors = import "arvak.errors"
local records = import "arvak.records"
local stream = import "arvak.stream"
local wait = import "arvak.wait"

local M = {}

-- ---- inputs

local function drawer(circuits)
  if type(circuits) == "table" then
    local i = 0
    return function()
      i = i + 1
      return circuits[i]
    end
  end
  if type(circuits) ~= "function" then
    check.misuse("circuits: got %s, expected a list or an iterator function", core.describe(circuits))
  end
  return circuits
end

-- An entry names its backend itself, or leaves it to the call.
local function take_backend(self, entry, index)
  local backend_id = self._backend_id
  if type(entry) == "table" and entry.backend_id ~= nil then
    backend_id = entry.backend_id
    local rest = {}
    for key, value in pairs(entry) do
      if key ~= "backend_id" then rest[key] = value end
    end
    entry = rest
  end
  if type(backend_id) ~= "string" then
    check.misuse("circuits[%d].backend_id: got %s, expected a backend in the entry or as the second argument", index,
      core.describe(backend_id))
  end
  return entry, backend_id
end

-- Draws and writes one input; an event when it cannot be sent.
local function write_next(self)
  local entry = self._draw()
  if entry == nil then
    self._is_exhausted = true
    if self._raw then core.stream_close_writes(self._raw) end
    return
  end
  local index = self._count + 1
  local circuit, backend_id = take_backend(self, entry, index)
  self._count = index
  if not self._raw or not core.stream_can_write(self._raw) then
    self._unanswered[index] = true
    return
  end
  local ok, err = core.stream_write(self._raw, circuit, index, backend_id)
  if not ok then return "error", index, nil, err end
  self._first = index == 1 and table.pack(circuit, index, backend_id) or nil
  self._unanswered[index] = true
end

-- ---- answers

-- An error carries no code; its prefix is the contract (contract 2.4).
local function kind_of(message)
  if message:find("^Circuit parsing failed:") or message:find("^Circuit rejected:") then return "invalid_circuit" end
  if message:find("^Backend not found:") then return "backend_not_found" end
  return "rpc"
end

-- Events, once the answer is understood; nil for what is of no interest, or said again.
local function on_answer(self, event, request_id, job_id, data)
  local index = math.tointeger(tonumber(request_id))
  if not index or index < 1 or index > self._count then return end
  if event == "submitted" and self._unanswered[index] then
    self._unanswered[index] = nil
    self._open[index] = job_id
    return "submitted", index, job_id
  elseif event == "completed" and self._open[index] == job_id then
    self._open[index] = nil
    return "completed", index, job_id, data
  elseif event == "error" and self._unanswered[index] then
    self._unanswered[index] = nil
    return "error", index, nil,
      errors.new(kind_of(data), data, { rpc = self._rpc, target = self._target, attempts = 1 })
  end
end

-- ---- the end

-- Jobs without an answer, in the order of the inputs: the stream says nothing of those that failed.
local function start_settling(self, err)
  self._stream_error = err
  self._is_late = err ~= nil and err.kind == "timeout"
  self._settling = {}
  for index in pairs(self._open) do self._settling[#self._settling + 1] = index end
  for index in pairs(self._unanswered) do self._settling[#self._settling + 1] = index end
  table.sort(self._settling, function(a, b) return a > b end)
end

-- Where time is over, a job is asked once and not waited for.
local function ask_once(self, job_id)
  local job, err = core.ask.get_job_status(self._client, job_id, { metadata = self._options.metadata })
  if not job then return nil, err end
  if records.is_terminal[job.state] then return true end
  return nil, errors.new("timeout", ("the job was %s when the time of the stream was over; it goes on")
    :format(job.state), { scope = "wait", target = self._target })
end

-- One patience for all of them: when the server has not answered for one job, the others are not waited for.
local function result_of(self, job_id)
  local lost = self._lost
  if lost then return nil, errors.new(lost.kind, lost.message, { target = self._target, cause = lost }) end
  local ok, err = true, nil
  if self._is_late then ok, err = ask_once(self, job_id) end
  local result
  if ok then
    local max_wait = self._options.idle_timeout or self._options.timeout
    result, err = wait.wait_for_job(self._client, self._target, self._patience, job_id,
      { max_wait = max_wait, metadata = self._options.metadata })
    if result then return result end
  end
  if err.scope == "wait" then
    self._is_late = true
  elseif wait.is_transient(err) then
    self._lost = err
  end
  return nil, err
end

local function settle_open(self, index, job_id)
  local result, err = result_of(self, job_id)
  if result then return "completed", index, job_id, result end
  if err.kind == "canceled" then return nil, err end
  err.job_id = err.job_id or job_id
  return "error", index, job_id, err
end

local function settle_next(self)
  local index = table.remove(self._settling)
  if not index then
    local err = self._stream_error
    if err then err.maybe_executed = false end   -- each job has been accounted for by its own event
    return nil, err
  end
  local job_id = self._open[index]
  self._open[index], self._unanswered[index] = nil, nil
  if job_id then return settle_open(self, index, job_id) end
  local cause = self._stream_error
  return "error", index, nil, errors.new(cause and cause.kind or "rpc",
    "the stream ended before the server had answered this submission",
    { rpc = self._rpc, target = self._target, maybe_executed = not cause or cause.maybe_executed, cause = cause })
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
  local event, index, job_id, data = on_answer(self, ...)
  if not event then return advance(self) end
  return event, index, job_id, data
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
    elseif not self._is_exhausted and core.stream_can_write(self._raw) then
      local event, index, job_id, data = write_next(self)
      if event then return event, index, job_id, data end
    else
      ok, err = stream.wait_change(self)
      if not ok then
        if err.kind == "canceled" then return nil, err end
        stream.close_rpc(self)
        err.maybe_executed = true
        start_settling(self, err)
      end
    end
  end
  return settle_next(self)
end

-- Events of many jobs over one RPC: "submitted", "completed" (a result) or "error" (an error object), the index of the
-- input, the job's id, the data. circuits: a list, or an iterator function (which may wait), of {qasm, shots} or
-- {qasm =, shots =, optimization_level =, backend_id =}. options: idle_timeout, timeout (of the RPC; none), metadata.
function M.submit_batch_stream(client, circuits, backend_id, options)
  local target, patience = core.check_client(client, "submit_batch_stream")
  if backend_id ~= nil then check.string(backend_id, "backend_id") end
  options = stream.options(options, "submit_batch_stream")
  return stream.for_loop(stream.new(client, "submit_batch_stream", advance, {
    _draw = drawer(circuits), _backend_id = backend_id, _options = options, _target = target,
    _patience = patience, _rpc = "SubmitBatchStream", _count = 0, _open = {}, _unanswered = {},
  }))
end

return M
