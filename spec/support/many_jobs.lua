-- A process that runs many jobs through an iterator, keeps none, and prints how many came back, how many indexes are
-- missing, and its peak memory in KB.
-- Usage: lua many_jobs.lua ADDRESS COUNT
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"

local client <close> = arvak.connect(arg[1])
local manager <close> = arvak.batch_manager(client)
local count, drawn, seen = math.tointeger(tonumber(arg[2])), 0, {}
local r = assert(manager:execute_batch(function()
  drawn = drawn + 1
  if drawn <= count then return { "OPENQASM 3.0; qubit[2] q; h q[0]; cx q[0], q[1];", drawn % 100 + 1 } end
end, "simulator", { transport = "stream", on_result = function(index, result)
  assert(result.shots == index % 100 + 1)
  seen[index // 64] = (seen[index // 64] or 0) | 1 << index % 64
end }))
local missing = 0
for index = 1, count do
  if (seen[index // 64] or 0) & 1 << index % 64 == 0 then missing = missing + 1 end
end
local peak
for line in io.lines "/proc/self/status" do peak = peak or line:match "^VmHWM:%s*(%d+)" end
print(r.status, r.success_count, missing, peak)
