-- A call that is canceled between two attempts is not sent again, whatever happens first.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local devserver = require "arvak.devserver"
local helper = require "spec.helper"

describe("a submit that is canceled between two attempts", function()
  local server, client

  after_each(function()
    client:close()
    server:stop()
    client, server = nil, nil
    helper.assert_clean()
  end)

  -- Two submits that fail once each; before the second attempt of one of them its function cancels a task.
  local function submit_two(victim)
    local tasks, calls = {}, 0
    server = assert(devserver.start { seed = 1, rate_limit = 0,
      faults = { { rpc = "SubmitJob", status = "UNAVAILABLE", count = 2 } } })
    client = arvak.connect(server.address, {
      retry = { max_attempts = 3, initial_backoff = 0.02, jitter = false },
      metadata = function()
        calls = calls + 1
        if calls == 3 then tasks[victim]:cancel() end
        return { ["x-call"] = tostring(calls) }
      end,
    })
    for i = 1, 2 do
      tasks[i] = arvak.spawn(function() return client:submit_qasm(helper.bell, "simulator", 1) end)
    end
    return tasks
  end

  for victim, whose in ipairs { "its own", "another's" } do
    it("by " .. whose .. " function for headers is not made again, and was not executed", function()
      local tasks = submit_two(victim)
      local id, err = tasks[victim]:result(helper.TEST_TIMEOUT)
      assert.is_nil(id)
      assert.equal("canceled", err.kind)
      assert.is_false(err.maybe_executed)
      assert.is_string(assert(tasks[3 - victim]:result(helper.TEST_TIMEOUT)))
      assert(client:submit_qasm(helper.bell, "simulator", 1))   -- whatever was sent before has arrived now
      assert.equal(2, server:stats().accepted)
    end)
  end
end)
