-- Integers of the language: their types in operations, as in C, and unsigned ones, which wrap. Each row is a program
-- with the bits that it comes to, worked out by hand, once with values that are known and once with the same values
-- measured. The library and the evaluator of the tests are both held against them.
-- SPDX-License-Identifier: Apache-2.0
local evaluator = require "spec.support.evaluator"
local programs = require "spec.support.programs"

local HEAD = 'OPENQASM 3.0;\ninclude "stdgates.inc";\n'

-- What a name promises, declarations of values, and conditions with what they come to. In the declarations N(k) stands
-- for a value from 0 to 7: the number itself, or one that was measured.
local ROWS = {
  { "wraps a uint without a size at 64 bits", "uint u = N(1); u = u - 3;",
    { ["u > 5"] = true, ["u < 0"] = false, ["u == 18446744073709551614"] = true, ["u + 2 == 0"] = true } },
  { "wraps a uint of 64 bits", "uint[64] u = N(0); u -= 1;",
    { ["u > 0"] = true, ["u == 0xFFFFFFFFFFFFFFFF"] = true, ["u / 2 == 9223372036854775807"] = true } },
  { "wraps a uint of few bits", "uint[3] u = N(1); u = u - 3;", { ["u == 6"] = true, ["u < 0"] = false } },
  { "wraps a product", "uint[64] u = N(3); u = u * 6148914691236517206;", { ["u == 2"] = true, ["u < 0"] = false } },
  { "wraps minus", "uint u = N(1); uint v = -u;", { ["v > u"] = true, ["v == 18446744073709551615"] = true } },
  { "inverts the 64 bits of a uint without a size", "uint u = N(1); uint v = ~u;",
    { ["v == 18446744073709551614"] = true, ["v > u"] = true, ["v < 0"] = false } },
  { "divides what has wrapped as what it is", "uint u = N(1); u = u - 3;",
    { ["u / 3 == 6148914691236517204"] = true, ["u % 10 == 4"] = true, ["u / 18446744073709551615 == 0"] = true,
      ["u / (u - 1 | 1) == 1"] = true, ["7 / (u | 1) == 0"] = true } },
  { "shifts what has wrapped without a sign", "uint u = N(1); u = u - 3;",
    { ["u >> 60 == 15"] = true, ["u >> 63 == 1"] = true, ["u << 1 == 18446744073709551612"] = true } },
  { "shifts an int with its sign", "int k = N(1); k = k - 3;", { ["k >> 1 == -1"] = true, ["k >> 60 == -1"] = true } },
  { "computes with a uint of few bits and a literal as the wider int", "uint[3] u = N(1);",
    { ["u - 3 < 0"] = true, ["u - 3 == -2"] = true, ["(u - 4) / 2 == -1"] = true } },
  { "computes with a uint and a literal as uint", "uint u = N(1);", { ["u - 3 < 0"] = false, ["u - 3 > 5"] = true } },
  { "computes with an int and a literal as int", "int k = N(1);", { ["k - 3 < 0"] = true, ["k - 3 > 5"] = false } },
  { "compares equally wide integers as uint", "int k = N(1); k = k - 3; uint u = N(4);",
    { ["k > u"] = true, ["u < k"] = true, ["k == 18446744073709551614"] = true } },
  { "compares equally wide short integers as uint", "int[4] k = N(1); k = k - 3; uint[4] u = N(4);",
    { ["k > u"] = true, ["u + 10 == k"] = false, ["u == k"] = false } },
  { "compares a wider int with a uint as int", "int[8] k = N(1); k = k - 3; uint[4] u = N(4);",
    { ["k < u"] = true } },
  { "divides equally wide integers as uint", "int[4] k = N(1); k = k - 3; uint[4] u = 4;",
    { ["k / u == 3"] = true } },
  { "keeps the bits of a uint that becomes an int", "uint u = N(1); u = u - 3; int k = u;",
    { ["k == -2"] = true, ["k < 0"] = true, ["uint(k) == u"] = true } },
  { "cuts the bits of a uint that becomes a shorter one", "uint u = N(1); u = u - 3; uint[3] v = u;",
    { ["v == 6"] = true } },
  { "has bits of what has wrapped", "uint u = N(1); u = u - 3;",
    { ["u[63] == 1"] = true, ["u[0] == 0"] = true, ["u[1] == 1"] = true } },
  { "writes bits of a uint", "uint[64] u = N(1); u[63] = 1;",
    { ["u == 9223372036854775809"] = true, ["u > 5"] = true, ["u[63] == 1"] = true } },
  { "counts the bits of what has wrapped", "uint u = N(0); u = u - 1; int[8] k = N(0); k = k - 1;",
    { ["popcount(u) == 64"] = true, ["popcount(k) == 8"] = true } },
  { "turns the bits of an int with its sign", "int[4] k = N(5);",
    { ["rotl(k, 1) == -6"] = true, ["rotl(k, 1) < 0"] = true } },
  { "compares what has wrapped with real numbers", "uint u = N(1); u = u - 3;",
    { ["u > 1.5"] = true, ["u < 1e30"] = true, ["u > 1e19"] = true, ["u < 0.0"] = false } },
  { "assigns with an operator", "uint u = N(2); u -= 3; u /= 2;", { ["u == 9223372036854775807"] = true } },
  { "chooses a case of what has wrapped", "uint u = N(2); u -= 3; bit hit = 0;" ..
    " switch (u) { case 5 { hit = 0; } case 18446744073709551615 { hit = 1; } default { hit = 0; } }",
    { ["hit == 1"] = true } },
  { "takes an unsigned value out of a subroutine", "def f(uint a) -> uint { return a - 3; } uint u = f(N(1));",
    { ["u > 5"] = true } },
  { "compares a register with a number below 0 as what it is", "int k = N(1); k = k - 3; bit[2] b = N(2);",
    { ["b > k"] = true, ["b == k"] = false, ["b > -1"] = true } },
  { "takes a register for an int beside an integer", "bit[2] b = N(1);",
    { ["b - 3 < 0"] = true, ["b - 3 == -2"] = true } },
}

