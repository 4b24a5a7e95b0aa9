-- The decisions of shared batches, by themselves: no database, no server, no time. spec/long/shared_model.lua gives
-- them more events.
-- SPDX-License-Identifier: Apache-2.0
local model = require "spec.support.shared_model"

describe("programs that share a batch", function()
  for _, seed in ipairs { 1, os.time() } do
    it("send each circuit once and tell the same ends, whoever dies or is declared dead: seed " .. seed, function()
      local unknown, events, refused = model.run(seed, 20)
      assert.is_true(events > 10000 and unknown > 0 and refused > 0, "nothing has happened")
    end)
  end

  it("would write over each other's ends without the fence", function()
    local ok, message = pcall(model.run, 1, 20, "fence")
    assert.is_false(ok)
    assert.matches("written over", message)
  end)

  it("would mix the circuits of two batches, if they sent something before each claim was compared", function()
    local ok, message = pcall(model.run, 1, 20, "settle")
    assert.is_false(ok)
    assert.matches("mixed", message)
  end)
end)
