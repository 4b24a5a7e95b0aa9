-- What specs of shared batches stand on: a cluster with the database "lab", and for each test a batch of its own there,
-- a server and a client.
--   local lab = labs.new()
--   setup(function() lab:start() end)         teardown(function() lab:remove() end)
--   before_each(function() lab:open() end)    after_each(function() lab:close() end)
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local clusters = require "spec.support.cluster"
local helper = require "spec.helper"

local M = {}
local Lab = {}
Lab.__index = Lab

function M.new() return setmetatable({ numbers = 0 }, Lab) end

function Lab:start()
  self.cluster = clusters.start { settings = { max_connections = 40 } }
  self.cluster:sql "CREATE DATABASE lab"
end

function Lab:remove() self.cluster:remove() end

function Lab:open()
  self.numbers = self.numbers + 1
  self.batch = "b" .. self.numbers
  self.server = helper.start { job_latency = 0.01 }
  self.client = arvak.connect(self.server.address)
end

function Lab:close()
  if self.manager then self.manager:close() end
  self.client:close()
  self.server:stop()
  self.manager, self.client, self.server = nil, nil, nil
  helper.assert_clean()
end

-- Another server, whose jobs take so long; max_concurrent_jobs of them run at once, if given.
function Lab:restart(job_latency, max_concurrent_jobs)
  if self.manager then self.manager:close() end
  self.client:close()
  self.server:stop()
  self.manager = nil
  self.server = helper.start { job_latency = job_latency, max_concurrent_jobs = max_concurrent_jobs }
  self.client = arvak.connect(self.server.address)
end

-- The i-th of these circuits has i shots, from first on.
function M.circuits(count, text, first)
  local list = {}
  for i = 1, count do list[i] = { text or "OPENQASM 3.0; qubit q; x q;", i + (first or 1) - 1 } end
  return list
end

function M.iterator(list)
  local drawn = 0
  return function()
    drawn = drawn + 1
    return list[drawn]
  end
end

-- The name of this test's batch, or of another one, and by way of a proxy.
function Lab:name(batch, proxy) return (proxy or self.cluster):name("lab", { batch = batch or self.batch }) end

-- Statements by psql, in which BATCH is this test's batch as a number.
function Lab:sql(text)
  return self.cluster:sql((text:gsub("BATCH",
    ("(SELECT batch FROM arvak_batch WHERE name = '%s')"):format(self.batch))), "lab")
end

local Held = {}
Held.__index = Held

function Held:release()
  local pipe = self.pipe
  self.pipe = nil
  if not pipe then return end
  self.cluster:sql("SELECT pg_terminate_backend(pid) " .. self.where)
  pipe:close()
end

Held.__close = Held.release

local UNTIL_AWAITED = "DO 'BEGIN WHILE NOT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted) LOOP "
  .. "PERFORM pg_sleep(0.05); END LOOP; END'"

-- Another session, which has carried out these statements and does not end its transaction until release; or commits it
-- as soon as somebody waits for it.
function Lab:hold(statements, is_committed)
  statements = statements:gsub("BATCH", ("(SELECT batch FROM arvak_batch WHERE name = '%s')"):format(self.batch))
  local cluster, is_held = self.cluster, "FROM pg_stat_activity WHERE application_name = 'holder'"
  local pipe = io.popen(([[exec %s/psql -Xq "%s" >/dev/null 2>&1 -c "BEGIN; %s; %s; COMMIT"]]):format(cluster.programs,
    cluster:name("lab", { application_name = "holder" }), statements,
    is_committed and UNTIL_AWAITED or "SELECT pg_sleep(600)"))
  helper.eventually(function()
    return cluster:sql("SELECT COUNT(*) " .. is_held .. " AND wait_event = 'PgSleep'") == "1"
  end, 60)
  return setmetatable({ cluster = cluster, where = is_held, pipe = pipe }, Held)
end

-- Waits in a task, or on the main thread, until this is true.
function Lab:wait_for(condition)
  for _ = 1, 600 do
    if self:sql(condition) == "t" then return end
    arvak.sleep(0.05)
  end
  error("this does not come: " .. condition)
end

-- How many items are in these states (a condition in SQL).
function Lab:count(condition)
  return math.tointeger(self:sql("SELECT COUNT(*) FROM arvak_item WHERE batch = BATCH AND " .. condition))
end

-- Makes the tables, where a test needs them before its batch: this batch is another one from now on.
function Lab:make_tables()
  self:run(M.circuits(1))
  self.batch = self.batch .. "x"
end

-- One program. options: of execute_batch, and workers.
function Lab:run(circuits, options)
  local all, workers = { journal = self:name() }, 4
  for key, value in pairs(options or {}) do
    if key == "workers" then workers = value else all[key] = value end
  end
  local manager <close> = arvak.batch_manager(self.client, { max_workers = workers })
  return manager:execute_batch(circuits, "simulator", all)
end

-- The same with a manager that lives until the end of the test, so that failures can be run again.
function Lab:run_on(circuits, options)
  self.manager = self.manager or arvak.batch_manager(self.client, { max_workers = 4 })
  local all = { journal = self:name() }
  for key, value in pairs(options or {}) do all[key] = value end
  return self.manager:execute_batch(circuits, "simulator", all)
end

-- Programs side by side: what each was given back. programs: { circuits, options }.
function Lab:share(programs)
  local results = {}
  arvak.run(function()
    for i, program in ipairs(programs) do
      arvak.spawn(function() results[i] = table.pack(self:run(program[1], program[2])) end)
    end
  end)
  return results
end

-- How many jobs the server has, and the most of one circuit.
function Lab:runs()
  local most, count, seen = 0, 0, {}
  for _, job in ipairs(self.server:jobs()) do
    seen[job.shots], count = (seen[job.shots] or 0) + 1, count + 1
    most = math.max(most, seen[job.shots])
  end
  return count, most
end

return M
