-- The metatables of the library's objects cannot be had from them: they hold finalizers, and say of a value what it is.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"

local bell = helper.bell
local server, client

describe("an object of the library", function()
  local open, close = helper.fixture(function() return server, client end, function(...) server, client = ... end)
  setup(open)
  teardown(close)

  -- By its name in arvak.type, or in the text of tostring.
  local makers = {
    client = function() return client end,
    ["client.async"] = function() return client.async end,
    error = function() return select(2, client:get_job_status("none")) end,
    job = function() return client:get_job_status(assert(client:submit_qasm(bell, "simulator"))) end,
    result = function() return client:execute(bell, "simulator", 10) end,
    backend = function() return client:get_backend_info("simulator") end,
    future = function() return (arvak.future()) end,
    stream = function() return (client:watch_job("none")) end,
    breaker = function() return arvak.circuit_breaker() end,
    retry_policy = function() return arvak.retry_policy() end,
    batch_manager = function() return arvak.batch_manager(client) end,
    batch_result = function() return arvak.batch_manager(client):execute_batch({ { bell, 1 } }, "simulator") end,
    pollable = function()
      local pollable = arvak.pollable()
      pollable:close()
      return pollable
    end,
  }

  for name, make in pairs(makers) do
    it(("hides its metatable: %s"):format(name), function()
      local object = assert(make())
      assert.is_false(getmetatable(object))
      if type(object) == "table" then
        assert.error_matches(function() setmetatable(object, {}) end, "protected metatable")
      end
      assert.is_false((pcall(function() getmetatable(object).__gc = nil end)))
      if name ~= "client.async" then assert.equal(name, arvak.type(object)) end
      assert.truthy(debug.getmetatable(object).__metatable == false)
    end)
  end

  it("still prints", function()
    assert.matches("^arvak.job .* %(%u+%)$", tostring(makers.job()))
    assert.matches("^arvak.result .* %(10 shots%)$", tostring(makers.result()))
    assert.matches("^arvak.backend simulator %(20 qubits%)$", tostring(makers.backend()))
    assert.matches("NOT_FOUND", tostring(makers.error()))
    assert.matches("^arvak.client %(127", tostring(client))
    assert.matches("^arvak.future %(pending%)$", tostring(makers.future()))
  end)

  it("still shows its fields to a loop", function()
    local fields = {}
    for name in pairs(makers.job()) do fields[name] = true end
    assert.is_true(fields.job_id and fields.state and fields.backend_id)
    fields = {}
    for name in pairs(makers.error()) do fields[name] = true end
    assert.is_true(fields.kind and fields.message)
    for bits, count in pairs(makers.result()) do assert.is_true(#bits == 2 and count > 0) end
  end)

  it("is not what only looks like one", function()
    for name in pairs(makers) do
      local fake = setmetatable({}, { __name = "arvak." .. name, __metatable = false })
      assert.is_nil(arvak.type(fake))
      assert.is_false(arvak.is_error(fake))
    end
    local fake = setmetatable({ _state = "done" }, { __metatable = false })
    assert.error_matches(function() arvak.gather { fake } end, "futures%[1%]: got a table")
    assert.error_matches(function() arvak.future().result(fake) end, "result: got a table as the future")
  end)

  it("is taken as a function or a list for what it is, whatever its metatable shows", function()
    local calls = 0
    local callable = setmetatable({}, { __call = function() calls = calls + 1 end, __metatable = 42 })
    arvak.run(callable)
    assert.equal(1, calls)
    local list = setmetatable({ { bell, 1 }, { bell, 2 } }, { __metatable = 42 })
    assert.equal(2, arvak.batch_manager(client):execute_batch(list, "simulator").success_count)
  end)

  it("keeps what a program writes into the place of a large result's counts from the library", function()
    local result = assert(client:execute("OPENQASM 3.0; qubit[12] q; h q;", "simulator", 9000))
    for key in next, result do
      if type(key) ~= "string" then
        for _, value in ipairs { 5, "x", {}, io.stdout, client } do
          rawset(result, key, value)
          pcall(function() return result.counts end)
          pcall(result.pairs, result)
        end
      end
    end
    assert.equal("result", arvak.type(result))
  end)
end)
