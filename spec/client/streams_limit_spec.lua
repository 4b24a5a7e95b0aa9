-- Calls that wait inside gRPC for a stream of their connection: their errors say that they were not sent.
-- environment: GRPC_POLL_STRATEGY=poll
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"
local raw = require "spec.support.peer"

local LIMIT, MORE = 100, 30
local peer, client

-- Takes so many streams at a time and answers none of them.
local function start(options)
  peer = raw.start()
  peer:plan("connections", { raw.allow_streams(LIMIT) })
  peer:plan("requests", { raw.job("job", 3), raw.hang() })
  client = assert(arvak.connect("ipv4:" .. peer:address(), {
    pool_size = 1, max_concurrent_rpcs = LIMIT + MORE, limiter = false, retry = options and options.retry,
  }))
  assert(client:get_job_status("job"))   -- now the limit is known
end

-- Submits so many at once, in tasks.
local function submit(count, options)
  local tasks = {}
  for i = 1, count do
    tasks[i] = arvak.spawn(function() return client:submit_qasm(helper.bell, "simulator", options) end)
  end
  return tasks
end

-- As many as the server takes are under way, and as many more wait for them inside gRPC.
local function crowd(options)
  local sent = submit(LIMIT, { timeout = 60 })
  helper.eventually(function() return peer:stats().whole == 1 + LIMIT end)
  return sent, submit(MORE, options)
end

local function cancel(tasks)
  for _, task in ipairs(tasks) do task:cancel() end
  return tasks
end

-- Their ends, which are all of this kind: whether each may have been executed, and what its error says.
local function check_all(tasks, kind, maybe_executed)
  for _, task in ipairs(tasks) do
    local _, err = task:result(helper.TEST_TIMEOUT)
    assert.equal(kind, err.kind)
    assert.equal(maybe_executed, err.maybe_executed)
  end
end

describe("calls beyond what the server lets a connection have", function()
  after_each(function()
    client:close()
    peer:stop()
    client, peer = nil, nil
    helper.assert_clean()
  end)

  it("that end with their timeout were surely not sent", function()
    start()
    local sent, kept = crowd { timeout = 0.5 }
    check_all(kept, "timeout", false)
    for _, task in ipairs(kept) do
      assert.matches("not sent within its timeout: the server lets a connection have no more calls at once",
        select(2, task:result(helper.TEST_TIMEOUT)).message, 1, true)
    end
    check_all(cancel(sent), "canceled", true)
    assert.equal(1 + LIMIT, peer:stats().whole)
  end)

  it("are tried again by a retry", function()
    start { retry = { max_attempts = 2, initial_backoff = 0.01 } }
    local sent, kept = crowd { timeout = 3, attempt_timeout = 0.3 }
    for _, task in ipairs(kept) do assert.equal(2, select(2, task:result(helper.TEST_TIMEOUT)).attempts) end
    check_all(cancel(sent), "canceled", true)
  end)

  it("are sent when others have ended", function()
    start()
    local sent, kept = crowd { timeout = 1 }
    for i = 1, MORE do sent[i]:cancel() end
    check_all(kept, "timeout", true)
    cancel(sent)
    for _, task in ipairs(sent) do task:result(helper.TEST_TIMEOUT) end
    assert.equal(1 + LIMIT + MORE, peer:stats().whole)
  end)
end)
