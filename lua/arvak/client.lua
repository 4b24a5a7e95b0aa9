-- The client's methods. The core has those of one RPC; the rooms below have those of several.
-- Invariant: adopt has completed every handle on a client, views and handles that a host pushes too.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local backends = require "arvak.jobs.backends"
local check = require "arvak.base.check"
local detached = require "arvak.async.detached"
local entries = require "arvak.streams.entries"
local errors = require "arvak.base.errors"
local future = require "arvak.async.future"
local job_future = require "arvak.jobs.future"
local job_result = require "arvak.jobs.result"
local keeper = require "arvak.base.keeper"
local limits = require "arvak.jobs.limits"
local program = require "arvak.results.program"
local ready = require "arvak.async.ready"
local task = require "arvak.async.task"
local wait = require "arvak.jobs.wait"

local M = {}
local Client = core.metatables["arvak.client"]
local methods = Client.methods
local MAX_BATCH = 50

for name, call in pairs(core.call) do methods[name] = call end

-- Those that name a backend say which there are when it is none.
local function submit_qasm(client, qasm, backend_id, options)
  return backends.explain(client, core.call.submit_qasm(client, qasm, backend_id, options))
end

function methods.get_backend_info(client, backend_id, options)
  return backends.explain(client, core.call.get_backend_info(client, backend_id, options))
end

methods.configure, methods.breaker = core.configure, core.breaker

-- The figures of a client; of one with a ledger also what was noted.
function methods.stats(client)
  local stats = core.stats(client)
  local noted = keeper.of(client)
  if noted then stats.ledger = noted:stats() end
  return stats
end

-- ---- results

methods.get_job_result = job_result.get_job_result

-- Waits until a job has ended and fetches its result. options: max_wait, poll_interval (1.0), on_progress, and
-- timeout and metadata of each call; circuit, from which the job was made, and its optimization_level.
function methods.wait_for_job(client, job_id, options)
  local target, timeout = core.check_client(client, "wait_for_job")
  core.check_wait("wait_for_job")
  check.text(job_id, "job_id")
  local others, made = program.take_circuit(options, "wait_for_job", wait.names_with_circuit)
  wait.check_options(others, "wait_for_job")
  local ok, way = program.way_of(made)
  if not ok then return nil, way end
  return wait.wait_for_job(client, target, timeout, job_id, others, way)
end

-- ---- submits

-- A program as a text, and of a circuit its way of reading; nil and an error. Raises for what is wrong with the others.
local function text_of(client, source, backend_id, options)
  if type(source) == "string" or not program.is_circuit(source) then return source end
  core.check.submit_qasm(client, "", backend_id, options)
  return program.text_of(source, options, backend_id)
end

-- Submits a program, a text or a circuit: the job's id, or nil and an error.
function methods.submit_qasm(client, qasm, backend_id, options)
  if type(qasm) ~= "string" then
    local target = core.check_client(client, "submit_qasm")
    local way
    qasm, way = text_of(client, qasm, backend_id, options)
    if way and not qasm then
      way.target = target
      return nil, way
    end
  end
  return submit_qasm(client, qasm, backend_id, options)
end

local execute_names = { shots = true, optimization_level = true, label = true }
for name in pairs(wait.option_names) do execute_names[name] = true end

-- Options of execute, taken apart: those of the submit and those of the wait.
local function split_options(options, method)
  if options == nil or type(options) == "number" then return options, nil end
  if type(options) ~= "table" then
    check.misuse("%s: got %s, expected a number of shots or a table of options", method, core.describe(options))
  end
  options = check.options(options, method, execute_names)
  local submit, waiting = {}, {}
  for name, value in pairs(options) do
    if name == "shots" or name == "optimization_level" or name == "label" then
      submit[name] = value
    else
      waiting[name] = value
    end
  end
  check.pick_call_options(options, submit)
  wait.check_options(waiting, method)
  return submit, waiting
end

-- Submits, waits and fetches: result, or nil and an error. options: shots, or a table with those of submit_qasm and
-- wait_for_job.
function methods.execute(client, qasm, backend_id, options)
  local target, timeout = core.check_client(client, "execute")
  core.check_wait("execute")
  local submit, waiting = split_options(options, "execute")
  local text, way = text_of(client, qasm, backend_id, submit)
  if way and not text then return nil, way end
  local job_id, err = submit_qasm(client, text, backend_id, submit)
  if not job_id then return nil, err end
  return wait.wait_for_job(client, target, timeout, job_id, waiting, way, core.now())
