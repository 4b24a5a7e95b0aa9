-- A batch with a journal that is killed again and again (SIGKILL), and goes on each time: every circuit ends once, none
-- that is known to have run runs again, and with on_unknown = "fail" none runs twice at all.
-- Usage: lua spec/long/kill.lua [SEED] [KILLS] [JOBS], by default 200 kills over 2,000 jobs, for each transport and
-- each on_unknown.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"

local LUA = os.getenv "LUA" or "lua5.4"
local WORKERS = 16
local seed = math.tointeger(tonumber(arg[1] or os.time()))
local kills, jobs = math.tointeger(tonumber(arg[2] or 200)), math.tointeger(tonumber(arg[3] or 2000))

-- Runs the batch, or kills it once it has submitted something, so many seconds later: its output.
local function run(server, path, transport, on_unknown, seconds)
  local command = "exec 2>/dev/null; %s spec/support/journal_batch.lua %s %s %d %d %s %s 2>&1 & echo $!; wait $!"
  local pipe = assert(io.popen(command:format(LUA, server.address, path, jobs, WORKERS, transport, on_unknown)))
  local pid, accepted = pipe:read "n", server:stats().accepted
  if seconds then
    local ends_at = os.time() + 2
    while server:stats().accepted == accepted and os.time() < ends_at do arvak.sleep(0.001) end
    arvak.sleep(seconds)
    os.execute(("kill -KILL %d 2>/dev/null"):format(pid))
  end
  local output = pipe:read "a":gsub("^%s+", "")
  pipe:close()
  return output
end

local function each_item(path, fn)
  local opened, err
  helper.eventually(function()   -- a process that was killed lets go of its lock a moment after its output has ended
    opened, err = arvak.journal(path)
    return opened or err.kind ~= "in_use"
  end)
  local journal <close> = opened
  if not journal then return end   -- killed before there was one
  for item in journal:items() do fn(item) end
end

-- How many jobs the server has for the circuit of each number of shots, which is its place.
local function runs_of(server)
  local runs = {}
  for _, job in ipairs(server:jobs()) do runs[job.shots] = (runs[job.shots] or 0) + 1 end
  return runs
end

-- What must hold after each kill: what had completed stays so, and has run.
local function check_completed(path, completed)
  local now = {}
  each_item(path, function(item) if item.state == "completed" then now[item.index] = item.job_id end end)
  for index, job_id in pairs(completed) do
    assert(now[index] == job_id, ("circuit %d had completed as job %s"):format(index, job_id))
  end
  return now
end

local function check_end(server, output, on_unknown, lost)
  local successes, failures, unknown = output:match "^%a+%s(%d+)%s(%d+)%s(%d+)\n"
  assert(successes, output)
  assert(successes + failures == jobs and failures == unknown, output)
  assert(on_unknown == "fail" or failures == "0", output)
  local twice = 0
  for _, count in pairs(runs_of(server)) do twice = twice + count - 1 end
  assert(twice <= (on_unknown == "fail" and 0 or lost), ("%d circuits ran again, %d were unknown"):format(twice, lost))
  return ("%s completed, %s unknown, %d ran again"):format(successes, unknown, twice)
end

local function kill_again_and_again(transport, on_unknown)
  local server = helper.start { job_latency = 0.08 }
  local path = os.tmpname()
  os.remove(path)
  local killed, lost, completed = 0, 0, {}
  while killed < kills do
    local output = run(server, path, transport, on_unknown, 0.1 * math.random())
    if output:find "^completed" or output:find "^partial" then break end
    assert(output == "" or output:find "Killed" or output:find "another process is using it", output)
    killed = killed + 1
    completed = check_completed(path, completed)
    each_item(path, function(item) if item.state == "intent" then lost = lost + 1 end end)
  end
  local report = check_end(server, run(server, path, transport, on_unknown), on_unknown, lost)
  print(("%s, on_unknown = %s: %d kills, %s"):format(transport, on_unknown, killed, report))
  server:stop()
  for _, ending in ipairs { "", "-wal", "-shm", "-lock" } do os.remove(path .. ending) end
end

math.randomseed(seed)
print(("seed %d"):format(seed))
for _, transport in ipairs { "stream", "unary" } do
  for _, on_unknown in ipairs { "fail", "resubmit" } do kill_again_and_again(transport, on_unknown) end
end
