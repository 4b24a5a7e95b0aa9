-- What is given as a list: read once, whole, and what would be overlooked is a mistake.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"

local bell, TEST_TIMEOUT = helper.bell, helper.TEST_TIMEOUT
local server, client, manager

local start, close_both = helper.fixture(function() return server, client end, function(...) server, client = ... end)

local function open()
  start()
  manager = arvak.batch_manager(client)
end

local function close()
  manager = nil
  close_both()
end

local function later(seconds, value) return arvak.spawn(function() return arvak.sleep(seconds) and value end) end
local function message(fn, ...) return tostring(select(2, pcall(fn, ...))) end

local function drain(...)
  local count = 0
  for _ in ... do count = count + 1 end
  return count
end

-- Every function that takes futures: how many places it sees of them.
local groups = {
  ["arvak.gather"] = function(fs) return #arvak.gather(fs) end,
  ["arvak.all"] = function(fs) return #arvak.all(fs) end,
  ["arvak.wait"] = function(fs) return #arvak.wait(fs) end,
  ["arvak.as_completed"] = function(fs) return drain(arvak.as_completed(fs)) end,
  ["manager:wait_all"] = function(fs) return manager:wait_all(fs).total_count end,
  ["manager:as_completed"] = function(fs) return drain(manager:as_completed(fs)) end,
  ["manager:map"] = function(fs) return #manager:map(function(v) return v end, fs) end,
}