end

-- The twin of execute that returns at once: a job future. On a fresh client it waits until the submit is on its way.
function methods.submit_qasm_future(client, qasm, backend_id, options)
  core.check_client(client, "submit_qasm_future")
  local submit, waiting = split_options(options, "submit_qasm_future")
  local f = job_future.submit(client, job_future.rules(client, "submit_qasm_future", waiting), qasm, backend_id, submit)
  core.flush(client)
  return f
end

-- What an entry of a batch says goes before what the options say.
local function entry_options(submit, entry)
  local base = type(submit) == "table" and submit or { shots = submit }
  return check.pick_call_options(base, {
    shots = entry.shots or entry[2] or base.shots,
    optimization_level = entry.optimization_level or base.optimization_level, label = base.label,
  })
end

-- What raises when others are on their way already (a function given as api_key, say) is the matter of this future.
local function submit_one(...)
  local ok, f = core.protect(job_future.submit, ...)
  return ok and f or future.failed(f)
end

-- One job future for each circuit, each with a SubmitJob of its own. options: as of submit_qasm_future.
function methods.submit_batch_future(client, circuits, backend_id, options)
  core.check_client(client, "submit_batch_future")
  circuits = entries.check_plain_list(circuits)
  check.text(backend_id, "backend_id")
  local submit, waiting = split_options(options, "submit_batch_future")
  core.check_batch(entries.without_circuits(circuits))   -- raises before anything is sent; a bad text is the matter
                                                         -- of its own future
  local futures, shared = {}, job_future.rules(client, "submit_batch_future", waiting)
  for i, entry in ipairs(circuits) do
    futures[i] = submit_one(client, shared, entry.qasm or entry[1], backend_id, entry_options(submit, entry))
  end
  core.flush(client)
  return futures
end

-- The service refuses this format, always: nil and an error, without an RPC.
function methods.submit_circuit_json(client, circuit_json, backend_id, _)
  core.check_client(client, "submit_circuit_json")
  check.string(circuit_json, "circuit_json")
  check.text(backend_id, "backend_id")
  return nil, errors.new("invalid_circuit",
    "the service takes no circuits as JSON; submit OpenQASM 3 with submit_qasm", { attempts = 0 })
end

-- The error of the first circuit that no message can carry, or nil.
local function find_too_large(circuits, target)
  for i, entry in ipairs(circuits) do
    local err = entries.size_error({ qasm = entry.qasm or entry[1] }, target)
    if err then
      err.message = string.format("circuits[%d]: %s", i, err.message)
      return err
    end
  end
end

-- The list with each circuit as its text; nil and the error of the first that cannot be lowered.
local function lower_all(circuits, backend_id)
  local list = {}
  for i, entry in ipairs(circuits) do
    local err
    list[i], err = entries.lower_plain(entry, backend_id)
    if err then
      err.message = string.format("circuits[%d]: %s", i, err.message)
      return nil, err
    end
  end
  return list
end

