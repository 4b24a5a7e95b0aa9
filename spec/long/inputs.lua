-- Random events against the states of inputs (spec/support/input_model.lua).
-- Usage: lua spec/long/inputs.lua [SEED] [COUNT], by default 1,000,000 events.
-- SPDX-License-Identifier: Apache-2.0
local model = require "spec.support.input_model"

local seed, count = math.tointeger(tonumber(arg[1] or os.time())), math.tointeger(tonumber(arg[2] or 1000000))
local ok, err = xpcall(model.run, debug.traceback, seed, count)
if not ok then
  io.stderr:write(("seed %d: %s\n"):format(seed, err))
  os.exit(1, true)
end
print(("%d events, seed %d: each input ended once, none ran twice"):format(count, seed))
