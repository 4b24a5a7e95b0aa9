-- Texts that are refused: where, and with which words.
-- SPDX-License-Identifier: Apache-2.0
local texts = require "spec.support.texts"
local refusal = texts.refusal

local HEAD_2 = "OPENQASM 2.0;\nqreg q[2]; creg c[2];\n"
local HEAD_3 = "OPENQASM 3.0;\nqubit[4] q; bit[4] c; int n;\n"

-- Text of the third line, the column of the mistake (0: not looked at), and what the message says.
local VERSION_2 = {
  { "h r[0];", 3, "r is not declared" },
  { "h q[2];", 5, "the index 2, expected one from 0 to 1" },
  { "foo q[0];", 1, "there is no gate foo" },
  { "H q[0];", 1, "case%-sensitive: expected h" },
  { "cnot q[0],q[1];", 1, "there is no gate cnot, expected cx" },
  { "cx q[0],q[0];", 1, "the same qubit twice" },
  { "cx q,q;", 1, "the same qubit twice" },
  { "cx q[0];", 1, "cx has 1 qubit, expected 2" },
  { "rx q[0];", 1, "rx has 0 parameters, expected 1" },
  { "rx(1,2) q[0];", 1, "rx has 2 parameters, expected 1" },
  { "rx(x) q[0];", 4, "x is not declared" },
  { "rx(1/0) q[0];", 5, "division by zero" },
  { "rx(sqrt(-1)) q[0];", 4, "sqrt of a negative number" },
  { "rx(foo(1)) q[0];", 4, "there is no function foo" },
  { "rx(0.5j) q[0];", 4, "complex numbers are not supported" },
  { "rx(1e999) q[0];", 4, "not a finite number" },
  { "h q[0]", 0, "got the end of the text, expected ; or ," },
  { "measure q[0];", 13, "got ;, expected %->" },
  { "measure q[0] -> d[0];", 17, "d is not declared" },
  { "measure q[0] -> c;", 1, "1 qubits are measured into 2 bits" },
  { "measure q -> q;", 14, "q is a qubit, expected a bit" },
  { "if (d == 1) x q[0];", 5, "d is not declared" },
  { "if (c = 1) x q[0];", 7, "got =, expected ==" },
  { "if (c == -1) x q[0];", 10, "got %-, expected a whole number" },
  { "qreg q[3];", 1, "q is declared already" },
  { "qreg r;", 7, "got ;, expected %[" },
  { "qreg r[0];", 1, "size 0" },
  { "qubit[2] r;", 6, "got %[" },
  { "gate g a { g a; }", 12, "calls itself" },
  { "gate g a { h q[0]; }", 14, "q is no qubit of this gate" },
  { "gate g a { measure a -> c[0]; }", 12, "a measurement in a gate" },
  { "gate g a { h a }", 16, "got }, expected ;" },
  { "gate g a,a { h a; }", 10, "named twice" },
  { "gate g(a) b { } gate g c { }", 17, "g is defined already" },
  { "opaque magic a; magic q[0];", 17, "opaque" },
  { "OPENQASM 2.0;", 1, "belongs at the beginning" },
  { "include \"missing.inc\";", 1, "missing%.inc is not to be found" },
  { "h q[0]; }", 9, "got }, expected a statement of OpenQASM 2" },
  { "/* never closed", 1, "expected %*/" },
  { "h q\u{a0}[0];", 3, "not a name" },
  { "rx(\u{2212}1) q[0];", 4, "not a name" },
  { "h q[0]; ?", 9, "the character %? has no meaning" },
  { "h q[99999999999999999999999];", 0, "expected an integer" },
  { "if (c == 1) cx q[0],measure[1];", 21, "measure, which is a word of the language" },
  { "qreg gate[2];", 6, "gate, which is a word of the language" },
}

