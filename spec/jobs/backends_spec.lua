-- A backend that is not found: the error says which there are, and that costs one look a minute at most.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"

local bell = helper.bell
local server, client
local open, close = helper.fixture(function() return server, client end, function(s, c) server, client = s, c end)

describe("a backend that is not found", function()
  before_each(function() open() end)
  after_each(close)

  local expected = "Backend not found: Simulator %(the server has simulator%)$"

  local methods = {
    execute = function() return client:execute(bell, "Simulator", 1) end,
    submit_qasm = function() return client:submit_qasm(bell, "Simulator", 1) end,
    submit_batch = function() return client:submit_batch({ { bell, 1 } }, "Simulator") end,
    get_backend_info = function() return client:get_backend_info "Simulator" end,
    ["execute in a task"] = function()
      return arvak.run(function() return client:execute(bell, "Simulator", 1) end)
    end,
    check = function() return client:check(bell, "Simulator", 1) end,
    submit_qasm_future = function() return client:submit_qasm_future(bell, "Simulator", 1):result() end,
    ["async:execute"] = function() return client.async:execute(bell, "Simulator", 1):result() end,
  }
  for name, method in pairs(methods) do
    it("is followed by those that there are, from " .. name, function()
      local value, err = method()
      assert.is_nil(value)
      assert.equal("backend_not_found", err.kind)
      assert.matches(expected, err.message)
      assert.same({ "simulator" }, err.backends)
    end)
  end

  for _, transport in ipairs { "unary", "stream" } do
    it("is followed by them in each item of a batch, by " .. transport, function()
      local manager <close> = arvak.batch_manager(client)
      local r = manager:execute_batch({ { bell, 1 }, { bell, 1, backend_id = "simulator" }, { bell, 1 } }, "Simulator",
        { transport = transport })
      assert.equal(2, r.failure_count)
      for _, index in ipairs { 1, 3 } do
        local err = r.items[index].err
        assert.equal("backend_not_found", err.kind)
        assert.matches(expected, err.message)
      end
      assert.equal(1, server:stats().calls.ListBackends)
    end)
  end

  it("has the server asked once, however often", function()
    for _ = 1, 5 do
      local _, err = client:submit_qasm(bell, "other")
      assert.matches("Backend not found: other %(the server has simulator%)$", err.message)
    end
    assert.equal(1, server:stats().calls.ListBackends)
  end)

  for _, transport in ipairs { "unary", "stream" } do
    it("is followed by them in each future of submit_many, by " .. transport, function()
      local manager <close> = arvak.batch_manager(client)
      local futures = manager:submit_many({ { bell, 1 }, { bell, 1 } }, "Simulator", { transport = transport })
      for _, f in ipairs(futures) do
        local _, err = f:result(30)
        assert.equal("backend_not_found", err.kind)
        assert.matches(expected, err.message)
      end
      assert.equal(1, server:stats().calls.ListBackends)
    end)
  end

  it("has the server asked once by many futures that fail at once", function()
    local futures = {}
    for i = 1, 20 do futures[i] = client:submit_qasm_future(bell, "Simulator", 1) end
    for _, f in ipairs(futures) do
      local _, err = f:result(30)
      assert.matches(expected, err.message)
    end
    assert.equal(1, server:stats().calls.ListBackends)
  end)

  it("does not keep a future from being canceled while the list is asked for", function()
    server:fault { rpc = "ListBackends", hang = true }
    local f = client:submit_qasm_future(bell, "Simulator", 1)
    assert.is_true(helper.eventually(function() return (server:stats().calls.ListBackends or 0) == 1 end))
    assert.is_true(f:cancel())
    assert.is_true(f:canceled())
  end)

  it("has the server asked for nothing while all are found, or for another failure", function()
    assert.truthy(client:execute(bell, "simulator", 1))
    assert.is_nil((client:execute("not a program", "simulator", 1)))
    assert.is_nil((client:get_job_status "none"))
    assert.equal(0, server:stats().calls.ListBackends or 0)
  end)

  it("is an error as the server gave it where the server does not say which there are", function()
    server:fault { rpc = "ListBackends", status = "UNIMPLEMENTED" }
    for _ = 1, 2 do
      local _, err = client:submit_qasm(bell, "Simulator")
      assert.matches("Backend not found: Simulator$", err.message)
      assert.is_nil(err.backends)
    end
    assert.equal(1, server:stats().calls.ListBackends)
  end)
end)
