-- examples/resume.lua, interrupted by Ctrl-C again and again: each run ends with what is done, and nothing runs twice.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"

local COUNT, WORKERS = 400, 16   -- those of the example
local lua = os.getenv("LUA") or "lua5.4"

-- Runs the example; after is when it is interrupted, in seconds after it has opened its journal (nil: never), of which
-- the write-ahead log tells: an earlier run has left none. Its output and exit status. A background process of bash -m
-- does not ignore SIGINT.
local function run(path, address, after)
  local script = os.tmpname()
  local file = assert(io.open(script, "w"))
  file:write(([[
    set -m
    '%s' examples/resume.lua '%s' %d %s & pid=$!
    ( sleep %d; kill -KILL $pid ) >/dev/null 2>&1 & killer=$!
  ]]):format(lua, path, COUNT, address, 20 * helper.TEST_TIMEOUT))
  if after then
    file:write(([[
      until [ -s '%s-wal' ]; do kill -0 $pid || break; sleep 0.05; done
      sleep %g; kill -INT $pid
    ]]):format(path, after))
  end
  file:write("wait $pid; status=$?; kill -KILL -- -$killer 2>/dev/null; echo status $status\n")
  file:close()
  local pipe = assert(io.popen(("bash '%s' 2>&1 </dev/null"):format(script)))
  local output = pipe:read("a")
  pipe:close()
  os.remove(script)
  return output, tonumber(output:match("status (%d+)\n"))
end

describe("a batch that is interrupted by Ctrl-C", function()
  local server, path

  local function remove_journal()
    for _, ending in ipairs { "", "-wal", "-shm" } do os.remove(path .. ending) end
  end

  before_each(function()
    server = helper.start { job_latency = 0.05 }   -- with 16 at a time, 400 jobs take 1.3 s
    path = os.tmpname()
    os.remove(path)
  end)

  after_each(function()
    server:stop()
    remove_journal()
    helper.assert_clean()
  end)

  -- Two runs, each interrupted: how many circuits had completed, or nil and the output of a run that was not stopped.
  local function interrupt_twice()
    local before = 0
    for _ = 1, 2 do
      local output, status = run(path, server.address, 0.3)
      if status ~= 130 then return nil, output end
      local completed = tonumber(output:match(("(%%d+) of %d completed, 0 failed"):format(COUNT)))
      assert.is_true(completed >= before and completed < COUNT, output)
      assert.truthy(output:find(("go on with: lua5.4 examples/resume.lua %s %d"):format(path, COUNT), 1, true), output)
      before = completed
    end
    return before
  end

  it("ends with what is done and how to go on, and goes on without running a circuit twice", function()
    local base, done, output, status
    for _ = 1, 3 do   -- the interpreter raises where it is: an interrupt that a pcall catches there is lost
      remove_journal()
      base = server:stats().accepted
      done, output = interrupt_twice()
      if done then break end
    end
    assert.truthy(done, output)
    output, status = run(path, server.address)
    local completed, unknown = output:match("(%d+) of %d+ completed, 0 failed, (%d+) unknown, 0 under way")
    assert.truthy(completed, output)
    assert.equal(COUNT, completed + unknown, output)   -- unknown: those that were just being submitted
    assert.is_true(unknown + 0 <= 2 * WORKERS, output)
    assert.equal(unknown == "0" and 0 or 1, status, output)
    local accepted = server:stats().accepted - base
    assert.is_true(accepted >= completed + 0 and accepted <= COUNT, accepted .. output)
  end)

  it("takes only what it does itself for its speed when it goes on", function()
    local client = arvak.connect(server.address)
    local manager, circuits, reports = arvak.batch_manager(client, { max_workers = 4 }), {}, {}
    for i = 1, 40 do circuits[i] = { helper.bell, 1 } end
    local ends = 0
    local first = manager:execute_batch(circuits, "simulator", { journal = path, on_result = function()
      ends = ends + 1
      if ends == 10 then manager:cancel() end
    end })
    assert.is_true(first.success_count > 0 and first.success_count < 40, first.success_count)
    local second = manager:execute_batch(circuits, "simulator", { journal = path,
      progress_callback = function(progress) reports[#reports + 1] = progress end })
    assert.equal("completed", second.status)
    for _, progress in ipairs(reports) do
      local own = progress.completed - first.success_count
      assert.is_true(progress.throughput * progress.elapsed_time <= math.max(0, own) + 0.001)
    end
    assert.is_true(reports[#reports].throughput > 0)
    client:close()
  end)
end)