local VERSION_3 = {
  { "measure q -> m;", 14, "m is not declared" },
  { "m = measure q;", 1, "m is not declared" },
  { "x = 3;", 1, "x is not declared" },
  { "@ x q[0];", 1, "got @, expected a statement" },
  { "end; include \"missing.inc\";", 6, "missing%.inc is not to be found" },
  { "if (false) x bit[0];", 14, "bit, which is a word of the language, expected a qubit" },
  { "qubit[2] in;", 10, "in, which is a word of the language" },
  { "if (false) { n = box; }", 18, "got box, expected a value" },
  { "else x q[0];", 1, "else, which is a word of the language, expected a statement" },
  { "rx(2 ^ 0.5) q[0];", 6, "%^ of int and float, expected integers" },
  { "switch (1.5) { case 1 { } }", 9, "type float, expected an integer" },
  { "switch (n) { case 0.25 { } }", 19, "type float, expected an integer" },
  { "uint a = -1; x q[a];", 18, "a uint of 2^63 or more" },
  { "c[18446744073709551615] = 1;", 3, "a uint of 2^63 or more" },
  { "int k = 9223372036854775808;", 9, "the number 9223372036854775808, expected one below 2^63 for int" },
  { "int[8] k = 0xFFFFFFFFFFFFFFFF;", 12, "the number 18446744073709551615, expected one below 2^63 for int%[8%]" },
  { "uint k = 18446744073709551616;", 10, "expected one below 2^64 for uint" },
  { "int k = -9223372036854775809;", 9, "below %-2^63, expected one that 64 bits can hold" },
  { "angle[4] a = 1; a[0] = measure q[0];", 17, "depends on measured values" },
  { "bit e; c = e;", 12, "type bit, expected bit%[4%]" },
  { "def f(qubit p) { if (late[0]) x p; } bit[2] late; f(q[0]);", 22, "late is not declared" },
  { "int n = 2;", 5, "n is declared already" },
  { "const int k = 2; k = 3;", 18, "k is a constant" },
  { "const int k;", 12, "expected = and the value" },
  { "int k = c2;", 9, "c2 is not declared" },
  { "bit[3] d = \"01\";", 12, "2 bits, expected 3" },
  { "bit[2] d = \"02\";", 12, "expected a bit string" },
  { "c[0:1] = measure q;", 1, "4 qubits are measured into 2 bits" },
  { "c[4] = measure q[0];", 3, "the index 4, expected one from 0 to 3" },
  { "x q[-5];", 5, "the index %-5" },
  { "ctrl @ x q[0];", 1, "x has 1 qubit, expected 2" },
  { "ctrl(0) @ x q[0];", 1, "0 controls" },
  { "pow @ x q[0];", 5, "expected %(" },
  { "inv x q[0];", 5, "got x, expected @" },
  { "gate g(t) a { pow(t) @ x a; }", 15, "depends on a parameter of the gate" },
  { "gate g a { for int i in [0:n] x a; }", 28, "the variable n in a gate" },
  { "cx q[0:1], q[0:2];", 1, "registers of 2 and 3 qubits" },
  { "cx q[0:1], q[1];", 1, "the same qubit twice" },
  { "for int i in [0:2:] x q[0];", 15, "a range without its ends" },
  { "for int i in [0:0:2] x q[0];", 15, "step 0" },
  { "for int i in n x q[0];", 14, "a loop over int" },
  { "break;", 1, "break outside of a loop" },
  { "return;", 1, "return outside of a subroutine" },
  { "def f() { f(); } f();", 11, "calls itself" },
  { "def f(qubit a) {} f(q);", 21, "4 qubits for a, expected 1" },
  { "def f(qubit a, qubit b) {} f(q[0], q[0]);", 36, "the same qubit twice" },
  { "def f() -> int {} n = f();", 1, "comes to its end without return" },
  { "def f(qubit a) -> bit { bit m = measure a; if (m) return m; } c[0] = f(q[0]);", 1, "without return" },
  { "def f(int k) {} f();", 17, "f takes 1 values, got 0" },
  { "def f() -> int { return 1; } def g() {} n = g();", 45, "returns nothing" },
  { "switch (n) { default {} case 1 {} }", 25, "nothing comes after default" },
  { "defcal x q {}", 1, "defcal is not supported" },
  { "extern f(int) -> int;", 1, "extern is not supported" },
  { "cal {}", 1, "cal is not supported" },
  { "complex[float[64]] z;", 1, "complex numbers are not supported" },
  { "rx(1 + 2im) q[0];", 8, "complex numbers" },
  { "if (q) x q[0];", 5, "q is a qubit, expected a value" },
  { "h c;", 3, "c is no qubit" },
  { "int k = 1 +;", 12, "got ;, expected a value" },
  { "x q[0], , ;", 9, "got ,, expected a qubit" },
  { "{ qubit r; }", 3, "outside of blocks" },
  { "if (true) { include \"a.inc\"; }", 13, "include is not possible" },
  { "include \"/etc/passwd\";", 1, "below a folder" },
  { "array[int[8], 2] a = {1, 2, 3};", 22, "3 values, expected 2" },
  { "array[int[8], 2] a; a[2] = 1;", 23, "the index 2" },
  { "uint[65] k;", 1, "expected 1 to 64" },
  { "c = measure q; rx(c[0]) q[0];", 19, "depends on measured values" },
  { "c = measure q; x q[int(c)];", 20, "depends on measured values" },
  { "c = measure q; for int i in [0:int(c)] x q[0];", 0, "depends on measured values" },
  { "c = measure q; float t = 0; if (c[0]) t = 1; rx(t) q[0];", 49, "depends on measured values" },
  { "c = measure q; while (c[0]) { c = measure q; }", 16, "no constant bound" },
  { "let a = q[0] ++ q[0];", 17, "a qubit twice" },
  { "gphase(0.3) q[0];", 1, "gphase has 1 qubit, expected 0" },
  { "qubit[2] $r;", 10, "expected a physical qubit" },
}

