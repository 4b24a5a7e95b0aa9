-- Programs with a few changes, by lot: each is refused cleanly or means what the slow evaluator says, and none takes
-- the machine. Stops at the first that does not, and prints it.
-- Usage: lua spec/long/fuzz_circuits.lua [SEED] [COUNT], by default 200,000.
-- SPDX-License-Identifier: Apache-2.0
local mutants = require "spec.support.mutants"

local MOST_HEAP = 400 * 1024   -- kilobytes of Lua's, that no mutant may need
local seed, count = math.tointeger(tonumber(arg[1] or os.time())), math.tointeger(tonumber(arg[2] or 200000))
local lot, seeds, tally = mutants.lot(seed), mutants.seeds(), { refused = 0, exact = 0, skipped = 0 }

io.stdout:setvbuf "line"
print(("seed %d, %d mutants of %d programs"):format(seed, count, #seeds))
for i = 1, count do
  local program = lot:one_of(seeds)
  local text = mutants.mutate(program.qasm, lot)
  local verdict, why = mutants.judge(text, program.inputs)
  if verdict == "wrong" or collectgarbage "count" > MOST_HEAP then
    print(("mutant %d of %s: %s\n%s"):format(i, program.name, why or "it took too much memory", text))
    os.exit(1)
  end
  tally[verdict] = tally[verdict] + 1
  if i % 10000 == 0 then
    print(("%d: %d refused, %d exact, %d too much for the evaluator"):format(i, tally.refused, tally.exact,
      tally.skipped))
  end
end
