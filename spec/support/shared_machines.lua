-- Several processes that share a batch through a real PostgreSQL, and a server that counts the jobs: for specs that
-- kill them, stop them or cut them off.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local cluster = require "spec.support.cluster"
local helper = require "spec.helper"

local M = {}

local LUA = os.getenv "LUA" or "lua5.4"

local Machines = {}
Machines.__index = Machines

-- options: jobs, job_latency; of the cluster: fsync, settings; of the processes: a text of KEY=VALUE
-- (shared_batch.lua); name(cluster): of the database, where it is not the cluster's own.
function M.start(options)
  local self = setmetatable({ options = options, processes = {}, count = 0 }, Machines)
  self.cluster = cluster.start { fsync = options.fsync, settings = options.settings }
  self.server = helper.start { job_latency = options.job_latency or 0.02 }
  self.name = (options.name or self.cluster.name)(self.cluster)
  self.folder = os.tmpname()
  os.remove(self.folder)
  os.execute("mkdir " .. self.folder)
  return self
end

-- Starts a process; more: further KEY=VALUE. What is returned has its pid.
function Machines:spawn(more)
  self.count = self.count + 1
  local process = { output = ("%s/%d"):format(self.folder, self.count) }
  local command = ("%s spec/support/shared_batch.lua %s '%s' %d %s %s"):format(LUA, self.server.address, self.name,
    self.options.jobs, self.options.arguments or "", more or "")
  process.pipe = assert(io.popen(("exec 2>/dev/null; %s >%s 2>&1 & echo $!; wait $!; echo ended >>%s"):format(command,
    process.output, process.output)))
  process.pid = process.pipe:read "n"
  self.processes[#self.processes + 1] = process
  return process
end

local function read(process)
  local file = io.open(process.output)
  if not file then return "" end
  local text = file:read "a"
  file:close()
  return text
end

function M.has_ended(process) return read(process):find "ended\n$" ~= nil end

function M.signal(process, name) os.execute(("kill -%s %d 2>/dev/null"):format(name, process.pid)) end

-- Waits for its end: its output, without what it said of trouble on the way.
function M.wait(process, seconds)
  local ends_at = os.time() + (seconds or 120)
  while not M.has_ended(process) do
    assert(os.time() < ends_at, "a process does not end: " .. read(process))
    arvak.sleep(0.02)
  end
  process.pipe:close()
  return (read(process):gsub("ended\n$", ""):gsub("arvak: [^\n]*\n", ""))
end

-- What a process that ended well has told: status, successes, failures, unknown, what became of the slots, peak memory.
function M.parse(output)
  local status, successes, failures, unknown, missing, ends, memory =
    output:match "^(%a+)%s(%d+)%s(%d+)%s(%d+)%s(%d+)%s(%S+)%s(%d+)"
  assert(status, output)
  return { status = status, successes = math.tointeger(successes), failures = math.tointeger(failures),
    unknown = math.tointeger(unknown), missing = math.tointeger(missing), ends = ends,
    memory_kib = math.tointeger(tonumber(memory)) }
end

-- Waits for processes, each of which has told of every slot, and all the same.
function M.assert_alike(processes)
  local told
  for _, process in ipairs(processes) do
    local r = M.parse(M.wait(process, 300))
    assert(r.missing == 0, "a slot was not told of")
    told = told or r.ends
    assert(r.ends == told, "two processes tell different ends")
  end
end

-- A number of the command line, by default standard.
function M.number(i, standard) return math.tointeger(tonumber(arg[i] or standard)) end

-- The database that the processes use, unless they are given another name.
function Machines:make_database()
  self.cluster:sql "CREATE DATABASE lab"
  self.name = self.cluster:name "lab"
end

-- How many jobs the server has for each circuit.
function Machines:runs()
  local runs = {}
  for _, job in ipairs(self.server:jobs()) do runs[job.shots] = (runs[job.shots] or 0) + 1 end
  return runs
end

-- What must hold in the end: every slot has ended, the server has one job for each that has an id, and at most one for
-- each that is unknown. How many are unknown, and how many of these have run.
function Machines:check()
  local batch = self.batch or "default"
  local rows = self.cluster:sql(([[SELECT slot, i.state, job_id IS NOT NULL, owner IS NULL FROM arvak_item i
    JOIN arvak_batch b USING (batch) WHERE b.name = '%s' ORDER BY slot]]):format(batch), "lab")
  local runs, slots, unknown, run_unknown = self:runs(), 0, 0, 0
  for slot, state, has_id, has_ended in rows:gmatch "(%d+)|(%a+)|(%a)|(%a)" do
    slots = slots + 1
    local count = runs[math.tointeger(slot)] or 0
    assert(has_ended == "t", ("slot %s has not ended: %s"):format(slot, state))
    assert(count <= 1, ("slot %s ran %d times"):format(slot, count))
    if state == "unknown" then
      unknown, run_unknown = unknown + 1, run_unknown + count
    else
      assert(state == "completed" and has_id == "t" and count == 1, ("slot %s is %s"):format(slot, state))
    end
  end
  assert(slots == self.options.jobs, ("%d slots"):format(slots))
  return unknown, run_unknown
end

-- Ends everything that was started.
function Machines:stop()
  for _, process in ipairs(self.processes) do
    if not M.has_ended(process) then
      M.signal(process, "CONT")
      M.signal(process, "KILL")
    end
  end
  self.server:stop()
  self.cluster:remove()
  os.execute("rm -rf " .. self.folder)
end

return M
