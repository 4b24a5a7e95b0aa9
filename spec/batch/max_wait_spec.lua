-- How long a batch waits for each of its jobs.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"

describe("max_wait of a batch", function()
  local server, client, manager, path

  local function start(latency)
    server = helper.start { job_latency = latency }
    client = assert(arvak.connect(server.address))
    manager = arvak.batch_manager(client, { max_workers = 4 })
  end

  local function circuits(count)
    local list = {}
    for i = 1, count do list[i] = { helper.bell, 1 } end
    return list
  end

  before_each(function()
    path = os.tmpname()
    os.remove(path)
  end)

  after_each(function()
    client:close()
    server:stop()
    client, server, manager = nil, nil, nil
    for _, ending in ipairs { "", "-wal", "-shm", "-lock" } do os.remove(path .. ending) end
    helper.assert_clean()
  end)

  for _, transport in ipairs { "stream", "unary" } do
    it("ends the places of jobs that take longer, and leaves the jobs alone, " .. transport, function()
      start(30)
      local r = assert(manager:execute_batch(circuits(6), "simulator", { max_wait = 0.3, transport = transport }))
      assert.equal(6, r.failure_count)
      assert.is_nil(r.err)
      for _, item in ipairs(r.items) do
        assert.equal("timeout", item.err.kind)
        assert.equal("wait", item.err.scope)
        assert.matches("has not ended within max_wait = 0.3 s", item.err.message, 1, true)
        assert.equal(item.job_id, item.err.job_id)
        assert.is_false(item.err.maybe_executed or false)
        assert.is_true(client:get_job_status(item.job_id):is_pending())
      end
      assert.equal(6, server:stats().accepted)
    end)

    it("changes nothing for jobs that end in time, " .. transport, function()
      start(0.01)
      local r = assert(manager:execute_batch(circuits(40), "simulator", { max_wait = 30, transport = transport }))
      assert.equal(40, r.success_count)
    end)
  end

  it("is a job's, not the batch's", function()
    start(0.3)   -- so that 40 jobs, 4 at a time, take 3 s
    local r = assert(manager:execute_batch(circuits(40), "simulator", { max_wait = 2.5 }))
    assert.equal(40, r.success_count, tostring(r.items[1].err))
  end)

  it("lets a later run with the same journal follow the jobs", function()
    start(1.5)
    local list = circuits(4)
    local r = assert(manager:execute_batch(list, "simulator", { max_wait = 0.2, journal = path }))
    assert.equal(4, r.failure_count)
    r = assert(manager:execute_batch(list, "simulator", { journal = path }))
    assert.equal(4, r.success_count)
    assert.equal(4, server:stats().accepted)
  end)

  it("holds for the futures of submit_many", function()
    start(30)
    local futures = manager:submit_many(circuits(4), "simulator", { max_wait = 0.3 })
    for _, future in ipairs(futures) do
      local _, err = future:result(helper.TEST_TIMEOUT)
      assert.equal("timeout", err.kind)
      assert.equal("wait", err.scope)
    end
  end)

  it("that is no number of seconds is refused", function()
    start(0)
    for _, value in ipairs { -1, 0 / 0, "1", {} } do
      assert.error_matches(function() manager:execute_batch(circuits(1), "simulator", { max_wait = value }) end,
        "max_wait")
    end
  end)
end)
