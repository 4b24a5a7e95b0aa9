-- What is never carried out is checked like everything else, and changes nothing; and nothing is refused there that
-- only the values of variables and constants would make wrong.
-- SPDX-License-Identifier: Apache-2.0
local circuit = require "arvak.circuit"
local programs = require "spec.support.programs"

local HEAD = 'OPENQASM 3.0;\ninclude "stdgates.inc";\n' ..
  "const int n = 0; int k = 0; float t = 0.5; qubit[4] q; bit[4] c; bit flag; array[int[8], 3] list = {1, 2, 3}; " ..
  "gate own(a) b { rx(a) b; } def f(qubit[2] a, int m) -> int { return m; } def g(qubit a) { x a; }\n"

-- Where a statement is that is never carried out.
local PLACES = {
  "if (false) { %s }", "if (true) {} else { %s }", "if (n > 0) { %s }", "if (k != 0) { h q[k]; %s }",
  "for int i in [1:0] { %s }", "for uint i in [n:-1] { %s }", "while (false) { %s }", "while (n > 0) { x q[0]; %s }",
  "switch (1) { case 0 { %s } default { x q[0]; } }", "switch (k) { case 0 {} case 1, 2 { %s } }",
  "switch (k) { case 0 {} default { %s } }", "for int i in [0:1] { break; %s }", "for int i in [0:1] { continue; %s }",
  "def nobody(qubit w, int m) { x w; %s }", "def leaves() -> int { return 3; %s } k = leaves();",
  "end; %s", "if (c[0]) { if (false) { %s } }", "if (false) { if (c[0]) { for int i in [0:n] { %s } } }",
  "box { if (false) { %s } }",
  "if (false) { box { %s } }", "def called() { if (k == 7) { %s } } called();", "if (false) %s",
}

-- Statements with a mistake: the text, its column in it, and what is said.
local MISTAKES = {
  { "nothing q[0];", 1, "there is no gate nothing" }, { "nothing(3);", 1, "there is no gate nothing" },
  { "x r;", 3, "r is not declared" }, { "x q[4];", 5, "the index 4, expected one from 0 to 3" },
  { "x q[-5];", 5, "the index %-5" }, { "x q[1:9];", 5, "the index 4" }, { "x q[{0, 7}];", 9, "the index 7" },
  { "rx q[0];", 1, "rx has 0 parameters, expected 1" }, { "own(1, 2) q[0];", 1, "own has 2 parameters, expected 1" },
  { "cx q[0];", 1, "cx has 1 qubit, expected 2" }, { "ctrl @ x q[0];", 1, "x has 1 qubit, expected 2" },
  { "cx q[1], q[1];", 1, "the same qubit twice" }, { "cx q[0:1], q[1:3];", 1, "registers of 2 and 3 qubits" },
  { "rx(r) q[0];", 4, "r is not declared" }, { "rx(t + k * r) q[0];", 12, "r is not declared" },
  { "rx(sin(t, 1)) q[0];", 4, "sin takes one value" }, { "rx(sine(t)) q[0];", 4, "there is no function sine" },
  { "pow(r) @ x q[0];", 5, "r is not declared" }, { "inv @ nothing q[0];", 1, "there is no gate" },
  { "x c[0];", 3, "c is no qubit" }, { "x q[1][0];", 3, "an index of a single qubit" },
  { "c[4] = 1;", 3, "the index 4" }, { "c = \"101\";", 5, "3 bits, expected 4" },
  { "r = 1;", 1, "r is not declared" },
  { "k = r;", 5, "r is not declared" }, { "k += r;", 6, "r is not declared" }, { "n = 1;", 1, "n is a constant" },
  { "k = q;", 5, "q is a qubit, expected a value" },
  { "flag = c;", 8, "bit%[4%], expected bit" },
  { "list[3] = 1;", 6, "the index 3" }, { "list = {1, 2};", 8, "2 values, expected 3" },
  { "k = list[7];", 10, "index 7" },
  { "flag = measure r;", 16, "r is not declared" },
  { "flag = measure q[0:1];", 1, "2 qubits are measured into 1 bits" },
  { "measure q[1] -> r;", 17, "r is not declared" }, { "measure q[5];", 11, "the index 5" },
  { "measure c[0];", 9, "c is no qubit" }, { "reset r;", 7, "r is not declared" }, { "reset q[9];", 9, "the index 9" },
  { "barrier r;", 9, "r is not declared" }, { "delay[3] q[0];", 7, "expected a duration" },
  { "delay[3ns] r;", 12, "r is not declared" }, { "f(q[0:1]);", 1, "f takes 2 values, got 1" },
  { "k = f(q[0:1], r);", 15, "r is not declared" }, { "g(3);", 3, "expected a qubit" },
  { "g(r);", 3, "r is not declared" },
  { "k = g(q[0]);", 5, "returns nothing, expected a value" }, { "int j = r;", 9, "r is not declared" },
  { "uint[65] j = 3;", 1, "expected 1 to 64" }, { "bit[2] b = \"101\";", 12, "3 bits, expected 2" },
  { "let a = q[0] ++ r;", 17, "r is not declared" }, { "let a = q[0:7];", 11, "the index 4" },
  { "if (r) { x q[0]; }", 5, "r is not declared" }, { "if (q) { x q[0]; }", 5, "q is a qubit" },
  { "if (c[0]) { x r; }", 15, "r is not declared" }, { "while (k < r) { x q[0]; }", 12, "r is not declared" },
  { "for int i in [0:r] { x q[0]; }", 17, "r is not declared" },
  { "for int i in [0:2] { cx q[i], r; }", 31, "r is not" },
  { "switch (r) { case 1 {} }", 9, "r is not declared" }, { "switch (k) { case r {} }", 19, "r is not declared" },
  { "switch (k) { case 1 { x r; } }", 25, "r is not declared" }, { "k = 7 / 0;", 7, "division by zero" },
  { "int[8] j = 18446744073709551615;", 12, "expected one below 2^63" },
  { "crx(pi) q[k], r;", 15, "r is not declared" },
  { "k = true || r;", 13, "r is not declared" }, { "k = 1 << -1;", 7, "a shift by" },
}

