-- Programs that are nearly right are refused cleanly, or mean what the slow evaluator says. spec/long/fuzz_circuits.lua
-- tries many more.
-- SPDX-License-Identifier: Apache-2.0
local mutants = require "spec.support.mutants"

local SEED, COUNT = 11, 600

describe("a program with a few changes", function()
  it("is refused cleanly, or has the distribution that the evaluator gives it", function()
    local lot, seeds, tally = mutants.lot(SEED), mutants.seeds(), { refused = 0, exact = 0, skipped = 0 }
    for i = 1, COUNT do
      local program = lot:one_of(seeds)
      local text = mutants.mutate(program.qasm, lot)
      local verdict, why = mutants.judge(text, program.inputs)
      assert.not_equal("wrong", verdict, ("mutant %d of %s: %s\n%s"):format(i, program.name, why, text))
      tally[verdict] = tally[verdict] + 1
    end
    assert.is_true(tally.refused > COUNT // 4 and tally.exact > COUNT // 8, "the mutants have become too alike")
  end)

  it("that changes its meaning is noticed", function()
    local verdict = mutants.judge("OPENQASM 2.0; qreg q[1]; creg c[1]; h q[0]; measure q -> c;")
    assert.equal("exact", verdict)
    assert.equal("refused", (mutants.judge "OPENQASM 2.0; qreg q[1]; hh q[0];"))
  end)
end)
