-- Batches: many circuits, each of which becomes one item of the result. This is what users call; a batch itself is a
-- run. Invariant: a manager knows every run of its own that has not ended, so that it can end them.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local backends = require "arvak.jobs.backends"
local check = require "arvak.base.check"
local commits = require "arvak.batch.commits"
local entries = require "arvak.streams.entries"
local errors = require "arvak.base.errors"
local futures = require "arvak.batch.futures"
local identities = require "arvak.batch.journal.identity"
local places = require "arvak.batch.places"
local result = require "arvak.batch.result"
local run = require "arvak.batch.run"
local shared = require "arvak.batch.shared"
local shared_options = require "arvak.batch.shared.options"
local shared_source = require "arvak.batch.shared.source"
local source = require "arvak.async.source"

local M = {}

local DEFAULT_WORKERS = 32

local Manager = core.metatables["arvak.batch_manager"]
local methods = {}
Manager.__index, Manager.methods = methods, methods

function Manager.__tostring(self)
  return string.format("arvak.batch_manager (%s)", self._is_closed and "closed" or self._max_workers .. " workers")
end

-- Runs batches on a client. options: max_workers, the jobs that may be submitted and unfinished at once, of all its
-- batches together (default 32).
function M.batch_manager(client, options)
  core.check_client(client, "batch_manager", "arvak.batch_manager(client, ...)")
  options = check.options(options, "batch_manager", { max_workers = true })
  local workers = options.max_workers or DEFAULT_WORKERS
  if math.type(workers) ~= "integer" or workers < 1 then
    check.misuse("max_workers: got %s, expected an integer from 1 on", core.describe(workers))
  end
  return setmetatable({ _client = client, _max_workers = workers, _places = places.new(workers), _runs = {} }, Manager)
end

local function check_manager(self, method)
  if core.metatable_of(self) ~= Manager then
    check.misuse("%s: got %s, expected a batch_manager", method, core.describe(self))
  end
  if self._is_closed then check.misuse("%s: the batch_manager was closed", method) end
end

-- ---- options

local option_names = {
  timeout = true, progress_callback = true, fail_fast = true, on_result = true, transport = true, collect = true,
  on_unknown = true, journal = true, check = true, extend = true, lease = true, reconnect = true, share = true,
  label = true, max_wait = true,
}
local transports = { auto = true, stream = true, unary = true }

local function check_boolean(value, name)
  if value ~= nil and type(value) ~= "boolean" then
    check.misuse("%s: got %s, expected true or false", name, core.describe(value))
  end
end

-- Options of a batch, checked: a table of its own.
local function check_options(options, method)
  options = check.options(options, method, option_names)
  check.seconds(options.timeout, "timeout", true)
  check.seconds(options.max_wait, "max_wait", true)
  check_boolean(options.fail_fast, "fail_fast")
  check_boolean(options.collect, "collect")
  check_boolean(options.check, "check")
  check_boolean(options.extend, "extend")
  check.label(options.label)
  for _, name in ipairs { "progress_callback", "on_result" } do
    if options[name] ~= nil then check.callable(options[name], name) end
  end
  if options.transport ~= nil and not transports[options.transport] then
    check.misuse('transport: got %s, expected "auto", "stream" or "unary"', core.describe(options.transport))
  end
  if options.journal ~= nil then check.path(options.journal, "journal") end
  if options.on_unknown ~= nil and options.on_unknown ~= "fail" and options.on_unknown ~= "resubmit" then
    check.misuse('on_unknown: got %s, expected "fail" or "resubmit"', core.describe(options.on_unknown))
  end
  local copy = {}
  for name, value in pairs(options) do copy[name] = value end
  return copy
end

-- ---- execute_batch

local execute

-- Runs the failures of r again and gives a result of all.
local function retry(self, batch, r, options)
  check_manager(self, "retry_failed")
  local merged = {}
  for name, value in pairs(batch.options) do merged[name] = value end
  for name, value in pairs(check_options(options, "retry_failed")) do merged[name] = value end
  shared_options.check(merged)
  local is_shared = shared_options.is_shared(batch.options)
  if is_shared and merged.journal ~= batch.options.journal then
    check.misuse("retry_failed: journal: got another one, expected that of the batch, which has what failed")
  end
  if merged.journal and not is_shared and not batch.identity then
    check.misuse("retry_failed: journal: this batch had none, and a journal knows a batch by all its circuits")
  end
  if not is_shared and shared_options.is_shared(merged) then
    check.misuse("retry_failed: journal: got a name of PostgreSQL, expected that of the batch, which has what failed")
  end
  local indexes = result.failed_indexes(r, merged.on_unknown)
  local from = is_shared
    and shared_source.again(r._entries, result.items_by_index(r), indexes, batch.backend_id, merged)
    or source.from_list(r._entries, indexes)
  return execute(self, {
    earlier = r.items, source = from, backend_id = batch.backend_id, options = merged,
    identity = batch.identity, is_retry = true, collector = result.collector_after(r, indexes),
  })
end

-- A run of this manager, not yet started. more: sink, on_submitted, earlier, as of run.new.
local function new_run(self, from, backend_id, options, more)
  local target, patience = core.check_client(self._client, "execute_batch")
  local batch = run.new {
    client = self._client, target = target, patience = patience, places = self._places, backend_id = backend_id,
    options = options, source = from, sink = more.sink, on_submitted = more.on_submitted,
    earlier = more.earlier,
    on_end = function(batch) self._runs[batch] = nil end,
  }
  from.wake = function() batch:note_source() end
  self._runs[batch] = true
  return batch
