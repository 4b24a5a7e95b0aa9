-- arvak: submit OpenQASM 3 circuits to an Arvak quantum job service, follow the jobs, fetch the counts.
-- Invariant: a program sees this table and nothing else of the library. Names without an underscore are documented.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local attached = require "arvak.async.attached"
local check = require "arvak.base.check"
local clients = require "arvak.client"
local errors = require "arvak.base.errors"
local export = require "arvak.results.export"
local groups = require "arvak.async.groups"
local leftovers = require "arvak.async.leftovers"
local pollable = require "arvak.async.pollable"
local resilience = require "arvak.resilience"
local statistics = require "arvak.results.statistics"
local task = require "arvak.async.task"

local M = {
  _VERSION = "arvak " .. core.version,
  run = task.run,
  spawn = task.spawn,
  sleep = task.sleep,
  poll = pollable.poll,
  in_task = task.in_task,
  wrap = task.wrap,
  with_timeout = groups.with_timeout,
  as_completed = groups.as_completed,
  wait = groups.wait,
  gather = groups.gather,
  all = groups.all,
  map = groups.map,
  future = groups.future,
  attach = attached.attach,
  pollable = pollable.pollable,
  is_error = errors.is_error,
  resilient = clients.resilient,
  retry_policy = resilience.retry_policy,
  circuit_breaker = resilience.circuit_breaker,
  results = { merge = statistics.merge, scale = statistics.scale, distance = statistics.distance },
  export = export,
  _leftovers = leftovers.sentinel,   -- held until the Lua state closes
  _counts = core.counts,   -- for our own tests: calls, tasks, waits and clients alive in this Lua state
}

local DEFAULT_ADDRESS = "localhost:50051"

local function default_address()
  local address = os and os.getenv and os.getenv("ARVAK_ADDRESS")
  return address and address ~= "" and address or DEFAULT_ADDRESS
end

-- A dev server in this process, without admission limits, which ends with its client.
local function start_embedded()
  if not _ENV.require then
    core.misuse('address: "embedded" needs the module arvak.devserver, but this Lua state has no require; '
      .. 'give the address of a server')
  end
  local ok, devserver = pcall(require, "arvak.devserver")
  if not ok then
    local reason = tostring(devserver)
    if string.find(reason, "module 'arvak.devserver' not found", 1, true) then reason = "it is not on package.cpath" end
    core.misuse('address: "embedded" needs the module arvak.devserver, which cannot be loaded: ' .. reason)
  end
  local server, reason = devserver.start { rate_limit = 0, max_concurrent_jobs = 0, max_queued_jobs = 0 }
  if not server then core.misuse('address: the "embedded" server cannot start: ' .. tostring(reason)) end
  return server
end

-- A client that is complete. server: ends with it, or nil.
local function complete(made, options, server)
  local adopted = clients.adopt(made, server)
  local ledger_name = options and rawget(options, "ledger")
  if ledger_name == nil then return adopted end
  local address = server and "embedded" or (core.check_client(adopted, "connect"))
  local notes = require "arvak.ledger.notes"
  local ok, keeper = pcall(notes.open, ledger_name, address)
  if ok then
    clients.keep(adopted, keeper)
    return adopted
  end
  adopted:close()
  error(keeper, 0)
end

-- Makes a client; never waits and opens no connection yet. address: nil for $ARVAK_ADDRESS or "localhost:50051",
-- "host:port", "dns:///host:port", "ipv4:a:p,b:q", "ipv6:[a]:p", "unix:/path" or "embedded". Raises on bad options.
function M.connect(address, options)
  address = address or default_address()
  core.check_connect()
  if address ~= "embedded" then return complete(core.connect(address, options), options) end
  local server = start_embedded()
  return complete(core.connect(server.address, options), options, server)
end

-- Of a class whose module is not loaded yet there is nothing to seal; what is sealed stays as it is.
local function seal_classes()
  for _, metatable in pairs(core.metatables) do
    local methods = metatable.methods or metatable.__index
    if methods then check.seal(methods, metatable) end
  end
end

-- ---- what most programs do not need: loaded when it is first called

local used = {}

local function use(module)
  if not used[module] then seal_classes() end
  used[module] = true
  return module
end

function M.batch_manager(client, options)
  local manager = require "arvak.batch.manager"
  return use(manager).batch_manager(client, options)
end

function M.journal(path)
  local reader = require "arvak.batch.reader"
  return use(reader).journal(path)
end

function M.ledger(name)
  local reader = require "arvak.ledger.reader"
  return use(reader).ledger(name)
end

function M.database_name(name)
  check.path(name, "name")
  local dsn = require "arvak.base.dsn"
  return dsn.describe(name)
end

function M.print_progress_bar(progress)
  local bar = require "arvak.batch.progress_bar"
  return bar.print_progress_bar(progress)
end

-- ----

seal_classes()

local kinds = {}
for name, metatable in pairs(core.metatables) do kinds[metatable] = string.match(name, "^arvak%.(.+)$") end

-- What of ours a value is: "client", "future", "stream", "job", "result", "backend", "error", or nil.
function M.type(value)
  local kind = type(value)
  if kind ~= "table" and kind ~= "userdata" then return nil end
  return kinds[core.metatable_of(value)]
end

check.seal(M.results)
check.seal(M.export)
check.seal(M)

-- Circuits take longer to load than all the rest; most programs send texts.
return setmetatable(M, {
  __metatable = false,
  __index = function(_, name)
    if name ~= "circuit" then return nil end
    local circuit = require "arvak.circuit"
    M.circuit = circuit
    return circuit
  end,
})