-- What only values would make wrong, and what is right.
local FINE = {
  "x q[k - 1];", "x q[n - 1];", "cx q[k], q[k + 1];", "cx q[k], q[n];", "rx(pi / n) q[0];", "k = 7 % n;", "k = 7 / k;",
  "k = 1 << (k - 1);", "rx(ln(t - 1)) q[0];", "rx(sqrt(n - 1)) q[0];", "list[k + 9] = 1;", "c[n + 9] = 1;",
  "ctrl(n) @ x q[0], q[1];", "pow(1 / n) @ x q[0];", "for int i in [0:n:4] { x q[i]; }", "let a = q[0:n - 1]; x a;",
  "uint[n] j = 3; j += 1;", "bit[n] b; b[0] = 1;", "while (k > 0) { k -= 1; x q[k]; }", "int j = 3; x q[j];",
  "switch (k) { case 1 { x q[k + 7]; } default {} }", "k = f(q[1:2], k);", "g(q[k]);", "k = int(c) - 3; x q[0];",
  "c = c << k;", "list[0] = list[k];", "flag = measure q[k + 2];", "const int j = n + 1; x q[j];",
  "{ int k = 3; x q[k]; }", "while (k > 0) { if (k == 2) { k -= 2; continue; } k -= 1; break; }",
  "for int i in [0:3] { if (i == 2) break; x q[i]; continue; }",
  "for float x1 in {0.1, 0.2} { rx(x1 / n) q[0]; }", "t = t / n;", "c[0:1] = \"10\";", "if (c == 3) { x q[n + 5]; }",
}

local SINGLE = "if (false) %s"

describe("a mistake", function()
  for _, place in ipairs(PLACES) do
    it("is found in what is never carried out: " .. place, function()
      for _, row in ipairs(MISTAKES) do
        local line = place:gsub("%%s", (row[1]:gsub("%%", "%%%%")))
        local c, err = circuit.from_qasm(HEAD .. line)
        assert(not c, "accepted: " .. line)
        assert.equal("invalid_circuit", err.kind)
        local column = place:find("%s", 1, true) + row[2] - 1
        assert.same({ 4, column }, { err.line, err.column }, line .. "\n" .. err.message)
        assert.matches(row[3], err.message)
        assert.matches("\n *%^$", err.message)
      end
    end)
  end

  it("is found in an operand of a condition that is never looked at", function()
    for condition, column in pairs { ["false && r"] = 14, ["true || x(r)"] = 13, ["k != 0 && c[0] == r"] = 23 } do
      local c, err = circuit.from_qasm(HEAD .. "if (" .. condition .. ") x q[0];")
      assert(not c, "accepted: " .. condition)
      assert.same({ 4, column }, { err.line, err.column }, err.message)
    end
  end)

  it("is found in a body of version 2 that is never carried out", function()
    for text, column in pairs { ["if (c==1) x r[0];"] = 13, ["if (c==1) foo q[0];"] = 11, ["if (c==1) x q[7];"] = 15,
      ["if (c==1) cx q[0];"] = 11, ["if (c==1) measure q -> d;"] = 24 } do
      local c, err = circuit.from_qasm('OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[2]; creg c[2];\n' .. text)
      assert(not c, "accepted: " .. text)
      assert.same({ 4, column }, { err.line, err.column }, err.message)
    end
  end)
end)

describe("what is never carried out", function()
  local RUN = " x q[2]; flag = measure q[2];"

  for _, place in ipairs(PLACES) do
    it("changes nothing, whatever its variables hold: " .. place, function()
      local before = place:find "^end" and RUN or ""
      local text = HEAD .. before .. place:gsub("%%s", "") .. RUN
      if place == SINGLE then text = HEAD .. RUN end
      local expected = assert(programs.exact { qasm = text })
      for _, statement in ipairs(FINE) do
        local body = place == SINGLE and "{ " .. statement .. " }" or statement
        local got, err = programs.exact { qasm = HEAD .. before .. place:gsub("%%s", (body:gsub("%%", "%%%%"))) .. RUN }
        assert(got, statement .. "\n" .. tostring(err))
        assert.is_true(programs.distance(expected, got) < 1e-12, statement)
      end
    end)
  end

  it("adds no qubits, no parameters and no notes", function()
    local plain = assert(circuit.from_qasm "OPENQASM 3.0; x $0;")
    local other = assert(circuit.from_qasm [[OPENQASM 3.0; x $0;
      if (false) { x $7; for int i in [0:999999] { h $1; bit b = measure $3; reset $3; } gphase(0.1); }]])
    assert.equal(plain:qubit_count(), other:qubit_count())
    assert.equal(plain:lowered().qasm, other:lowered().qasm)
    local input = assert(circuit.from_qasm [[OPENQASM 3.0;
      input float a; input float b; qubit q; rx(b) q; if (false) rx(a) q;]])
    assert.same({ "b", "a" }, input:parameters())
  end)

  it("is checked once, however often it is met", function()
    local text = "OPENQASM 3.0; qubit q; for int i in [0:30000] { if (i < 0) { " .. ("x q; "):rep(200) .. "} }"
    assert(circuit.from_qasm(text))
  end)
end)
