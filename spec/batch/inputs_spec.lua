-- The states of inputs, by themselves: no server, no time. spec/long/inputs.lua gives them a million events.
-- SPDX-License-Identifier: Apache-2.0
local inputs = assert(loadfile "lua/arvak/batch/inputs.lua")()
local model = require "spec.support.input_model"

local function canceled() return { kind = "canceled" } end

-- An input that has been told of these events: the ledger, the input, the last effect.
local function told(events, resubmits)
  local ledger = inputs.new(resubmits)
  local input, effect = ledger:draw { index = 1 }, nil
  for _, event in ipairs(events) do effect = ledger:tell(input, table.unpack(event)) end
  return ledger, input, effect
end

local function sent(...) return { { "release" }, { "send", 0 }, ... } end

describe("an input", function()
  for _, seed in ipairs { 1, os.time() } do
    it("ends once, and is not sent again when it may have run, whatever happens: seed " .. seed, function()
      model.run(seed, 50000)
    end)
  end

  it("whose job is canceled with its batch ends as its batch, whichever answer comes first", function()
    local seen = { "see", "CANCELED", { kind = "job_canceled" } }
    for _, last in ipairs { { "cancel" }, seen } do
      local _, input = told(sent({ "accept", "j" }, { "recall", canceled() }, last))
      assert.equal("canceled", input.err.kind)
      assert.equal("j", input.err.job_id)
    end
    local lost = { "refuse_cancel", { kind = "unavailable", maybe_executed = true } }
    local ledger, input, effect = told(sent({ "accept", "j" }, { "recall", canceled() }, lost))
    assert.equal("look", effect)
    ledger:tell(input, table.unpack(seen))
    assert.equal("canceled", input.err.kind)
  end)

  it("whose job has ended before it could be canceled has that end", function()
    local refused = { "refuse_cancel", { kind = "not_cancelable" } }
    local recalled = sent({ "accept", "j" }, { "recall", canceled() }, refused)
    local ledger, input = told(recalled)
    ledger:tell(input, "see", "FAILED", { kind = "job_failed" })
    assert.equal("job_failed", input.err.kind)
    ledger, input = told(recalled)
    ledger:tell(input, "see", "COMPLETED")
    ledger:tell(input, "expire", { kind = "timeout" })
    assert.equal("timeout", input.err.kind)   -- its result has not come in time
    ledger, input = told(recalled)
    ledger:tell(input, "complete", "counts")
    assert.equal("counts", input.result)
    assert.is_nil(input.err)
    assert.equal(1, ledger.completed)
  end)

  it("that is recalled while it is being sent says what is known when the answer has come", function()
    local err = { kind = "canceled", maybe_executed = true }
    local _, input, effect = told(sent({ "recall", err }, { "accept", "j" }))
    assert.equal("canceling", input.state)
    assert.equal("cancel", effect)
    assert.is_false(err.maybe_executed)
    err = { kind = "canceled", maybe_executed = true }
    _, input = told(sent({ "recall", err }, { "unsend" }))
    assert.same({ kind = "canceled", maybe_executed = false, attempts = 0 }, input.err)
    err = { kind = "canceled", maybe_executed = true }
    _, input = told(sent({ "recall", err }, { "lose", { kind = "unavailable", maybe_executed = true } }), true)
    assert.is_true(input.err.maybe_executed)
  end)

  it("is submitted five times at most, and follows a job that turns up late", function()
    local ledger, input = told({ { "release" } }, true)
    for attempt = 1, 5 do
      ledger:tell(input, "send", attempt)
      ledger:tell(input, "lose", { kind = "unavailable", maybe_executed = true })
    end
    assert.equal("ended", input.state)
    assert.equal(5, input.attempts)
    local effect
    ledger, input = told(sent({ "lose", { kind = "unavailable" } }), true)
    assert.is_false(inputs.is_unsent(input))
    effect = ledger:tell(input, "accept", "j")
    assert.equal("follow", effect)
    assert.equal("running", input.state)
    assert.equal("cancel_stray", ledger:tell(input, "accept", "k"))
    assert.is_nil(ledger:tell(input, "accept", "j"))
  end)

  it("goes on where an earlier run has left it", function()
    local timeout = { kind = "timeout" }
    for plan, item in pairs {
      keep = { state = "completed", result = {} }, attach = { state = "failed", job_id = "j", err = timeout },
      new = { state = "failed", err = timeout }, unknown = { state = "intent" },
    } do
      assert.equal(plan, inputs.plan(item, false, false))
    end
    assert.equal("again", inputs.plan({ state = "intent" }, true, false))
    assert.equal("again", inputs.plan({ state = "unknown", err = { kind = "rpc" } }, true, false))
    assert.equal("keep", inputs.plan({ state = "unknown", err = { kind = "rpc" } }, false, false))
    for kind, plan in pairs { job_failed = "new", job_canceled = "new", job_not_found = "new", rpc = "attach",
      unauthenticated = "attach", timeout = "attach" } do
      assert.equal(plan, inputs.plan({ state = "failed", job_id = "j", err = { kind = kind } }, false, true))
    end
    assert.equal("keep", inputs.plan({ state = "failed", job_id = "j", err = { kind = "job_failed" } }, false, false))
    local _, input, effect = told { { "attach", "j", true }, { "see", "CANCELED", { kind = "job_canceled" } } }
    assert.equal("again", effect)
    assert.is_nil(input.job_id)
    _, input = told { { "attach", "j", false }, { "see", "CANCELED", { kind = "job_canceled" } } }
    assert.equal("job_canceled", input.err.kind)
  end)
end)