-- Several SubmitBatch of at most 50 circuits, and of as many bytes as one message takes, one after the other. When one
-- fails, err.job_ids are the ids so far.
local function submit_in_parts(client, circuits, backend_id, options)
  local job_ids, first = {}, 1
  while first <= #circuits do
    local last = entries.find_part(circuits, first, MAX_BATCH)
    local ids, err = core.try.submit_batch(client, table.move(circuits, first, last, 1, {}), backend_id, options)
    if not ids then
      err.job_ids = table.move(err.job_ids or {}, 1, #(err.job_ids or {}), #job_ids + 1, job_ids)
      return nil, err
    end
    table.move(ids, 1, #ids, #job_ids + 1, job_ids)
    first = last + 1
  end
  return job_ids
end

local batch_names = check.pick_call_options(check.call_options, { split = true, label = true })

-- Submits several circuits in one RPC: the list of job ids, or nil and an error. Over 50 circuits raise, since one
-- RPC can be accepted in part (contract 2.9, item 9), unless options.split sends several: as many as their number and
-- their bytes want.
function methods.submit_batch(client, circuits, backend_id, options)
  local target = core.check_client(client, "submit_batch")
  core.check_wait("submit_batch")
  options = check.options(options, "submit_batch", batch_names)
  local call_options = check.pick_call_options(options, { label = options.label })
  circuits = entries.check_plain_list(circuits)
  if entries.has_circuit(circuits) then
    local texts = entries.without_circuits(circuits)
    core.check.submit_batch(client, options.split and {} or texts, backend_id, call_options)
    core.check_batch(texts)
    local err
    circuits, err = lower_all(circuits, backend_id)
    if not circuits then return nil, err end
  end
  if options.split then
    local ok, err = core.check_batch(circuits)
    if ok then err = find_too_large(circuits, target) end
    if err then return nil, err end
    if entries.find_part(circuits, 1, MAX_BATCH) < #circuits then
      return backends.explain(client, submit_in_parts(client, circuits, backend_id, call_options))
    end
  end
  return backends.explain(client, core.call.submit_batch(client, circuits, backend_id, call_options))
end

methods.check = limits.check

-- ---- streams, which are loaded when one is first wanted

function methods.watch_job(client, job_id, options)
  local job = require "arvak.streams.job"
  return job.watch_job(client, job_id, options)
end

function methods.stream_results(client, job_id, options)
  local counts = require "arvak.streams.counts"
  return counts.stream_results(client, job_id, options)
end

function methods.submit_batch_stream(client, circuits, backend_id, options)
  local batch = require "arvak.streams.batch"
  return batch.submit_batch_stream(client, circuits, backend_id, options)
end

-- ---- connection

-- Waits until a connection is ready, for timeout seconds at most (default: the client's timeout): true, or nil and
-- an error of kind "timeout".
function methods.wait_for_ready(client, timeout)
  local target, standard = core.check_client(client, "wait_for_ready")
  check.seconds(timeout, "timeout", true)
  core.check_wait("wait_for_ready")
  local started_at = core.now()
  timeout = timeout or standard
  local is_ready, err = ready.until_ready(client, target, timeout)
  if is_ready ~= false then return is_ready, err end
  return nil, errors.new("timeout", string.format("no connection within %s s", errors.seconds(timeout)),
    { scope = "wait", target = target, elapsed = core.now() - started_at })
end

-- ---- life

-- client → the dev server that ends with it and its views, and how many of these handles are open
local servers = setmetatable({}, { __mode = "k" })

-- Closes: calls in flight end as closed, later ones raise. Idempotent, never waits.
function methods.close(client)
  local is_open = not core.is_closed(client)
  core.close(client)
  detached.stop_timers_of(client)
  local noted = keeper.of(client)
  if noted and is_open then noted:close() end
  local embedded = servers[client]
  servers[client] = nil
  if not embedded then return end
  embedded.handles = embedded.handles - 1
  if embedded.handles == 0 then embedded.server:stop() end
end

Client.__close = methods.close

-- ---- client.async: the same methods, at once, as futures

-- The end that the cancellation brings settles the future; it may also have been an answer that was already here.
-- Ends are told before this returns, so it must not happen while they are being told (a hook, a finalizer).
local function cancel_call(f)
  core.check_wait("cancel")
  detached.cancel_call(f)
  if not f:done() then return nil, errors.new("not_cancelable", "the call has not ended yet") end
  if f:canceled() then return true end
  return nil, errors.new("not_cancelable", "the call has been answered already")
end

-- The future of one RPC. It holds the client, so that dropping the handle does not end the call.
local function start_call(name, client, ...)
  local f = future.new(cancel_call)
  f._client = client
  if string.find(name, "job", 1, true) then f._job_id = (...) end
  if program.is_circuit((...)) then
    local text, err = text_of(client, ...)
    if not text then
      future.settle(f, nil, err)
      return f
    end
    detached.start(f, nil, name, client, text, select(2, ...))
    return f
  end
  detached.start(f, nil, name, client, ...)
  return f
end

-- How client.async does each method of the client:
--   call     one RPC, as it is
--   task     several RPCs, as a task of their own
--   stream   a stream, which is there at once: its first step does the sending
--   none     not at all, since it waits for nothing
-- A method that is not here fails the loading of the library.
local kinds = {
  submit_qasm = "call", get_job_status = "call", cancel_job = "call", list_backends = "call",
  get_backend_info = "call", get_job_result = "task", submit_batch = "task", execute = "task", wait_for_job = "task",
  submit_circuit_json = "task", wait_for_ready = "task", watch_job = "stream", stream_results = "stream",
  submit_batch_stream = "stream", submit_qasm_future = "none", submit_batch_future = "none", stats = "none",
  check = "task",
  configure = "none", breaker = "none", close = "none",
}

-- What the methods made of several RPCs raise before they begin, and the arguments that they begin with: circuits as
-- they are now.
local checks = {}

function checks.execute(client, qasm, backend_id, options)
  local is_circuit = program.is_circuit(qasm)
  core.check.submit_qasm(client, is_circuit and "" or qasm, backend_id, (split_options(options, "execute")))
  return is_circuit and program.freeze(qasm) or qasm, backend_id, options
end

-- Options of a method that takes a job's id, whose circuit is the one of now; and those without it.
local function freeze_options(options, method, names)
  local others, made = program.take_circuit(options, method, names)
  if not made then return options, options end
  for name, value in next, others do made[name] = value end
  return made, others
end

function checks.wait_for_job(client, job_id, options)
  local frozen, others = freeze_options(options, "wait_for_job", wait.names_with_circuit)
  wait.check_options(others, "wait_for_job")
  core.check.get_job_status(client, job_id, others and check.pick_call_options(others))
  return job_id, frozen
end

function checks.get_job_result(client, job_id, options)
  local frozen, others = freeze_options(options, "get_job_result", job_result.option_names)
  core.check.get_job_result(client, job_id, others)
  return job_id, frozen
end

function checks.submit_batch(client, circuits, backend_id, options)
  local all = check.options(options, "submit_batch", batch_names)
  local call_options = check.pick_call_options(all, { label = all.label })
  local list = entries.check_plain_list(circuits)
  local texts = entries.without_circuits(list)
  core.check.submit_batch(client, options and options.split and {} or texts, backend_id, call_options)
  core.check_batch(texts)
  return entries.has_circuit(list) and list or circuits, backend_id, options
end

function checks.submit_circuit_json(_, circuit_json, backend_id, options)
  check.string(circuit_json, "circuit_json")
  check.text(backend_id, "backend_id")
  return circuit_json, backend_id, options
end

function checks.wait_for_ready(_, timeout)
  check.seconds(timeout, "timeout", true)
  return timeout
end

checks.check = limits.check_arguments

check.seal(checks, Client)

local makers = {}

function makers.call(name)
  return function(self, ...) return start_call(name, self._client, ...) end
end

function makers.task(name)
  local check_arguments = checks[name]
  return function(self, ...)
    core.check_client(self._client, name)
    -- They are checked here, at the line of the call, and not only in the task.
    return task.spawn_detached(methods[name], self._client, check_arguments(self._client, ...))
  end
end

function makers.stream(name)
  return function(self, ...)
    local f = future.new()
    future.settle(f, (methods[name](self._client, ...)))
    return f
  end
end

local async = {}

for name in pairs(methods) do
  local kind = kinds[name] or error("client.async: nobody has said how it does " .. name)
  if kind ~= "none" then async[name] = makers[kind](name) end
end

local Async = { __index = async, __name = "arvak.client.async", __metatable = false, methods = async }
check.seal(async, Async)

-- A client of the core, made complete. server: ends with the client.
function M.adopt(client, server)
  core.set_async(client, setmetatable({ _client = client }, Async))
  servers[client] = server and { server = server, handles = 1 }
  return client
end

-- From now on this keeper notes the client's jobs, and closes with the last handle on it.
M.keep = keeper.set

-- Another handle on the same connections, slots, limiter and figures, with policies of its own: options retry and
-- breaker. What is not given is shared with the client; retry is on, whatever the client's.
function M.resilient(client, options)
  core.check_client(client, "resilient", "arvak.resilient(client, ...)")
  options = options == nil and {} or options
  if type(options) == "table" and options.retry == nil and not core.has_retry(client) then
    local all = { retry = true }
    for name, value in next, options do all[name] = value end
    options = all
  end
  local view = M.adopt(core.view(client, options))
  local noted, embedded = keeper.of(client), servers[client]
  if noted then noted:share() end
  if embedded then
    embedded.handles = embedded.handles + 1
    servers[view] = embedded
  end
  return view
end

core.set_upcall("adopt", M.adopt)   -- for clients that a host pushes

return M