-- The program with N(k) as it is given, its conditions in bits; and the key of its last register that they come to.
local function program(row, value)
  local head = row[2]:gsub("N(%b())", value)   -- value: of a number in parentheses
  local names, lines, key = {}, {}, ""
  for condition in pairs(row[3]) do names[#names + 1] = condition end
  table.sort(names)
  for i, condition in ipairs(names) do
    lines[i] = ("r[%d] = %s;"):format(i - 1, condition)
    key = (row[3][condition] and "1" or "0") .. key
  end
  return head .. (" bit[%d] r; "):format(#names) .. table.concat(lines, " "), key
end

-- The bits of the last register of an outcome that is certain.
local function last_register(probabilities, size)
  local key, p = next(probabilities)
  assert.is_true(p > 1 - 1e-9, "not certain: " .. key)
  return key:sub(1, size)
end

local function check(text, key)
  local got, err = programs.exact { qasm = text }
  assert(got, tostring(err))
  assert.equal(key, last_register(got, #key), "the library: " .. text)
  local own, why = evaluator.probabilities(text)
  assert(own, why and why.evaluator)
  assert.equal(key, last_register(own, #key), "the evaluator: " .. text)
end

-- A register of three bits that holds a value whenever it is measured, and what stands for it afterwards.
local function measured(number, index)
  local lines = { ("qubit[3] q%d; bit[3] m%d; x q%d;"):format(index, index, index) }
  for i = 0, 2 do
    if number >> i & 1 == 0 then lines[#lines + 1] = ("x q%d[%d];"):format(index, i) end
  end
  lines[#lines + 1] = ("m%d = measure q%d; "):format(index, index)
  return table.concat(lines, " "), ("int[64](m%d)"):format(index)
end

describe("an integer of version 3", function()
  for _, row in ipairs(ROWS) do
    it(row[1], function()
      local text, key = program(row, function(number) return number:sub(2, -2) end)
      check(HEAD .. "qubit q; bit done; " .. text .. " done = measure q;", key)
    end)

    it(row[1] .. ", where it was measured", function()
      local heads = {}
      local text, key = program(row, function(number)
        local head, value = measured(tonumber(number:sub(2, -2)), #heads)
        heads[#heads + 1] = head
        return value
      end)
      check(HEAD .. table.concat(heads) .. text, key)
    end)
  end
end)
