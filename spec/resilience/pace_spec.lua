-- Submits to a server that refuses them for their rate, without any option: sent again at the pace that it lets
-- through, one pace for all ways to submit.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local batches = require "spec.support.batches"
local helper = require "spec.helper"
local monotime = require("system").monotime

local bell = helper.bell
local RATE = 40   -- of the server; what is submitted below is more than two windows of it

local server, client, opened_at
local open, close = helper.fixture(function() return server, client end, function(...) server, client = ... end)

local function refuse(count, more)
  local fault = { rpc = "SubmitJob", status = "RESOURCE_EXHAUSTED", count = count, message = "Rate limit exceeded" }
  for name, value in pairs(more or {}) do fault[name] = value end
  server:fault(fault)
end

local function pace() return client:stats().pace or { held = 0, refused = 0 } end

local function submit(options) return client:submit_qasm(bell, "simulator", options or 1) end

-- All succeeded, none twice, and some were refused first, unless the machine is slower than the server's rate.
local function assert_accepted(count)
  local stats = server:stats()
  assert.equal(count, stats.accepted)
  assert.is_true(pace().refused > 0 or opened_at and monotime() - opened_at > count / RATE)
  assert.equal(0, pace().held)
end

describe("on a server that limits the rate of jobs", function()
  before_each(function()
    open { rate_limit = RATE }
    opened_at = monotime()
  end)
  after_each(function()
    close()
    opened_at = nil
  end)

  it("a plain loop submits all", function()
    for _ = 1, 100 do assert(submit()) end
    assert_accepted(100)
  end)

  it("tasks that all start at once end with their results", function()
    arvak.run(function()
      for _ = 1, 100 do arvak.spawn(function() assert(client:execute(bell, "simulator", 1)) end) end
    end)
    assert_accepted(100)
  end)

  it("the futures of a list of circuits end with their results", function()
    for _, f in ipairs(client:submit_batch_future(batches.bells(100), "simulator")) do assert(f:result()) end
    assert_accepted(100)
  end)

  it("a batch of unary calls completes", function()
    local manager <close> = arvak.batch_manager(client)
    local r = manager:execute_batch(batches.bells(100), "simulator", { transport = "unary" })
    batches.assert_whole(r, 100)
    assert.is_true(r.ok)
    assert_accepted(100)
  end)

  it("a client, its views and a batch share one pace", function()
    local view <close> = arvak.resilient(client, { retry = false })
    local manager <close> = arvak.batch_manager(view)
    local outcomes = arvak.gather {
      arvak.spawn(function() for _ = 1, 40 do assert(view:submit_qasm(bell, "simulator", 1)) end return true end),
      arvak.spawn(function() for _ = 1, 40 do assert(submit()) end return true end),
      arvak.spawn(function()
        return manager:execute_batch(batches.bells(40), "simulator", { transport = "unary" }).ok
      end),
    }
    for _, outcome in ipairs(outcomes) do assert.is_true(outcome.ok and outcome.value, tostring(outcome.err)) end
    assert_accepted(120)
  end)

  it("another process gets its share", function()
    local program = ([[
      local client <close> = require("arvak").connect(%q)
      for _ = 1, 40 do assert(client:submit_qasm(%q, "simulator", 1)) end]]):format(server.address, bell)
    local pipes = {}
    for i = 1, 3 do
      local path = os.tmpname()
      local file = assert(io.open(path, "w"))
      file:write(program)
      file:close()
      pipes[i] = assert(io.popen(("LUA_CPATH_5_4='%s' timeout 60 '%s' %s 2>&1; rm %s"):format(package.cpath,
        os.getenv("LUA") or "lua5.4", path, path)))
    end
    for _, pipe in ipairs(pipes) do assert.equal("", helper.without_log(pipe:read("a"))) end
    for _, pipe in ipairs(pipes) do pipe:close() end
    assert.equal(120, server:stats().accepted)
  end)

  it("what reads does not wait", function()
    local futures = {}
    for i = 1, 80 do futures[i] = client.async:submit_qasm(bell, "simulator", 1) end
    helper.eventually(function() return pace().held > 0 end)
    assert(client:list_backends())
    assert.is_true(pace().held > 0)
    for _, f in ipairs(futures) do assert(f:result()) end
  end)
end)

describe("on a server that limits the jobs that run", function()
  after_each(close)

  it("a submit waits for the end of another job", function()
    open { max_concurrent_jobs = 2, job_latency = 0.05 }
    arvak.run(function()
      for _ = 1, 12 do arvak.spawn(function() assert(client:execute(bell, "simulator", 1)) end) end
    end)
    assert_accepted(12)
  end)
end)

