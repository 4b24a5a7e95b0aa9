-- arvak status, result, watch, cancel, backends: what the server knows.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local ends = require "arvak.command.ends"
local out = require "arvak.command.out"
local results = require "arvak.command.results"
local source = require "arvak.command.source"
local where = require "arvak.command.where"

local M = {}

local AT_ONCE = 32   -- calls

-- Ids from the command line; - stands for those on standard input.
local function ids_of(options)
  local ids = {}
  for _, word in ipairs(options.job) do
    if word ~= "-" then
      ids[#ids + 1] = word
    else
      for id in source.input():gmatch "%S+" do ids[#ids + 1] = id end
    end
  end
  for _, id in ipairs(ids) do
    if id == "" then ends.usage "got an empty text, expected the id of a job" end
  end
  if #ids == 0 then ends.usage "no job is named: standard input holds no id" end
  return ids
end

local function moment(seconds)
  return seconds and os.date("!%Y-%m-%dT%H:%M:%SZ", seconds) or false
end

local endings = { COMPLETED = ends.codes.ok, QUEUED = ends.codes.pending, RUNNING = ends.codes.pending,
  UNSPECIFIED = ends.codes.pending }

local function code_of_state(state) return endings[state] or ends.codes.failed end

-- { id, job, err } of each id, in order.
local function look_at(client, ids)
  local outcomes = assert(arvak.run(arvak.map, ids, function(id)
    local job, err = client:get_job_status(id)
    return { id = id, job = job, err = err }
  end, { concurrency = AT_ONCE }))
  local list = {}
  for i, outcome in ipairs(outcomes) do
    if not outcome.ok then error(outcome.err, 0) end
    list[i] = outcome.value
  end
  return list
end

local printers = {}

function printers.json(list)
  for _, found in ipairs(list) do
    local job = found.job or {}
    out.line("job_id", found.id, "state", job.state, "backend", job.backend_id, "shots", job.shots, "submitted_at",
      job.submitted_at, "started_at", job.started_at, "completed_at", job.completed_at, "message",
      job.error_message, "error", out.error(found.err))
  end
end

function printers.csv(list)
  out.csv { "job_id", "state", "backend", "shots", "submitted_at", "started_at", "completed_at", "message" }
  for _, found in ipairs(list) do
    local job = found.job or {}
    out.csv({ found.id, job.state, job.backend_id, job.shots, job.submitted_at, job.started_at, job.completed_at,
      job.error_message or found.err and found.err.message }, 8)
  end
end

function printers.table(list)
  local rows = {}
  for _, found in ipairs(list) do
    local job = found.job
    if job then
      rows[#rows + 1] = { found.id, job.state, job.backend_id, tostring(job.shots), moment(job.submitted_at),
        moment(job.completed_at), job.error_message or false }
    else
      out.complain(out.printable(found.id) .. ": " .. tostring(found.err))
    end
  end
  if #rows > 0 then out.table({ "job", "state", "backend", "shots", "submitted", "ended", "message" }, rows) end
end

function M.status(options)
  local ids = ids_of(options)
  local client <close> = where.connect(where.settings(options), true)
  local list = look_at(client, ids)
  printers[options.format](list)
  local code = ends.codes.ok
  for _, found in ipairs(list) do
    code = ends.join(code, found.job and code_of_state(found.job.state) or ends.code_of(found.err))
  end
  return code
end

function M.result(options)
  local ids = ids_of(options)
  local circuit = options.circuit and source.all({ options.circuit }, options.param)[1]
  local client <close> = where.connect(where.settings(options), true)
  local printer = results.printer(options.format, "job", #ids == 1)
  for _, id in ipairs(ids) do
    local result, err = client:get_job_result(id, circuit and { circuit = circuit } or nil)
    printer:add(id, id, result, err)
  end
  return printer:exit_code()
end

-- ---- watching

local function print_change(options, id, state, timestamp, message)
  if options.format == "json" then
    out.line("job_id", id, "state", state, "time", timestamp, "message", message ~= "" and message or nil)
  else
    out.write(("%s  %s  %s%s\n"):format(moment(timestamp) or "-", out.printable(id), state,
      message and message ~= "" and "  " .. out.printable(message) or ""))
  end
  out.flush()
end

-- The exit code of one job.
local function watch_one(client, options, id)
  local last
  local ok, err = pcall(function()
    for state, timestamp, message in client:watch_job(id) do
      last = state
      print_change(options, id, state, timestamp, message)
    end
  end)
  if ok then return code_of_state(last) end
  if not arvak.is_error(err) then error(err, 0) end
  if err.kind == "canceled" then return ends.codes.pending end
  if options.format == "json" then out.line("job_id", id, "error", out.error(err))
  else out.complain(out.printable(id) .. ": " .. tostring(err)) end
  return ends.code_of(err)
end

function M.watch(options)
  local ids = ids_of(options)
  local settings = where.settings(options)
  local client <close> = where.connect(settings, true)
  where.reach(client, settings, options.max_wait)
  local codes = {}
  local function watch_all()
    local outcomes, err = arvak.map(ids, function(id, index) codes[index] = watch_one(client, options, id) end,
      { concurrency = #ids })
    for _, outcome in ipairs(outcomes or {}) do
      if not outcome.ok then error(outcome.err, 0) end
    end
    return outcomes, err
  end
  if options.max_wait then arvak.run(arvak.with_timeout, options.max_wait, watch_all) else arvak.run(watch_all) end
  local code = ends.codes.ok
  for index = 1, #ids do code = ends.join(code, codes[index] or ends.codes.pending) end
  return code
end

-- ---- canceling

function M.cancel(options)
  local ids = ids_of(options)
  local client <close> = where.connect(where.settings(options), true)
  local code = ends.codes.ok
  for _, id in ipairs(ids) do
    local ok, err = client:cancel_job(id)
    if options.format == "json" then
      out.line("job_id", id, "canceled", ok == true, "error", out.error(err))
    elseif ok then
      out.write(out.printable(id), "  canceled\n")
    else
      out.complain(out.printable(id) .. ": " .. tostring(err))
    end
    if not ok then code = ends.join(code, ends.code_of(err)) end
  end
  return code
end

-- ---- backends

local backend_printers = {}

function backend_printers.json(list)
  for _, backend in ipairs(list) do
    out.line("backend", backend.backend_id, "name", backend.name, "is_available", backend.is_available, "max_qubits",
      backend.max_qubits, "max_shots", backend.max_shots, "description", backend.description, "supported_gates",
      out.list(backend.supported_gates))
  end
end

function backend_printers.csv(list)
  out.csv { "backend", "name", "is_available", "max_qubits", "max_shots", "description" }
  for _, backend in ipairs(list) do
    out.csv({ backend.backend_id, backend.name, backend.is_available, backend.max_qubits, backend.max_shots,
      backend.description }, 6)
  end
end

function backend_printers.table(list)
  local rows = {}
  for i, backend in ipairs(list) do
    rows[i] = { backend.backend_id, backend.name, backend.is_available and "yes" or "no", tostring(backend.max_qubits),
      tostring(backend.max_shots), backend.description }
  end
  out.table({ "backend", "name", "available", "qubits", "shots", "description" }, rows)
end

function M.backends(options)
  local client <close> = where.connect(where.settings(options))
  local list, err
  if options.id then
    local backend
    backend, err = client:get_backend_info(options.id)
    list = { backend }
  else
    list, err = client:list_backends()
  end
  if err then ends.fail(err) end
  backend_printers[options.format](list)
  return ends.codes.ok
end

return M
