-- Work that was put in runs soon, whoever put it in and whoever drives: see spec/support/waking.lua. ARVAK_SEED=n runs
-- one order again; spec/long/waking.lua runs longer, with a tighter bound.
-- SPDX-License-Identifier: Apache-2.0
local helper = require "spec.helper"
local waking = require "spec.support.waking"

local SECONDS = 1.5
local LATE = 0.25   -- seconds that a busy machine may be late; the long run has the tight bound
local seed = tonumber(os.getenv "ARVAK_SEED") or os.time()

describe("work put in at random", function()
  after_each(helper.assert_clean)

  for _, driver in ipairs(waking.drivers) do
    it("runs soon with the driver " .. driver, function()
      local result = waking.run(driver, seed, SECONDS)
      local worst, kind, noise = waking.figures(result)
      local figures = ("%s, seed %d: %.1f ms at worst (%s), noise of the machine %.1f ms"):format(driver, seed,
        worst * 1e3, kind, noise * 1e3)
      print(figures)
      assert.equal("", table.concat(result.hung, ", "), figures)
      assert.is_true(worst <= math.max(LATE, 20 * noise), figures)
    end)
  end
end)