end

local function explain_all(client, collector)
  for _, item in pairs(collector.items) do
    if errors.is_error(item.err) then backends.explain(client, nil, item.err) end
  end
end

-- batch: source, backend_id, options, collector, identity (for a journal), is_retry, earlier (with it: the items of the
-- batch whose failures are run again).
function execute(self, batch)
  if core.is_closed(self._client) then return nil, errors.new("closed", "the client was closed") end
  local collector = batch.collector
  local before = collector.success_count + collector.failure_count
  local running = new_run(self, batch.source, batch.backend_id, batch.options, {
    sink = function(item, input) collector:add(item, item.err and entries.entry_of(input)) end, earlier = batch.earlier,
  })
  if shared_options.is_shared(batch.options) then
    running.commits = shared.new(running, batch.options.journal, batch.source, batch.backend_id)
  elseif batch.options.journal then
    running.commits = commits.new(running, { path = batch.options.journal, identity = batch.identity,
      is_retry = batch.is_retry, notes_total = not batch.is_retry and not batch.identity.total })
  end
  local ok, err = running:execute()
  if not ok then return nil, err end
  if not running.stopped_by then explain_all(self._client, collector) end
  local r = result.finish(collector, running.total_time, running.stopped_by, function(...)
    return retry(self, batch, ...)
  end, before + running.inputs.kept, running.is_refused, batch.options.share == "mine")
  return r, r.err
end

-- Runs every circuit and waits for all: a batch_result, and what stopped it before its end, if anything did. nil and an
-- error only when nothing was started. circuits: a list or an iterator function of {qasm, shots} or {qasm =, shots =,
-- optimization_level =, id =, backend_id =}.
function methods:execute_batch(circuits, backend_id, options)
  check_manager(self, "execute_batch")
  core.check_wait("execute_batch")
  options = check_options(options, "execute_batch")
  shared_options.check(options)
  if backend_id ~= nil then check.text(backend_id, "backend_id") end
  local chain = options.journal and not shared_options.is_shared(options) and identities.chain(backend_id) or nil
  local list, draw = entries.check_circuits(circuits, backend_id, chain)
  local collects = options.collect
  if collects == nil then collects = list ~= nil or options.on_result == nil end
  local from, identity = list and source.from_list(list) or source.from_iterator(entries.copying(draw)), nil
  if shared_options.is_shared(options) then
    from = shared_source.new(from, backend_id, options)
  elseif options.journal then
    identity = identities.of(list, backend_id, chain)
  end
  return execute(self, { source = from, backend_id = backend_id, options = options,
    collector = result.collector(collects), identity = identity })
end

-- ---- futures

local function check_some(options, method, names)
  options = check.options(options, method, names)
  for name in pairs(names) do
    if name == "timeout" then check.seconds(options.timeout, name, true) end
    if name == "fail_fast" then check_boolean(options.fail_fast, name) end
    if name == "progress_callback" and options[name] ~= nil then check.callable(options[name], name) end
  end
  return options
end

-- Submits every circuit of a list, at most max_workers unfinished at a time: a list of job futures in the order of the
-- circuits, at once. options: transport, on_unknown, check.
function methods:submit_many(circuits, backend_id, options)
  check_manager(self, "submit_many")
  core.check_client(self._client, "submit_many")
  check.options(options, "submit_many", { transport = true, on_unknown = true, check = true, label = true,
    max_wait = true })
  options = check_options(options, "submit_many")
  if backend_id ~= nil then check.string(backend_id, "backend_id") end
  local list, count = entries.check_list(circuits, backend_id)
  return futures.submit_many(self._client, count, function(more)
    return new_run(self, source.from_list(list), backend_id, options, more)
  end)
end

-- Waits for a list of futures: a batch_result, and what stopped it before their end, if anything did. options: timeout,
-- fail_fast, progress_callback.
function methods:wait_all(list, options)
  check_manager(self, "wait_all")
  core.check_wait("wait_all")
  return futures.wait_all(list, check_some(options, "wait_all",
    { timeout = true, fail_fast = true, progress_callback = true }))
end

-- An iterator of future, index in the order in which they end. options: timeout (raised as its error object),
-- progress_callback.
function methods:as_completed(list, options)
  check_manager(self, "as_completed")
  return futures.as_completed(list, check_some(options, "as_completed", { timeout = true, progress_callback = true }))
end

-- fn(result, index) of each future that succeeds: a list of { ok = true, value = v } or { ok = false, err = e } in the
-- order of the list. What fn raises is raised. options: timeout.
function methods:map(fn, list, options)
  check_manager(self, "map")
  core.check_wait("map")
  return futures.map(fn, list, check_some(options, "map", { timeout = true }))
end

-- ---- its end

-- Stops every batch of this manager that runs: nothing more is submitted, and what is open ends as canceled.
function methods:cancel()
  if core.metatable_of(self) ~= Manager then
    check.misuse("cancel: got %s, expected a batch_manager", core.describe(self))
  end
  for batch in pairs(self._runs) do batch:stop(errors.new("canceled", "the batch was canceled")) end
  return true
end

-- Cancels what runs; later calls raise. The client is not closed. Idempotent, never waits.
function methods:close()
  methods.cancel(self)
  self._is_closed = true
end

Manager.__close = methods.close

return M
