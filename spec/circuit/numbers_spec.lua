-- Numbers of the language where programs and tools differ: each program turns a qubit by what an expression comes to,
-- and the outcome says by how much. The library and the evaluator of the tests are both held against the number.
-- SPDX-License-Identifier: Apache-2.0
local evaluator = require "spec.support.evaluator"
local programs = require "spec.support.programs"

local HEAD = 'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit q; bit c;\n'

-- What a name promises, a program up to the measurement, and the angle of the qubit's turn about y or x.
local ROWS = {
  { "takes an integer argument of an own gate as an angle", "gate g(a) b { ry(a / 2) b; } g(1) q;", 0.5 },
  { "takes a variable as argument of an own gate as an angle", "gate g(a) b { ry(a / 2) b; } int n = 3; g(n) q;", 1.5 },
  { "divides exactly in pow's argument", "pow(1 / 3) @ x q;", math.pi / 3 },
  { "divides exactly by a constant in pow's argument", "const int n = 4; pow(1 / n) @ x q;", math.pi / 4 },
  { "truncates everywhere else", "ry(7 / 2 * 0.1) q;", 0.3 },
  { "truncates toward zero", "ry(-7 / 2 * 0.1) q;", -0.3 },
  { "shifts negative integers with their sign", "int a = -7; ry((a >> 1) * 0.1) q;", -0.4 },
  { "shifts negative integers of a size with their sign", "int[8] a = -8; ry((a >> 2) * 0.1) q;", -0.2 },
  { "shifts bits of a uint off its end", "uint[3] a = 5; ry((a << 1) * 0.1) q;", 0.2 },
  { "wraps a sum of two integers of one size", "uint[2] a = 3; uint[2] b = 3; ry((a + b) * 0.1) q;", 0.2 },
  { "computes with the wider of two integers", "uint[2] a = 3; int[8] b = 10; ry((a + b) * 0.1) q;", 1.3 },
  { "computes with the wider of two integers on the left, too", "int[8] a = 10; uint[2] b = 3; ry((a + b) * 0.1) q;",
    1.3 },
  { "does not wrap a sum with a literal", "uint[2] a = 3; ry((a + 3) * 0.1) q;", 0.6 },
  { "inverts the bits that an integer has", "uint[4] a = 5; ry(~a * 0.1) q;", 1.0 },
  { "negates within the size of a uint", "uint[4] a = 5; ry(-a * 0.1) q;", 1.1 },
  { "counts a negative index from the end of an integer", "uint[3] a = 4; ry(a[-1] * 0.3) q;", 0.3 },
  { "rounds an angle to its bits", "angle[4] a = 1.0; ry(a) q;", 3 * math.pi / 8 },
  { "has bits of an angle", "angle[4] a = 5 * pi / 8; { bit[4] b = bit[4](a); ry(b[0] * 0.1 + b[2] * 0.2 + b[1]) q; }",
    0.3 },
  { "writes bits of an angle", "angle[4] a = 0; a[2] = 1; a[0:1] = \"10\"; ry(a) q;", 6 * math.pi / 8 },
  { "adds angles on the circle", "angle[4] a = 5 * pi / 4; angle[4] b = pi; ry((a + b) / 2) q;", math.pi / 8 },
  { "shifts angles", "angle[4] a = 9 * (pi / 8); ry(a << 2) q;", math.pi / 2 },
  { "divides an angle by an angle to an integer", "angle[4] a = 5 * (pi / 4); angle[4] b = pi / 8; ry(a / b * 0.1) q;",
    1.0 },
  { "compares angles on the circle", "angle[4] a = 3 * pi / 2; if (2 * a < a) ry(0.4) q;", 0.4 },
  { "takes an angle without a size as a real number", "angle a = -0.6; ry(a / 2) q;", -0.3 },
  { "counts a register beside an integer as one", '{ bit[3] b = "101"; ry((b | 8) * 0.1) q; }', 1.3 },
  { "counts a register beside a negative integer as one",
    '{ int[4] k = -2; bit[3] b = "001"; ry((k | b) * 0.1) q; }', -0.1 },
  { "takes ^ as xor", "ry((6 ^ 3) * 0.1) q;", 0.5 },
}

describe("a number of version 3", function()
  for _, row in ipairs(ROWS) do
    it(row[1], function()
      local text = HEAD .. row[2] .. " c = measure q;"
      local one = math.sin(row[3] / 2) ^ 2
      local expected = { ["0"] = 1 - one, ["1"] = one }
      local got, err = programs.exact { qasm = text }
      assert(got, tostring(err))
      assert.is_true(programs.distance(expected, got) < 1e-9, "the library: " .. tostring(got["1"]))
      local own, why = evaluator.probabilities(text)
      assert(own, why and why.evaluator)
      assert.is_true(programs.distance(expected, own) < 1e-9, "the evaluator: " .. tostring(own["1"]))
    end)
  end
end)