for name, count in pairs(groups) do
  describe(name, function()
    before_each(open)
    after_each(close)

    it("sees the list as it was when it was called, whatever is added meanwhile", function()
      assert.equal(2, arvak.run(function()
        local fs = {}
        fs[1] = arvak.spawn(function()
          arvak.sleep(0.001)
          fs[#fs + 1] = later(0.01, "late")
          return 1
        end)
        fs[2] = later(0.005, 2)
        return count(fs)
      end))
    end)

    it("sees it as it was, whatever is taken out or replaced meanwhile", function()
      assert.equal(3, arvak.run(function()
        local fs = {}
        fs[1] = arvak.spawn(function()
          arvak.sleep(0.001)
          fs[2], fs[3] = false, nil
          return 1
        end)
        fs[2], fs[3] = later(0.005, 2), later(0.006, 3)
        return count(fs)
      end))
    end)

    it("takes what table.pack makes, and a list behind a metatable, which it asks once", function()
      local f, asked = later(0, 1), 0
      assert.equal(2, count(table.pack(f, f)))
      assert.equal(3, count(setmetatable({}, {
        __len = function() return 3 end,
        __index = function(_, i)
          asked = asked + 1
          return i <= 3 and f or nil
        end,
        __pairs = function() return next, {} end,
      })))
      assert.equal(3, asked)
      assert.equal(0, count {})
    end)

    it("raises for holes, names and what is no list, at the caller's line, and forgets nothing", function()
      local f = later(0, 1)
      f:wait()
      local here = "^spec/async/lists_spec%.lua:%d+: "
      for _, case in ipairs {
        { { f, nil, f }, "futures%[2%]: got nil, expected a future" },
        { { [2] = f }, "got the key 2 in a list of 0 entries", "futures%[1%]: got nil" },
        { { a = f }, 'got the key "a" in a list of 0 entries' },
        { { f, x = f }, 'got the key "x" in a list of 1 entries' },
        { { f, [2.5] = f }, "got the key 2.5" },
        { { f, 5 }, "futures%[2%]: got 5, expected a future" },
        { { f, false }, "futures%[2%]: got false, expected a future" },
        { f, "expected a list of futures" },
        { "x", "expected a list of futures" },
        { setmetatable({}, { __len = function() return "two" end }), "a table whose length is" },
        { setmetatable({}, { __call = print, __len = function() return 1 end }), "futures%[1%]: got nil" },
      } do
        local said = message(function() local _ = count(case[1]) end)
        assert.matches(here, said)
        assert.is_truthy(said:find(case[2]) or (case[3] and said:find(case[3])), said)
      end
    end)
  end)
end

describe("arvak.map of a list", function()
  it("sees the items as they were, and raises for a hole", function()
    local items, seen = { 1, 2, 3 }, {}
    arvak.map(items, function(item)
      items[3], items[4] = "other", "more"
      seen[#seen + 1] = item
    end, { concurrency = 1 })
    assert.same({ 1, 2, 3 }, seen)
    assert.matches("^spec/async/lists_spec%.lua:%d+: map: items%[2%]: got nil",
      message(function() local _ = arvak.map({ 1, nil, 3 }, print) end))
    assert.matches('map: items: got the key "a"', message(function() local _ = arvak.map({ a = 1 }, print) end))
  end)

  it("takes a table that can be called as an iterator", function()
    local left = 3
    local iterator = setmetatable({}, { __call = function()
      left = left - 1
      return left >= 0 and left or nil
    end })
    assert.equal(3, #arvak.map(iterator, function(n) return n end))
  end)
end)

describe("circuits", function()
  before_each(open)
  after_each(close)

  -- Everything that takes circuits: how many of them it ran.
  local takers = {
    ["manager:execute_batch"] = function(circuits) return manager:execute_batch(circuits, "simulator").total_count end,
    ["manager:submit_many"] = function(circuits)
      return manager:wait_all(manager:submit_many(circuits, "simulator")).total_count
    end,
    ["client:submit_batch"] = function(circuits) return #client:submit_batch(circuits, "simulator") end,
    ["client:submit_batch_future"] = function(circuits)
      local fs = client:submit_batch_future(circuits, "simulator")
      arvak.wait(fs, { timeout = TEST_TIMEOUT })
      return #fs
    end,
    ["client:submit_batch_stream"] = function(circuits)
      return drain(client:submit_batch_stream(circuits, "simulator")) // 2   -- "submitted" and "completed"
    end,
  }

  for name, run in pairs(takers) do
    it(("for %s: nothing is sent of a list with a hole or a name"):format(name), function()
      local one = { bell, 10 }
      for _, circuits in ipairs { { one, nil, one }, { one, x = one }, { x = one }, { one, 5 } } do
        assert.matches("^spec/async/lists_spec%.lua:%d+: circuits", message(function() local _ = run(circuits) end))
      end
      assert.equal(0, server:stats().accepted)
      assert.equal(2, run { one, one })
    end)
  end

  for _, name in ipairs { "manager:execute_batch", "client:submit_batch_stream" } do
    it(("for %s: a table that can be called is an iterator"):format(name), function()
      local left = 3
      assert.equal(3, takers[name](setmetatable({}, { __call = function()
        left = left - 1
        return left >= 0 and { bell, 10 } or nil
      end })))
    end)

    it(("for %s: a list is run as it was when it was given"):format(name), function()
      local circuits = {}
      for i = 1, 60 do circuits[i] = { bell, i } end
      local count = 0
      if name == "manager:execute_batch" then
        local r = manager:execute_batch(circuits, "simulator", { on_result = function()
          circuits[60], circuits[61] = setmetatable({}, { __index = function() error("boom") end }), { bell, 1 }
        end })
        assert.equal(60, r.items[60].result.shots)
        count = r.success_count
      else
        for event, i, _, data in client:submit_batch_stream(circuits, "simulator") do
          circuits[60], circuits[61] = false, { bell, 1 }
          if event == "completed" then
            assert.equal(i, data.shots)
            count = count + 1
          end
        end
      end
      assert.equal(60, count)
    end)
  end

  it("are copied when an iterator gives them, which may use one table for all", function()
    local function reusing()
      local entry, i = { shots = 0 }, 0
      return function()
        i = i + 1
        if i > 3 then return nil end
        entry.qasm, entry.shots = ("OPENQASM 3.0; qubit[3] q; x q[%d];"):format(i - 1), 10 * i
        return entry
      end
    end
    local expected = { "001", "010", "100" }
    for _, transport in ipairs { "stream", "unary" } do
      local r = manager:execute_batch(reusing(), "simulator", { transport = transport })
      for i, bits in ipairs(expected) do
        assert.equal(bits, r.items[i].result:most_frequent())
        assert.equal(10 * i, r.items[i].result.shots)
      end
    end
    for event, i, _, data in client:submit_batch_stream(reusing(), "simulator") do
      if event == "completed" then assert.equal(expected[i], data:most_frequent()) end
    end
  end)

  it("are what their iterator gave also when they are retried", function()
    server:fault { rpc = "SubmitJob", status = "PERMISSION_DENIED", count = 3 }
    local entry, i = {}, 0
    local r = manager:execute_batch(function()
      i = i + 1
      if i > 3 then return nil end
      entry.qasm = ("OPENQASM 3.0; qubit[3] q; x q[%d];"):format(i - 1)
      return entry
    end, "simulator", { transport = "unary" })
    assert.equal(3, r.failure_count)
    r = r:retry_failed()
    for k, bits in ipairs { "001", "010", "100" } do assert.equal(bits, r.items[k].result:most_frequent()) end
  end)

  it("may inherit from a metatable, which is asked once", function()
    local defaults, asked = { shots = 7, optimization_level = 0 }, {}
    local meta = { __index = function(_, key)
      asked[key] = (asked[key] or 0) + 1
      return defaults[key]
    end }
    local left = 1
    local r = manager:execute_batch(function()
      left = left - 1
      return left == 0 and setmetatable({ qasm = bell }, meta) or nil
    end, "simulator")
    assert.equal(7, r.items[1].result.shots)
    for key, times in pairs(asked) do assert.equal(1, times, key) end
  end)

  for name, broken in pairs {
    __index = function() return setmetatable({}, { __index = function() error("boom") end }) end,
    __pairs = function() return setmetatable({ bell, 10 }, { __pairs = function() error("boom") end }) end,
    __metatable = function() return setmetatable({ bell, 10 }, { __metatable = 42 }) end,
  } do
    it(("with a strange %s are the matter of their own place, or run"):format(name), function()
      local i = 0
      local r = assert(manager:execute_batch(function()
        i = i + 1
        if i == 3 then return broken() end
        return i <= 5 and { bell, 10 } or nil
      end, "simulator"))
      assert.equal(5, r.total_count)
      if name == "__index" then
        assert.equal("invalid_circuit", r.items[3].err.kind)
        assert.matches("circuits%[3%]: reading it raised an error: .*boom", r.items[3].err.message)
      else
        assert.is_truthy(r.items[3].result)
      end
      for _, k in ipairs { 1, 2, 4, 5 } do assert.is_truthy(r.items[k].result) end
    end)
  end
end)