local function check(head, rows)
  for _, row in ipairs(rows) do
    local err = refusal(head .. row[1], { name = "p.qasm" })
    local what = row[1] .. "\n" .. err.message
    assert.equal("invalid_circuit", err.kind)
    assert.equal("p.qasm", err.source)
    assert.equal(3, err.line, what)
    if row[2] > 0 then assert.equal(row[2], err.column, what) end
    assert.matches(row[3], err.message, nil, nil, what)
  end
end

describe("a refusal", function()
  it("of OpenQASM 2 names the place and what was expected", function() check(HEAD_2, VERSION_2) end)

  it("of OpenQASM 3 names the place and what was expected", function() check(HEAD_3, VERSION_3) end)

  it("shows the line with a caret below the place", function()
    local err = refusal("OPENQASM 2.0;\nqreg q[2];\n\t foo q[0];\r\nh q[0];", { name = "bell.qasm" })
    assert.equal("bell.qasm:3:3: there is no gate foo, expected one of the library or one that is defined before\n" ..
      "  foo q[0];\n  ^", err.message)
    assert.same({ 3, 3 }, { err.line, err.column })
  end)

  it("shows of a long line what is around the place, and nothing that a terminal acts upon", function()
    local err = refusal("OPENQASM 2.0; qreg q[2]; " .. ("h q[0]; "):rep(200) .. "h \27[31m;")
    local _, line, caret = err.message:match "^([^\n]*)\n([^\n]*)\n([^\n]*)$"
    assert.is_true(#line <= 110 and #caret <= 110)
    assert.is_nil(err.message:find "\27")
  end)

  it("of a version that is not known says which are", function()
    for _, version in ipairs { "1.0", "4.0", "x", "" } do
      local err = refusal("OPENQASM " .. version .. ";")
      assert.matches("expected the version of the language, 2%.0 or 3%.0", err.message)
    end
  end)

  it("finds mistakes behind what is never carried out", function()
    for _, text in ipairs { "end; x q[0] q[1];", "if (false) { x q[0] }",
      "input int k; for int i in [0:k] x q[i]; x q[0" } do
      assert.matches("expected", refusal("OPENQASM 3.0; qubit[4] q; " .. text).message)
    end
  end)
end)

describe("the arguments of the reader", function()
  it("are checked", function()
    for _, call in ipairs {
      function() texts.read.from_qasm(3) end,
      function() texts.read.from_qasm("", { nmae = "a" }) end,
      function() texts.read.from_qasm("", { name = 3 }) end,
      function() texts.read.from_qasm("", { max_operations = 1.5 }) end,
      function() texts.read.from_qasm("", { include_path = { 3 } }) end,
      function() texts.read.load "" end,
    } do
      assert.is_false((pcall(call)))
    end
  end)
end)