describe("a submit that is refused for its rate", function()
  before_each(open)
  after_each(close)

  local function again(options)
    client:close()
    client = arvak.connect(server.address, options)
  end

  it("ends with that error where the limiter is off", function()
    again { limiter = false }
    refuse(1)
    local _, err = submit()
    assert.same({ "resource_exhausted", 1, true, false },
      { err.kind, err.attempts, err.retryable, err.maybe_executed })
    assert(submit())
  end)

  it("is sent again without a retry, which counts its own attempts only", function()
    local told = {}
    again { retry = { max_attempts = 2, initial_backoff = 0.001, on_retry = function(e) told[#told + 1] = e end } }
    refuse(3)
    server:fault { rpc = "SubmitJob", status = "UNAVAILABLE", message = "as told" }
    local _, err = submit()
    assert.same({ "unavailable", 5 }, { err.kind, err.attempts })
    assert.same({ 1, { "SubmitJob", 1, "unavailable" } }, { #told, { told[1].rpc, told[1].attempt, told[1].err.kind } })
    assert.is_nil(client:stats().retries.RESOURCE_EXHAUSTED)
    assert.equal(3, pace().refused)
  end)

  it("takes no token of a budget", function()
    again { retry = { budget = { max_tokens = 2 } } }
    refuse(6)
    assert(submit())
    assert.equal(2, client:stats().retry_tokens or 2)
  end)

  it("waits as long as the server wants, which stops the clock of its timeout", function()
    again { timeout = 0.25 }
    refuse(2, { pushback_ms = 400 })
    local began = monotime()
    assert(submit())
    assert.is_true(monotime() - began >= 0.8)
    refuse(1, { pushback_ms = 400 })
    server:fault { rpc = "SubmitJob", hang = "before" }
    local _, err = submit()
    assert.same({ "timeout", "call", 2 }, { err.kind, err.scope, err.attempts })
  end)

  it("is not sent again where the server does not want it", function()
    refuse(1, { pushback_ms = -1 })
    local _, err = submit()
    assert.same({ "resource_exhausted", 1, false }, { err.kind, err.attempts, err.retryable })
  end)

  it("waits for no pushback of an hour", function()
    refuse(1, { pushback_ms = 3600000 })
    local _, err = submit()
    assert.same({ "resource_exhausted", 1, 3600 }, { err.kind, err.attempts, err.retry_after })
    assert(submit())
  end)

  it("waits for queue_timeout in all, and then ends with the server's words", function()
    again { queue_timeout = 0.3, timeout = 0.1 }
    refuse(nil, { message = "Rate limit exceeded: 101 req/s (limit: 100 req/s)" })
    local began = monotime()
    local _, err = submit()
    assert.is_true(monotime() - began < helper.TEST_TIMEOUT / 2)
    assert.equal("resource_exhausted", err.kind)
    assert.matches("Rate limit exceeded: 101", err.message)
    assert.is_false(err.maybe_executed)
    assert.is_true(err.attempts > 2)
  end)

  it("keeps those behind it in line, who were never sent and say so", function()
    refuse(nil, { pushback_ms = 50000 })
    local first = client.async:submit_qasm(bell, "simulator", 1)
    helper.eventually(function() return pace().held == 1 end)
    local _, err = submit { queue_timeout = 0.1 }
    assert.same({ "timeout", "queue", 0, false }, { err.kind, err.scope, err.attempts, err.maybe_executed })
    assert.matches("refuses submits for their rate", err.message)
    assert.is_true(first:cancel())
  end)

  it("ends at once when it is canceled while it waits, and leaves its turn to the next", function()
    refuse(1, { pushback_ms = 300 })
    local first = client.async:submit_qasm(bell, "simulator", 1)
    helper.eventually(function() return pace().held == 1 end)
    local second = client.async:submit_qasm(bell, "simulator", 1)
    assert.is_true(first:cancel())
    local _, err = first:result()
    assert.same({ "canceled", false }, { err.kind, err.maybe_executed })
    assert(second:result())
    assert.equal(1, server:stats().accepted)
  end)

  it("ends when its client is closed", function()
    refuse(1, { pushback_ms = 50000 })
    local f = client.async:submit_qasm(bell, "simulator", 1)
    helper.eventually(function() return pace().held == 1 end)
    client:close()
    assert.equal("closed", f:exception().kind)
  end)

  it("says nothing of the server's health, and is not sent through an open breaker", function()
    again { breaker = { failure_threshold = 1, timeout = 60 } }
    refuse(3)
    assert(submit())
    assert.equal("closed", client:breaker():state())
    refuse(1, { pushback_ms = 200 })
    local f = client.async:submit_qasm(bell, "simulator", 1)
    helper.eventually(function() return pace().refused == 4 end)
    client:breaker():force_open()
    assert.equal("resource_exhausted", f:exception().kind)
    assert.equal(1, server:stats().accepted)
  end)

  it("leaves its turn to the next when the breaker does not let it through", function()
    again { breaker = {} }
    refuse()
    local futures = {}
    for i = 1, 30 do futures[i] = client.async:submit_qasm(bell, "simulator", 1) end
    helper.eventually(function() return pace().held >= 29 end)
    client:breaker():force_open()
    local began = monotime()
    for _, f in ipairs(futures) do assert.is_truthy(f:exception()) end
    assert.is_true(monotime() - began < 10)   -- not a second for each
  end)

  it("has fresh headers when it is sent again", function()
    local keys = 0
    again { api_key = function()
      keys = keys + 1
      return "key " .. keys
    end }
    refuse(2)
    assert(submit())
    assert.equal(3, keys)
  end)

  it("is one of a batch: that is not sent again, since some of it may run, but waits for its turn", function()
    server:fault { rpc = "SubmitBatch", status = "RESOURCE_EXHAUSTED", count = 1 }
    local _, err = client:submit_batch(batches.bells(2), "simulator")
    assert.same({ "resource_exhausted", 1, true }, { err.kind, err.attempts, err.maybe_executed })
    refuse(1, { pushback_ms = 300 })
    local first, began = client.async:submit_qasm(bell, "simulator", 1), monotime()
    helper.eventually(function() return pace().held == 1 end)
    assert(client:submit_batch(batches.bells(2), "simulator"))
    assert.is_true(monotime() - began >= 0.2)
    assert(first:result())
    assert.equal(2, server:stats().calls.SubmitBatch)
  end)
end)
