-- What follows of a job that is polled: the decisions alone, with a clock of their own.
-- SPDX-License-Identifier: Apache-2.0
local parts = {
  ["arvak.base.errors"] = {
    new = function(kind, message, fields)
      local err = { kind = kind, message = message }
      for name, value in pairs(fields or {}) do err[name] = value end
      return err
    end,
    seconds = function(seconds) return ("%g"):format(seconds) end,
  },
  ["arvak.results.records"] = {
    is_terminal = { COMPLETED = true, FAILED = true, CANCELED = true, RESULT_EXPIRED = true },
  },
}
local environment = setmetatable({ require = function(name) return parts[name] end }, { __index = _G })
local poll = assert(loadfile("lua/arvak/jobs/poll.lua", "t", environment))()

local PATIENCE, INTERVAL = 30, 1

local function no_jitter() return 0.5 end

local function new_rules(more)
  local rules = { interval = INTERVAL, patience = PATIENCE, target = "there:1", random = no_jitter }
  for name, value in pairs(more or {}) do rules[name] = value end
  return rules
end

local function unavailable(more)
  local err = { kind = "unavailable", message = "gone", retryable = true }
  for name, value in pairs(more or {}) do err[name] = value end
  return err
end

-- Follows a job with answers from give(action, now), a call taking no time: the result or nil, the error, the time, and
-- the times of the calls. at_rest(now), if given, is called where the job is let rest.
local function follow(rules, give, followed, at_rest)
  followed = followed or {}
  followed.job_id = followed.job_id or "j"
  local action, at, err = "look", poll.start(followed, rules, 0), nil
  local now, times = 0, {}
  while action ~= "end" do
    assert.is_true(at >= now, "the next step lies in the past")
    now = at
    if action == "rest" then
      if at_rest then at_rest(now) end
      action, at, err = poll.decide(followed, rules, now, "rested")
    else
      times[#times + 1] = now
      assert.is_true(#times < 100000, "this goes on for ever")
      action, at, err = poll.decide(followed, rules, now, give(action, now))
    end
  end
  return at, err, now, times
end

local function status(state) return "status", { job_id = "j", state = state } end

describe("a job that is polled", function()
  it("is looked at at once, then soon, then at pauses that grow up to the interval", function()
    local count = 0
    local result, err, _, times = follow(new_rules(), function(action)
      count = count + 1
      if action == "fetch" then return "result", "the result" end
      return status(count < 30 and "RUNNING" or "COMPLETED")
    end)
    assert.equal("the result", result)
    assert.is_nil(err)
    assert.equal(0, times[1])
    assert.is_true(times[2] > 0 and times[2] <= 0.002, times[2])
    for i = 3, 10 do
      assert.near(1.3, (times[i + 1] - times[i]) / (times[i] - times[i - 1]), 1e-6)
    end
    assert.near(INTERVAL, times[30] - times[29], 1e-6)
    assert.equal(times[30], times[31])   -- the result is fetched at once
  end)

  it("keeps its pauses within a fifth, whatever chance says", function()
    for _, random in ipairs { function() return 0 end, function() return 1 end, math.random } do
      local rules = new_rules { random = random }
      local followed = { job_id = "j" }
      local at = poll.start(followed, rules, 0, 0.5, 0.5)
      assert.is_true(at >= 0.4 and at <= 0.6)
      local _, next_at = poll.decide(followed, rules, at, status("QUEUED"))
      assert.is_true(next_at - at >= 0.4 - 1e-9 and next_at - at <= 0.6 + 1e-9)
    end
  end)

  it("ends with the error of its state, and what comes later changes nothing", function()
    for state, kind in pairs { FAILED = "job_failed", CANCELED = "job_canceled", RESULT_EXPIRED = "result_expired" } do
      local followed, rules = { job_id = "j" }, new_rules()
      poll.start(followed, rules, 0)
      local action, result, err = poll.decide(followed, rules, 1, status(state))
      assert.equal("end", action)
      assert.is_nil(result)
      assert.equal(kind, err.kind)
      assert.equal("there:1", err.target)
      for _, event in ipairs { "status", "result", "error" } do
        assert.equal("over", (poll.decide(followed, rules, 2, event, { state = "COMPLETED" })))
      end
    end
  end)

  it("ends at once with an error that repeating cannot mend, at a look and at the result", function()
    for _, at_fetch in ipairs { false, true } do
      local final = { kind = "job_not_found", message = "no" }
      local _, err, now = follow(new_rules(), function(action)
        if at_fetch and action == "look" then return status("COMPLETED") end
        return "error", final
      end)
      assert.equal(final, err)
      assert.equal(0, now)
    end
  end)

  it("is looked at at the end of max_wait, and not after it", function()
    local rules = new_rules { max_wait = 7.3 }
    local _, err, now, times = follow(rules, function() return status("RUNNING") end, { _ends_at = 7.3 })
    assert.equal(7.3, now)
    assert.equal(7.3, times[#times])
    assert.equal("timeout", err.kind)
    assert.equal("wait", err.scope)
    assert.equal(7.3, err.elapsed)
    assert.matches("max_wait = 7.3 s %(last seen RUNNING%)", err.message)
  end)

  it("tolerates errors that may pass until max_wait, and says the server's words then", function()
    local _, err, now = follow(new_rules { max_wait = 100 }, function(_, time)
      if time == 100 then return "error", { kind = "timeout", message = "Deadline Exceeded", retryable = true } end
      return "error", unavailable()
    end, { _ends_at = 100 })
    assert.equal(100, now)
    assert.equal("timeout", err.kind)
    assert.matches("last seen never.*gone", err.message)
    assert.equal("gone", err.cause.message)
  end)

  it("tolerates them for one patience without max_wait, counted from the last usable answer", function()
    local _, err, now = follow(new_rules(), function(_, time)
      if time < 100 then return status("RUNNING") end
      return "error", unavailable { elapsed = 0 }
    end)
    assert.is_true(now >= 100 + PATIENCE and now <= 102 + PATIENCE, tostring(now))
    assert.equal("unavailable", err.kind)
    assert.equal("the server has failed for 30 s without a break: gone", err.message)
  end)

  it("counts the time that a failed call took", function()
    local followed, rules = { job_id = "j" }, new_rules()
    poll.start(followed, rules, 0)
    local action, _, err = poll.decide(followed, rules, 31, "error", { kind = "timeout", message = "late",
      retryable = true, elapsed = 30.5 })
    assert.equal("end", action)
    assert.equal("timeout", err.kind)
  end)

  it("gets over any failure that is shorter than the patience", function()
    local result = follow(new_rules(), function(action, time)
      if time % 40 > 12 then return "error", unavailable() end
      if action ~= "look" then return "result", true end
      return status(time > 400 and "COMPLETED" or "QUEUED")
    end)
    assert.is_true(result)
  end)

  for _, state in ipairs { "UNSPECIFIED", "UNKNOWN(77)", "UNKNOWN(-1)" } do
    it(("ends after one patience of %s, with an error that names it"):format(state), function()
      local _, err, now = follow(new_rules(), function() return status(state) end)
      assert.is_true(now >= PATIENCE and now <= PATIENCE + 2)
      assert.equal("timeout", err.kind)
      assert.equal("wait", err.scope)
      assert.matches("for 30 s", err.message)
      assert.is_truthy(err.message:find(state, 1, true))
    end)

    it(("is waited for over a time of %s, and until max_wait if there is one"):format(state), function()
      assert.is_true((follow(new_rules(), function(action, time)
        if action ~= "look" then return "result", true end
        return status(time < PATIENCE - 2 and state or "COMPLETED")
      end)))
      local _, err, now = follow(new_rules { max_wait = 100 }, function() return status(state) end, { _ends_at = 100 })
      assert.equal(100, now)
      assert.is_truthy(err.message:find("last seen " .. state, 1, true))
    end)
  end

  it("has one patience for errors and unknown states together", function()
    local count = 0
    local _, err, now = follow(new_rules(), function()
      count = count + 1
      if count % 2 == 0 then return status("UNSPECIFIED") end
      return "error", unavailable()
    end)
    assert.is_true(now >= PATIENCE and now <= PATIENCE + 2)
    assert.is_string(err.message)
  end)

  it("obeys the server's pushback, but looks once more at the bound", function()
    local wait_s = { 0.5, 5, 29 }
    for _, pushback in ipairs(wait_s) do
      local followed, rules = { job_id = "j" }, new_rules()
      poll.start(followed, rules, 0)
      local action, at = poll.decide(followed, rules, 1, "error", unavailable { retry_after = pushback })
      assert.equal("look", action)
      assert.near(1 + pushback, at, 1e-9)
    end
    local _, err, now, times = follow(new_rules(), function() return "error", unavailable { retry_after = 3600 } end)
    assert.equal(2, #times)
    assert.near(PATIENCE, now, 1e-9)
    assert.matches("gone", err.message)
    local _, _, ended = follow(new_rules { max_wait = 5 }, function()
      return "error", unavailable { retry_after = 3600 }
    end, { _ends_at = 5 })
    assert.equal(5, ended)
  end)

  it("waits for a breaker that says when, one more patience at most, and not for one that is forced open", function()
    local function open(retry_after)
      return { kind = "circuit_open", message = "the breaker is open", retry_after = retry_after }
    end
    assert.is_true((follow(new_rules(), function(action, time)
      if time < 45 then return "error", open(45 - time) end
      if action == "look" then return status("COMPLETED") end
      return "result", true
    end)))
    for _, retry_after in ipairs { false, 60, math.huge } do
      local _, err, now = follow(new_rules(), function() return "error", open(retry_after or nil) end)
      assert.is_true(now >= PATIENCE and now <= 2 * PATIENCE + 2, tostring(now))
      assert.equal("circuit_open", err.kind)
      assert.matches("the breaker has refused every call for 30 s", err.message)
    end
  end)

  it("is fetched in chunks when its result does not fit into one message, for the server or for us", function()
    for _, code in ipairs { 8, 11 } do
      local too_large = { code = code, kind = code == 8 and "resource_exhausted" or "rpc", retryable = false }
      local asked = {}
      local result = follow(new_rules(), function(action)
        asked[#asked + 1] = action
        if action == "look" then return status("COMPLETED") end
        if action == "fetch" then return "error", too_large end
        if #asked < 5 then return "error", unavailable() end
        return "result", "all"
      end)
      assert.equal("all", result)
      assert.same({ "look", "fetch", "chunks", "chunks", "chunks" }, asked)
    end
  end)

  it("ends within its bounds whatever comes in which order", function()
    local events = {
      function() return status("QUEUED") end, function() return status("RUNNING") end,
      function() return status("UNSPECIFIED") end, function() return status("UNKNOWN(9)") end,
      function() return "error", unavailable() end,
      function() return "error", unavailable { retry_after = 3600 } end,
      function() return "error", { kind = "circuit_open", message = "open", retry_after = 7 } end,
      function() return "error", { kind = "timeout", message = "late", retryable = true, elapsed = 3 } end,
    }
    math.randomseed(1)
    for _ = 1, os.getenv "ASAN_OPTIONS" and 100 or 2000 do   -- no C in it, and a slow collector there
      local usable_at, first = 0, math.random(3, #events)
      local with_max_wait = math.random() < 0.3
      local _, err, now = follow(new_rules { max_wait = with_max_wait and 50 or nil, random = math.random },
        function(_, time)
          local index = time < 60 and math.random(#events) or math.random(first, #events)
          if index <= 2 then usable_at = time end
          return events[index]()
        end, { _ends_at = with_max_wait and 50 or nil })
      assert.is_table(err)
      assert.is_string(err.message)
      if with_max_wait then assert.equal(50, now) end
      assert.is_true(now <= math.max(60, usable_at) + 2 * PATIENCE + 2)
    end
  end)
end)

describe("a job of a client whose jobs took as long before", function()
  local durations = assert(loadfile "lua/arvak/jobs/durations.lua")()

  -- One after the other, each of so many seconds: how long each took, and how often it was looked at.
  local function run(rules, seconds, count)
    local took, looks = {}, {}
    for i = 1, count do
      local seen = 0
      local _, _, now = follow(rules, function(action, time)
        if action == "fetch" then return "result", "the result" end
        seen = seen + 1
        return status(time >= seconds and "COMPLETED" or "RUNNING")
      end, { _since = 0 })
      took[i], looks[i] = now, seen
    end
    return took, looks
  end

  it("is looked at when it ends", function()
    for _, seconds in ipairs { 0.005, 0.02, 0.3 } do
      local took, looks = run(new_rules { durations = durations.new() }, seconds, 20)
      for i = 6, 20 do
        assert.is_true(took[i] <= 1.1 * seconds + 0.001, ("%g s: the %dth took %g"):format(seconds, i, took[i]))
        assert.is_true(looks[i] <= 6, looks[i])
      end
    end
  end)

  it("is found in time again once jobs take less, though each look at the learned time confirms it", function()
    local rules = new_rules { durations = durations.new() }
    run(rules, 0.033, 20)
    local took, looks = run(rules, 0.02, 60)
    for i = 50, 60 do
      assert.is_true(took[i] <= 0.0225, ("the %dth took %g"):format(i, took[i]))
      assert.is_true(looks[i] <= 6, looks[i])
    end
  end)

  -- As run, of one job of 20 ms; another one's end is noted once at the first rest after `noted_at`.
  local function run_beside(noted_at, ended)
    local rules = new_rules { durations = durations.new() }
    local looks = 0
    local _, _, now = follow(rules, function(action, time)
      if action == "fetch" then return "result", "the result" end
      looks = looks + 1
      return status(time >= 0.02 and "COMPLETED" or "RUNNING")
    end, { _since = 0 }, function(time)
      if time >= noted_at and not rules.durations:typical() then rules.durations:note(0.98 * ended, ended) end
    end)
    return now, looks
  end

  it("is looked at within its pause when another's end shows that it may have ended", function()
    local alone, looks = run_beside(math.huge)
    assert.is_true(alone > 0.022, alone)   -- else this shows nothing
    local now, more = run_beside(0.02, 0.02)
    assert.is_true(now < 0.02 + (alone - 0.02) / 1.5, now)
    assert.equal(looks, more)
    now, more = run_beside(0.01, 0.02)   -- what is learned earlier is the time of the next look
    assert.is_true(now < 0.022, now)
    assert.is_true(more <= looks + 3, more)
  end)

  it("keeps its pause where others take longer than that", function()
    local alone, looks = run_beside(math.huge)
    local now, as_many = run_beside(0.02, 1)
    assert.equal(alone, now)
    assert.equal(looks, as_many)
  end)

  it("is still looked at once in an interval, and at every pause where somebody is told", function()
    local known = durations.new()
    known:note(99, 100)
    local _, looks = run(new_rules { durations = known }, 50, 1)
    assert.is_true(looks[1] >= 50, looks[1])
    known = durations.new()
    known:note(0.9, 1)
    _, looks = run(new_rules { durations = known, on_progress = print }, 0.9, 1)
    assert.is_true(looks[1] >= 10, looks[1])
  end)

  it("is found soon when it takes much less or much more time than they", function()
    local known = durations.new()
    for _ = 1, 20 do known:note(0.019, 0.02) end
    local took = run(new_rules { durations = known }, 0.001, 20)
    assert.is_true(took[1] <= 0.021 and took[20] <= 0.004, took[20])
    took = run(new_rules { durations = known }, 0.2, 20)
    assert.is_true(took[1] <= 0.32 and took[20] <= 0.26, took[20])
  end)

  it("was not looked at in vain where it is not known when it was submitted", function()
    local known = durations.new()
    follow(new_rules { durations = known }, function(action)
      if action == "fetch" then return "result", 1 end
      return status "COMPLETED"
    end)
    assert.is_nil(known:typical())
  end)
end)
