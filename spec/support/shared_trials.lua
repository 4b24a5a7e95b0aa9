-- Trials of a worker that is disturbed at one statement, for specs: stopped with SIGSTOP for longer than its lease, or
-- its connection cut there, with what it had sent carried out late.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"
local machines = require "spec.support.shared_machines"
local proxy = require "spec.support.proxy"

local M = {}

-- Every statement of a worker: a name, and words that only it has.
M.statements = {
  { "the look for the tables", "to_regclass" }, { "the batch's row", "INSERT INTO arvak_batch" },
  { "the worker's row", "INSERT INTO arvak_worker" }, { "a beat", "turned_at = clock" },
  { "a claim", "generate_series" }, { "the fence of a turn", "ended = ended +" },
  { "the hash of a claim", "UPDATE arvak_claim c SET hash" }, { "intents", "SET state = 'intent'" },
  { "jobs that were submitted", "SET state = 'submitted'" }, { "ends", "SET owner = NULL" },
  { "a look at the others", "LIMIT 1000) f" }, { "the iterator's end", "AND total IS NULL" },
  { "the last words", "SET state = 'left'" }, { "COMMIT", "COMMIT" },
}

-- A cluster with a database, machines on it, and a proxy for the one that is disturbed.
function M.start(options)
  local all = machines.start(options)
  all.cluster:sql "CREATE DATABASE lab"
  all.proxy = proxy.start(all.cluster)
  all.numbers = 0
  return all
end

-- The next trial has a batch of its own.
function M.next_batch(all)
  all.numbers = all.numbers + 1
  all.batch = "trial" .. all.numbers
  all.name = all.cluster:name("lab", { batch = all.batch })
  all.proxied = all.proxy:name("lab", { batch = all.batch })
  all.server:stop()
  all.server = helper.start { job_latency = all.options.job_latency }
end

local function spawn_by_proxy(all, more)
  local direct = all.name
  all.name = all.proxied
  local process = all:spawn(more)
  all.name = direct
  return process
end

local function eventually(condition, what)
  local ends_at = os.time() + 60
  while not condition() do
    assert(os.time() < ends_at, what)
    arvak.sleep(0.01)
  end
end

-- Stops a worker once these words have passed, until another has ended the batch; then it goes on: what both told.
function M.stop_at(all, direction, words)
  M.next_batch(all)
  all.proxy:arm(direction, 0, "stall", words)
  local victim = spawn_by_proxy(all)
  eventually(function() return not all.proxy:is_armed() end, "the statement does not come")
  machines.signal(victim, "STOP")
  local other = machines.parse(machines.wait(all:spawn(), 60))   -- while the victim holds whatever it holds
  all.proxy:resume()
  machines.signal(victim, "CONT")
  return machines.parse(machines.wait(victim, 60)), other
end

-- Cuts a worker's connection after these words; what it had sent is carried out, late, when it has long gone on.
function M.cut_at(all, direction, bytes, action, words)
  M.next_batch(all)
  all.proxy:arm(direction, bytes, action, words)
  local victim = spawn_by_proxy(all)
  eventually(function() return not all.proxy:is_armed() end, "the statement does not come")
  local other = all:spawn()
  arvak.sleep(0.3)
  all.proxy:deliver()
  return machines.parse(machines.wait(victim, 60)), machines.parse(machines.wait(other, 60))
end

return M
