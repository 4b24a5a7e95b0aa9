-- Retries over connections that die at every stage: a request that the peer has read whole is never sent again, one
-- that never left is, until it gets through. The peer is the judge: it counts what it has executed.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"
local raw = require "spec.support.peer"

describe("a retried submit", function()
  local peer, client

  after_each(function()
    client:close()
    peer:stop()
    client, peer = nil, nil
    helper.assert_clean()
  end)

  -- plan: what connections and requests meet, in order; the last of each serves all that follow.
  local function submit(plan, retry)
    peer = raw.start { answer = raw.submitted("job") }
    if plan.connections then peer:plan("connections", plan.connections) end
    if plan.requests then peer:plan("requests", plan.requests) end
    retry = retry or { max_attempts = 6, initial_backoff = 0.01 }
    -- Under load gRPC now and then misses the end of a connection, and only the attempt's own time ends it.
    client = arvak.connect(peer:address(), { timeout = 5, attempt_timeout = 1, retry = retry })
    local job_id, err = client:submit_qasm(helper.bell, "simulator", 1)
    return job_id, err, peer:stats().executed
  end

  local fine = { at = "settings" }

  for _, ending in ipairs { "reset", "close" } do   -- words of the peer's
    it(("goes on after connections that were %s before they were HTTP/2"):format(ending), function()
      local dying = raw.die("accept", ending)
      local job_id, err, executed = submit { connections = { dying, dying, fine } }
      assert.equal("job", job_id, tostring(err))
      assert.equal(1, executed)
    end)

    it(("is not repeated when its connection was %s after it had been read whole"):format(ending), function()
      local job_id, err, executed = submit { requests = { raw.die("end", ending), raw.submitted("second") } }
      assert.is_nil(job_id)
      assert.is_true(err.maybe_executed)
      assert.same({ 1, 1 }, { err.attempts, executed })
    end)

    it(("is not repeated when its connection was %s after its headers"):format(ending), function()
      local job_id, err, executed = submit { requests = { raw.die("headers", ending), raw.submitted("second") } }
      assert.is_nil(job_id)
      assert.equal(1, err.attempts)
      assert.is_true(executed <= 1)
    end)
  end

  it("is repeated when the peer refuses it itself", function()
    local busy = raw.status(14, "busy")
    local job_id, _, executed = submit { requests = { busy, busy, raw.submitted("third") } }
    assert.equal("third", job_id)
    assert.equal(1, executed)
  end)

  it("is repeated when told that this does no harm", function()
    local job_id, err, executed = submit({ requests = { raw.die("end"), raw.submitted("second") } },
      { initial_backoff = 0.01, assume_idempotent = true })
    assert.equal("second", job_id, tostring(err))
    assert.equal(2, executed)
  end)

  it("is given up when nobody ever listens, and known as not executed", function()
    local retry = { max_attempts = 3, initial_backoff = 0.01 }
    local job_id, err, executed = submit({ connections = { raw.die("accept") } }, retry)
    assert.is_nil(job_id)
    assert.same({ "unavailable", false, 3, 0 }, { err.kind, err.maybe_executed, err.attempts, executed })
  end)
end)
