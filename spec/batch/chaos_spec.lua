-- Batches on a server that is killed and restarted with its jobs lost, whose connections are cut, and which answers
-- with every fault there is. Every place is settled, and the figures agree with those of the server.
-- JOBS=n in the environment: as many jobs (default 5000), and figures.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local batches = require "spec.support.batches"
local helper = require "spec.helper"

local IS_SLOW = os.getenv "ASAN_OPTIONS" ~= nil
local JOBS = tonumber(os.getenv "JOBS" or IS_SLOW and 500 or 5000)
local TROUBLES = 20 + JOBS // 50

local faults = {
  "rpc=SubmitBatchStream,status=UNAVAILABLE,messages=20,count=1", "rpc=SubmitBatchStream,status=INTERNAL,count=1",
  "rpc=SubmitBatchStream,drop=after,messages=50,count=1", "rpc=SubmitBatchStream,drop=before,count=1",
  "rpc=SubmitBatchStream,hang=before,count=1", "rpc=SubmitJob,status=UNAVAILABLE,count=3",
  "rpc=GetJobStatus,status=RESOURCE_EXHAUSTED,count=2",
  "rpc=SubmitJob,drop=after,count=1", "rpc=SubmitJob,hang=after,count=1",
  "rpc=SubmitJob,latency=0.05,count=5", "rpc=GetJobStatus,status=UNAVAILABLE,count=5",
  "rpc=GetJobStatus,drop=before,count=1", "rpc=GetJobStatus,latency=0.05,count=5", "rpc=GetJobStatus,hang=true,count=1",
  "rpc=GetJobResult,status=UNAVAILABLE,count=3", "rpc=GetJobResult,status=INTERNAL,count=1",
  "rpc=GetJobResult,drop=after,count=1",
}

-- One fault at a time: those that nobody meets for a while would add up to a server that is down.
local function set_fault(server, fault)
  server:clear_faults()
  server:fault { job = "fail", message = "no luck", rate = 0.03 }
  if fault then server:fault(fault) end
end

-- Does its worst until the batch has ended, or often enough; how often each.
local function make_trouble(server, is_over)
  local done = { restarts = 0, drops = 0, faults = 0 }
  while not is_over() and done.restarts + done.drops + done.faults < TROUBLES do
    arvak.sleep(0.02 + 0.08 * math.random())
    local what = math.random(10)
    if what == 1 then
      assert(server:restart())
      done.restarts = done.restarts + 1
    elseif what <= 3 then
      server:drop_connections()
      done.drops = done.drops + 1
    else
      set_fault(server, faults[math.random(#faults)])
      done.faults = done.faults + 1
    end
  end
  return done
end

-- Runs a batch in trouble: its result, and what was done to it.
local function run_in_trouble(server, manager, options)
  local is_over = false
  return arvak.run(function()
    local trouble = arvak.spawn(make_trouble, server, function() return is_over end)
    local r, err = manager:execute_batch(batches.bells(JOBS, 1), "simulator", options)
    is_over = true
    assert.is_nil(err)
    return r, (trouble:result())
  end)
end

describe("a batch in every kind of trouble", function()
  local server, client, manager

  after_each(function()
    manager:close()
    client:close()
    server:stop()
    manager, client, server = nil, nil, nil
    helper.assert_clean()
  end)

  for _, transport in ipairs { "stream", "unary" } do
    for _, on_unknown in ipairs { "fail", "resubmit" } do
      it(("settles every place: %s, on_unknown = %s"):format(transport, on_unknown), function()
        server = helper.start { job_latency = 0.005 }
        client = arvak.connect(server.address, { timeout = 2 })
        manager = arvak.batch_manager(client, { max_workers = 32 })
        set_fault(server)
        local r, done = run_in_trouble(server, manager, { transport = transport, on_unknown = on_unknown })
        batches.assert_whole(r, JOBS)
        assert.is_true(done.drops + done.restarts + done.faults > 0)
        local ran, unknown, resubmitted = r.success_count, 0, 0
        for _, item in ipairs(r.items) do
          if item.err and item.job_id then ran = ran + 1 end
          if item.err and item.err.maybe_executed then unknown = unknown + 1 end
          resubmitted = resubmitted + math.max(0, item.attempts - 1)
        end
        local accepted = server:stats().accepted
        assert.is_true(accepted >= ran, accepted .. " jobs for " .. ran)
        local most = ran + unknown + (on_unknown == "resubmit" and resubmitted or 0)
        assert.is_true(accepted <= most, accepted .. " jobs, " .. most .. " accounted for")
        if os.getenv "JOBS" then
          local kinds = {}
          for kind, count in pairs(batches.kinds(r)) do kinds[#kinds + 1] = kind .. " " .. count end
          print(("%s, %s: %d restarts, %d drops, %d faults; %d jobs made, %d successes, %d unknown; %s; %.1f s"):format(
            transport, on_unknown, done.restarts, done.drops, done.faults, accepted, r.success_count, unknown,
            table.concat(kinds, ", "), r.total_time))
        end
      end)
    end
  end
end)
