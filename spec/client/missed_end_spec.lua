-- The end of a connection that nobody notices. gRPC 1.51 polls with edge-triggered epoll and trusts the kernel's count
-- of bytes that are left (TCP_INQ): when one thread takes the hang-up while another one's read has just brought bytes,
-- nobody reads again, and the call waits on a dead connection. Seen in up to one of fifty calls on a busy machine,
-- never with GRPC_POLL_STRATEGY=poll. Here each call ends within a bound of ours; how many were missed is printed.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"
local raw = require "spec.support.peer"
local monotime = require("system").monotime

local CALLS = 60           -- for each way to die
local ATTEMPT = 0.4        -- seconds
local BOUND = 10 * ATTEMPT -- for a slow machine

-- How the connection ends, once the request has been read whole.
local ends = {
  ["reset"] = raw.die("end", "reset"),
  ["closed"] = raw.die("end", "close"),
  ["reset in the middle of an answer"] = raw.half_answer("\10\1j", "reset"),
  ["closed in the middle of an answer"] = raw.half_answer("\10\1j", "close"),
  ["reset after a GOAWAY"] = raw.goaway(true, 0, "reset"),
}

describe("a call whose connection is", function()
  local peer, client

  after_each(function()
    if client then client:close() end
    if peer then peer:stop() end
    client, peer = nil, nil
    helper.assert_clean()
  end)

  -- What one call to a new peer comes to: value, error, seconds.
  local function call(requests, method, options, ...)
    peer = raw.start()
    peer:plan("requests", requests)
    client = arvak.connect("ipv4:" .. peer:address(), options)
    local started_at = monotime()
    local value, err = client[method](client, ...)
    local seconds = monotime() - started_at
    client:close()
    peer:stop()
    return value, err, seconds
  end

  for name, step in pairs(ends) do
    it(name .. " ends within its attempt_timeout, and says that it may have been executed", function()
      local missed = 0
      for i = 1, CALLS do
        local options = { attempt_timeout = ATTEMPT }
        local value, err, seconds = call({ step }, "submit_qasm", options, helper.bell, "simulator")
        assert.is_nil(value)
        assert.is_true(err.kind == "unavailable" or err.kind == "timeout", tostring(err))
        assert.is_true(err.maybe_executed, tostring(err))
        assert.is_true(seconds < BOUND, ("call %d took %.1f s: %s"):format(i, seconds, err))
        if err.kind == "timeout" then missed = missed + 1 end
      end
      print(("%s: %d of %d ends were missed"):format(name, missed, CALLS))
    end)

    it(name .. " is made again where that does no harm, and succeeds", function()
      local options = { attempt_timeout = ATTEMPT, retry = { initial_backoff = 0.01 } }
      for i = 1, CALLS do
        local job, err, seconds = call({ step, raw.job("job-1", 3) }, "get_job_status", options, "job-1")
        assert.equal("COMPLETED", job and job.state, tostring(err))
        assert.is_true(seconds < BOUND, ("call %d took %.1f s"):format(i, seconds))
      end
    end)
  end
end)
