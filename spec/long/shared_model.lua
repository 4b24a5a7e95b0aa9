-- A million random events against the decisions of shared batches (spec/support/shared_model.lua).
-- Usage: lua spec/long/shared_model.lua [SEED] [BATCHES]
-- SPDX-License-Identifier: Apache-2.0
local model = require "spec.support.shared_model"

local seed = math.tointeger(tonumber(arg[1] or os.time()))
local unknown, events, refused = model.run(seed, math.tointeger(tonumber(arg[2] or 500)))
print(("seed %d: %d events, %d circuits unknown, none sent twice, every end told once and alike; %d programs with "
  .. "other circuits refused, none mixed in"):format(seed, events, unknown, refused))
