-- Canceling tasks, in whatever they are doing.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"

local bell, TEST_TIMEOUT = helper.bell, helper.TEST_TIMEOUT
local server, client

local open, close = helper.fixture(function() return server, client end, function(...) server, client = ... end)

describe("canceling a task", function()
  after_each(close)

  -- What its current wait returns, and the future of a task that was canceled while inside wait.
  local function cancel_during(wait)
    local values, f
    arvak.run(function()
      f = arvak.spawn(function()
        values = table.pack(wait())
        return table.unpack(values, 1, values.n)
      end)
      arvak.sleep(0.01)
      assert.is_true(f:cancel())
      f:wait()
    end)
    return values, f
  end

  it("before it has started means that it never does", function()
    local ran = false
    arvak.run(function()
      local f = arvak.spawn(function() ran = true end)
      assert.is_true(f:cancel())
      assert.is_true(f:done())
      assert.is_true(f:canceled())
      local value, err = f:result()
      assert.is_nil(value)
      assert.equal("canceled", err.kind)
      assert.is_false(err.maybe_executed)
    end)
    assert.is_false(ran)
  end)

  it("before it has started lets go of its function and arguments", function()
    local weak = setmetatable({}, { __mode = "k" })
    arvak.run(function()
      local argument = {}
      weak[argument] = true
      arvak.spawn(function() return argument end, argument):cancel()
    end)
    arvak.poll(0)   -- its turn, in which it is let go of
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(weak))
  end)

  it("while it sleeps ends the sleep with nil and canceled, at once", function()
    local values, f = cancel_during(function() return arvak.sleep(TEST_TIMEOUT) end)
    assert.is_nil(values[1])
    assert.equal("canceled", values[2].kind)
    assert.is_false(values[2].maybe_executed)
    assert.is_true(f:canceled())
  end)

  it("while an RPC is in flight ends it, and the server may have executed it", function()
    open()
    server:fault { rpc = "SubmitJob", hang = "before" }
    local values = cancel_during(function() return client:submit_qasm(bell, "simulator") end)
    assert.is_nil(values[1])
    assert.equal("canceled", values[2].kind)
    assert.equal("SubmitJob", values[2].rpc)
    assert.is_true(values[2].maybe_executed)
    helper.eventually(function() return client:stats().in_flight == 0 end)
  end)

  it("while its RPC waits in our own queue says that nothing was executed", function()
    open(nil, { max_concurrent_rpcs = 1 })
    server:fault { rpc = "GetJobStatus", hang = "before" }
    local blocker = client.async:get_job_status("j")
    local values = cancel_during(function() return client:submit_qasm(bell, "simulator") end)
    assert.equal("canceled", values[2].kind)
    assert.is_false(values[2].maybe_executed)
    blocker:cancel()
  end)

  it("while it waits for a job leaves the job alone", function()
    open { job_latency = 60 }
    local job_id = assert(client:submit_qasm(bell, "simulator"))
    local values = cancel_during(function() return client:wait_for_job(job_id) end)
    assert.equal("canceled", values[2].kind)
    assert.equal("RUNNING", client:get_job_status(job_id).state)
    assert(client:cancel_job(job_id))
  end)

  it("while it waits for a future leaves the future alone", function()
    local inner
    local values = cancel_during(function()
      inner = arvak.spawn(arvak.sleep, 0.03)
      return inner:result()
    end)
    assert.equal("canceled", values[2].kind)
    assert.is_true(inner:result(TEST_TIMEOUT))
    assert.is_false(inner:canceled())
  end)

  it("makes its later waits fail too", function()
    open()
    local later = {}
    cancel_during(function()
      arvak.sleep(TEST_TIMEOUT)
      later[1] = select(2, arvak.sleep(TEST_TIMEOUT))
      later[2] = select(2, client:list_backends())
      later[3] = select(2, client:execute(bell, "simulator"))
    end)
    for i = 1, 3 do assert.equal("canceled", later[i].kind) end
    assert.equal(0, server:stats().calls.ListBackends)
    assert.equal(0, server:stats().calls.SubmitJob)
  end)

  it("lets it give a value all the same", function()
    local _, f = cancel_during(function()
      arvak.sleep(TEST_TIMEOUT)
      return "tidied up"
    end)
    assert.is_false(f:canceled())
    assert.equal("tidied up", f:result(0))
  end)

  it("by itself takes effect at its next wait", function()
    local value, err = arvak.run(function()
      local f
      f = arvak.spawn(function()
        assert.is_true(f:cancel())
        return arvak.sleep(TEST_TIMEOUT)
      end)
      return f:result()
    end)
    assert.is_nil(value)
    assert.equal("canceled", err.kind)
  end)

  it("before it has started is safe, however busy the collector", function()
    local mode = collectgarbage("generational")
    local canceled = 0
    for _ = 1, 2000 do
      arvak.run(function()
        for _ = 1, 3 do
          local f = arvak.spawn(error, "never")
          f:cancel()
          if f:canceled() then canceled = canceled + 1 end
        end
      end)
    end
    collectgarbage(mode)
    assert.equal(6000, canceled)
  end)
end)
