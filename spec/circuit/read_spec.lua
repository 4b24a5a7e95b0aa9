-- What the reader makes of each construct of OpenQASM 2 and 3.
-- SPDX-License-Identifier: Apache-2.0
local texts = require "spec.support.texts"
local angle, body, form, form_of, ops = texts.angle, texts.body, texts.form, texts.form_of, texts.ops

local function value(expression) return angle(("rx(%s) q[0];"):format(expression)) end

-- An expression of version 2.
local function value_2(expression)
  local made = form_of(("OPENQASM 2.0; qreg q[1]; rx(%s) q[0];"):format(expression))
  return made.block[1][2]
end

local function close(expected, got) assert.near(expected, got, 1e-12) end

describe("a number", function()
  it("may be written in any of the ways of the language", function()
    for text, expected in pairs { ["0x1F"] = 31, ["0b1010_0101"] = 165, ["0o17"] = 15, ["1_000"] = 1000, [".5"] = 0.5,
      ["1."] = 1, ["1.5e-1"] = 0.15, ["2.E0"] = 2, ["1E+2"] = 100, ["1_0.0e-1"] = 1, ["0XfF"] = 255 } do
      close(expected, value(text))
    end
  end)
end)

describe("an expression of version 3", function()
  it("has the precedence of the language", function()
    close(-4, value "-2 ** 2")
    close(2 ^ -1, value "2 ** -1")
    close(2 ^ 9, value "2 ** 3 ** 2")
    close(7, value "1 + 2 * 3")
    close(5, value "7 ^ 2 & 3")
    close(1, value "1 | 2 == 2 & 0")
    close(20, value "1 + 4 << 2")
    close(-1, value "-7 % 3")
  end)

  it("divides integers without the rest, and other numbers with it", function()
    close(2, value "5 / 2")
    close(-2, value "-5 / 2")
    close(2.5, value "5.0 / 2")
    close(math.pi / 2, value "pi / 2")
  end)

  it("knows the constants and functions", function()
    close(2 * math.pi, value "τ")
    close(math.pi, value "π")
    close(math.exp(1), value "ℇ")
    close(math.asin(0.5) + math.acos(0.2) + math.atan(1.5), value "arcsin(0.5) + arccos(0.2) + arctan(1.5)")
    close(math.log(3) + math.exp(0.2) + math.sqrt(2), value "log(3) + exp(0.2) + sqrt(2)")
    close(3 + 0 + 8 + 3, value "mod(7, 4) + floor(0.7) + pow(2, 3) + popcount(11)")
    close(2, value "ceiling(1.2)")
  end)

  it("compares and joins conditions", function()
    for condition, expected in pairs { ["1 < 2 && 2 <= 2"] = "x 0", ["!(3 != 3) || false"] = "x 0",
      ["1 > 2 || 2 >= 3"] = "", ["true == (2 == 2)"] = "x 0", ["\"010\" == 2"] = "x 0", ["0.5 > 1"] = "" } do
      assert.equal(expected, ops(("if (%s) x q[0];"):format(condition)))
    end
  end)

  it("casts between types", function()
    close(2, value "int[8](2.7)")
    close(-2, value "int(-2.7)")
    close(3, value "uint[2](7)")
    close(-1, value "int[2](7)")
    close(1.5, value "float(3) / 2")
    close(1, value "int(bool(5))")
    close(5, value "uint[3](\"101\")")
    assert.equal("x 0", ops "if (bit[3](5) == \"101\") x q[0];")
  end)

  it("rounds angles of n bits, and wraps them", function()
    close(math.pi / 4, angle "angle[4] a = pi / 4.2; rx(a) q[0];")
    close(math.pi / 2, angle "angle[8] a = 2.5 * pi; rx(a) q[0];")
    close(math.pi, angle "angle[4] a = 3 * pi / 2; rx(a * 2) q[0];")
    close(3 * math.pi / 2, angle "angle[4] a = pi; rx(a + pi / 2) q[0];")
    close(7 * math.pi / 4, angle "angle[4] a = pi / 4; rx(-a) q[0];")
  end)

  it("wraps integers that have a width", function()
    close(1, angle "uint[4] a = 17; rx(a) q[0];")
    close(3, angle "uint[3] a = 5; uint[3] b = 6; rx(a + b) q[0];")
    close(-8, angle "int[4] a = 7; a += 1; rx(a) q[0];")
    close(255, angle "uint[8] a = 0; a -= 1; rx(a) q[0];")
  end)

  it("takes bits of integers by their index", function()
    close(5 - 1, angle "uint[4] v = 5; v[0] = 0; rx(v) q[0];")
    assert.equal("x 0; x 2", ops "uint[3] v = 5; for int i in [0:2] { if (v[i] == 1) x q[i]; }")
  end)
end)

describe("an expression of version 2", function()
  it("is real, and its power binds tighter than a minus and to the right", function()
    close(0.5, value_2 "1/2")
    close(-4, value_2 "-2^2")
    close(2 ^ (3 ^ 2), value_2 "2^3^2")
    close(math.sin(0.3) * math.sqrt(2) - math.log(3), value_2 "sin(0.3)*sqrt(2)-ln(3)")
    close(0.75, value_2 "0.5-(-0.25)")
  end)
end)

describe("registers", function()
  it("are numbered in the order of declaration", function()
    local made = form_of "OPENQASM 3.0; qubit a; bit[2] m; qubit[3] b; bit n;"
    assert.same({ 4, 3 }, { made.qubit_count, made.bit_count })
    local function register(name, first, size, scalar)
      return { name = name, first = first, size = size, scalar = scalar }
    end
    assert.same({ register("a", 0, 1, true), register("b", 1, 3, false) }, made.qubits)
    assert.same({ register("m", 0, 2, false), register("n", 2, 1, true) }, made.bits)
  end)

  it("are reported only where they are declared outside", function()
    assert.equal(4, body("if (true) { bit[3] inner; inner[0] = measure q[0]; }").bit_count)
  end)

  it("of the machine have as many qubits as the highest number says", function()
    local made = form_of "OPENQASM 3.0; h $3; cx $3, $0;"
    assert.equal(4, made.qubit_count)
    assert.same({ "h 3", "cx 3 0" }, texts.lines(made.block))
  end)

  it("of the machine stand beside declared ones", function()
    local made = form_of "OPENQASM 3.0; qubit[2] q; cx $2, q[1]; x $0;"
    assert.equal(5, made.qubit_count)
    assert.same({ "cx 2 4", "x 0" }, texts.lines(made.block))
  end)
end)

describe("an operand", function()
  it("may be any part of a register", function()
    assert.equal("x 3; x 2", ops "x q[-1]; x q[-2];")
    assert.equal("x 0; x 2", ops "x q[0:2:3];")
    assert.equal("x 3; x 2; x 1", ops "x q[3:-1:1];")
    assert.equal("x 1; x 2; x 3", ops "x q[1:];")
    assert.equal("x 2; x 0", ops "x q[{2, 0}];")
    assert.equal("", ops "x q[2:1];")
  end)

  it("is broadcast", function()
    assert.equal("cx 0 2; cx 1 3", ops "cx q[0:1], q[2:3];")
    assert.equal("cx 0 1; cx 0 2; cx 0 3", ops "cx q[0], q[1:3];")
  end)

  it("may be an alias", function()
    assert.equal("x 2; x 0; cx 3 1", ops "let a = q[2:3] ++ q[0:1]; x a[0:2:2]; let b = a[3:-2:1]; cx a[1], b[0];")
    assert.equal("x 3; x 0", ops "let a = {q[3], q[0]}; x a;")
    assert.equal("measure 0 2", ops "let m = c[2:3]; m[0] = measure q[0];")
  end)
end)

describe("a gate", function()
  it("of the library needs no include, and its own definition beats it", function()
    assert.equal("sxdg 0; rzx 0.5 0 1; cu 1 2 3 4 0 1", ops "sxdg q[0]; rzx(0.5) q[0], q[1]; cu(1,2,3,4) q[0], q[1];")
    local made = body "gate h a { x a; } h q[0];"
    assert.equal(0, made.block[1][1].params)
    assert.same({ "x 0" }, texts.lines(made.block[1][1].body))
  end)

  it("keeps its body, with expressions over its parameters", function()
    local made = body "gate g(a, b) x, y { rx(a / 2) x; for int i in [1:2] rz(b * i) y; } g(0.1, 0.2) q[3], q[1];"
    local gate = made.block[1][1]
    assert.same({ "g", 2, 2, { "a", "b" } }, { gate.name, gate.params, gate.qubits, gate.argument })
    assert.same({ "rx (/ (param 1) 2) 0", "rz (param 2) 1", "rz (* (param 2) 2) 1" }, texts.lines(gate.body))
    assert.same({ "g 0.1 0.2 3 1" }, texts.lines(made.block))
  end)

  it("has its modifiers, outermost first", function()
    assert.equal("ctrl 1 @ inv @ pow 2 @ rx 0.3 0 1", ops "ctrl @ inv @ pow(2) @ rx(0.3) q[0], q[1];")
    assert.equal("negctrl 2 @ x 0 1 2", ops "negctrl(2) @ x q[0], q[1], q[2];")
    assert.equal("pow 0.5 @ x 0", ops "pow(1/2) @ x q[0];")
    assert.equal("ctrl 1 @ gphase 0.4 1", ops "ctrl @ gphase(0.4) q[1];")
  end)

  it("under equal modifiers is one object", function()
    local made = body "ctrl @ x q[0], q[1]; ctrl(1) @ x q[1], q[2]; ctrl(2) @ x q[1], q[2], q[0];"
    assert.equal(made.block[1][1], made.block[2][1])
    assert.not_equal(made.block[1][1], made.block[3][1])
  end)

  it("that never uses a parameter takes anything for it", function()
    local head = "OPENQASM 2.0; gate pauli(a) q0,q1 { x q0; z q1; } gate two(a,b) q0 { rx(b) q0; } qreg q[2]; "
    for _, argument in ipairs { "XY", "0.5j", "r+", "1.0+2.0j", "0.1", "[1]" } do
      assert.equal(1, form_of(head .. ("pauli(%s) q[0],q[1];"):format(argument)).block.n)
    end
    assert.same({ "two 0 0.5 0" }, texts.lines(form_of(head .. "two(+,0.5) q[0];").block))
    assert.matches("XY is not declared", texts.refusal(head .. "two(1,XY) q[0];").message)
    assert.matches("got qreg", texts.refusal(head .. "pauli(X//Y) q[0],q[1];\nqreg r[1]; x r[0];").message)
  end)

  it("may hold a reset, and be named like a constant", function()
    local made = form_of "OPENQASM 2.0; gate pi a { reset a; h a; } qreg q[1]; pi q[0];"
    assert.same({ "reset 0", "h 0" }, texts.lines(made.block[1][1].body))
  end)
end)

describe("a measurement", function()
  it("is written in both ways, and dropped without a bit", function()
    assert.equal("measure 0 1; measure 0 1; measure 2", ops "measure q[0] -> c[1]; c[1] = measure q[0]; measure q[2];")
  end)

  it("may stand in a declaration", function()
    local made = form_of "OPENQASM 3.0; qubit[2] q; bit[2] out = measure q;"
    assert.same({ "measure 0 0", "measure 1 1" }, texts.lines(made.block))
  end)

  it("into a variable of a block goes to a variable of the form", function()
    assert.equal("measure 0 v1; if (var 1) { x 1 }", ops "{ bit m = measure q[0]; if (m) x q[1]; }")
  end)
end)

describe("a condition on measured values", function()
  it("is an operation, and one on constants is none", function()
    assert.equal("measure 0 0; if (bit 0) { x 1 } else { h 1 }",
      ops "c[0] = measure q[0]; if (c[0]) x q[1]; else h q[1];")
    assert.equal("x 1", ops "if (c[0] == 0) x q[1]; else h q[1];")
  end)

  it("on a register compares it as an unsigned integer", function()
    assert.equal("measure 0 0; measure 1 1; measure 2 2; measure 3 3; if (== (reg 0 4) 5) { x 1 }",
      ops "c = measure q; if (c == 5) x q[1];")
    local made = form_of "OPENQASM 2.0; qreg q[1]; creg c[2]; measure q[0]->c[0]; if(c==1) x q[0];"
    assert.same({ "measure 0 0", "if (== (bit 0) 1) { x 0 }" }, texts.lines(made.block))
  end)

  it("knows bits that were never written", function()
    assert.equal("measure 1 1; if (== (<< (bit 1) 1) 2) { x 1 }", ops "c[1] = measure q[1]; if (c == 2) x q[1];")
  end)

  it("gives a switch a value that is read once", function()
    assert.equal("measure 0 0; measure 1 1; assign v1 (reg 0 2); " ..
      "if (== (var 1) 0) { x 2 } else { if (|| (== (var 1) 1) (== (var 1) 2)) { y 2 } else { z 2 } }",
      ops "c[0:1] = measure q[0:1]; switch (c[0:1]) { case 0 { x q[2]; } case 1, 2 { y q[2]; } default { z q[2]; } }")
  end)

  it("joins what was assigned in its branches", function()
    assert.equal("measure 0 0; if (bit 0) { assign v1 3 } else { assign v1 1 }; if (== (var 1) 3) { x 1 }",
      ops "int k = 1; c[0] = measure q[0]; if (c[0]) { k = 3; } if (k == 3) x q[1];")
  end)

  it("leaves constants constants within a branch", function()
    assert.equal("measure 0 0; if (bit 0) { x 0; x 1 }",
      ops "c[0] = measure q[0]; if (c[0]) { int n = 1; for int i in [0:n] x q[i]; }")
  end)

  it("puts what follows a break under the condition that it was not taken", function()
    assert.equal("measure 0 0; if (bit 0) { assign v1 false } else { assign v1 true }; if (var 1) { x 1 }",
      ops "for int i in [0:0] { c[0] = measure q[0]; if (c[0]) break; x q[1]; }")
    assert.equal("measure 0 0; if (bit 0) { assign v1 false } else { assign v1 true }; if (var 1) { x 1; y 1 }",
      ops "c[0] = measure q[0]; if (c[0]) end; x q[1]; y q[1];")
  end)
end)

describe("an assignment", function()
  it("copies the value, not the name", function()
    assert.equal("measure 0 0; assign v1 (bit 0); measure 1 0; if (== (var 1) 1) { x 2 }",
      ops "c[0] = measure q[0]; int k = c[0]; c[0] = measure q[1]; if (k == 1) x q[2];")
  end)

  it("of a register reads all of it before it writes", function()
    assert.equal("measure 0 0; measure 1 1; assign v1 (bit 1); assign v2 (bit 0); assign b0 (var 1); assign b1 (var 2)",
      ops "c[0:1] = measure q[0:1]; c[0:1] = c[1:-1:0];")
  end)

  it("may be to bits, with an operator or without", function()
    assert.equal("measure 0 0; measure 1 1; assign b0 (^ (bit 0) (bit 1))",
      ops "c[0:1] = measure q[0:1]; c[0] = c[0] ^ c[1];")
    assert.equal("assign b0 0; assign b1 1; assign b2 1; assign b3 0; x 1", ops "c = \"0110\"; if (c == 6) x q[1];")
  end)

  it("of constants is computed while the text is read", function()
    close(36 * 0.5, angle "int[16] n = 6; n <<= 1; n %= 7; n |= 2; n ^= 1; n **= 2; float v = 0.5; v *= n; rx(v) q[0];")
    close(8, angle "array[int[8], 2, 2] a = {{1, 2}, {3, 4}}; a[1][0] = 7; rx(a[1, 0] + a[0][0]) q[0];")
    close(3 + 40 + 2, angle [[array[int[8], 3, 2] a = {{1, 2}, {3, 4}, {5, 6}}; array[int[8], 2] row = {30, 40};
      a[0:1] = a[1:2]; a[2] = row; rx(a[0, 0] + a[2, 1] + a[1][1] - a[0][1]) q[0];]])
  end)
end)

describe("a loop", function()
  it("goes over ranges, sets, arrays and registers", function()
    assert.equal("x 0; x 1; x 2", ops "for uint i in [0:2] x q[i];")
    assert.equal("x 3; x 1", ops "for int i in [3:-2:0] { x q[i]; }")
    assert.equal("x 2; x 0", ops "for int i in {2, 0} x q[i];")
    assert.equal("rx 0.5 0; rx 1.5 0", ops "array[float[64], 2] a = {0.5, 1.5}; for float[64] v in a rx(v) q[0];")
    assert.equal("", ops "for int i in [2:1] x q[i];")
  end)

  it("with a condition on constants is unrolled", function()
    assert.equal("x 0; x 1",
      ops "int n = 0; while (n < 4) { if (n % 2 == 1) { n += 1; continue; } x q[n / 2]; n += 1; }")
  end)

  it("over measured values with a constant bound is unrolled", function()
    assert.equal("measure 0 0; if (bit 0) { x 1; measure 0 0; if (bit 0) { x 1; measure 0 0; assign v1 2 } " ..
      "else { assign v1 1 }; assign v2 (var 1) } else { assign v2 0 }",
      ops "int n = 0; c[0] = measure q[0]; while (n < 2 && c[0]) { x q[1]; c[0] = measure q[0]; n += 1; }")
  end)
end)

describe("a subroutine", function()
  it("is carried out where it is called", function()
    assert.equal("h 1; cx 1 2", ops "def f(qubit a, qubit[2] r) { h a; cx a, r[1]; } f(q[1], q[{0, 2}]);")
  end)

  it("returns values", function()
    close(math.pi / 4, angle
      "def half(int k, float x) -> float { for int i in [1:k] x = x / 2; return x; } rx(half(2, pi)) q[0];")
    assert.equal("reset 0; measure 0 v1; assign b1 (var 1)",
      ops "def m(qubit a) -> bit { reset a; return measure a; } c[1] = m(q[0]);")
  end)

  it("takes arrays, to read and to change", function()
    close(6, angle [[
      def sum(readonly array[int[8], #dim = 1] a) -> int {
        int s = 0;
        for int i in [0:sizeof(a) - 1] s += a[i];
        return s;
      }
      def set(mutable array[int[8], 3] a) { a[0] = 3; }
      array[int[8], 3] v = {1, 2, 1};
      set(v);
      rx(sum(v)) q[0];]])
  end)
end)

describe("what has no effect", function()
  it("is read and left out", function()
    assert.equal("x 0; barrier 0 1; barrier; y 1", ops [[
      @note this is for "others" ; {
      duration d = 2 * 100ns + 1us; stretch g; delay[d] q[0]; delay[g + 100 ns] q; box[4us] { x q[0]; }
      pragma whatever { ;
      barrier q[0:1]; barrier; ; y q[1]; // end]])
  end)
end)

describe("an input", function()
  it("in angles is a parameter", function()
    local made = body "input float[64] b; input angle a; input int n; rx(2 * a + b) q[0]; ry(sin(a) * n) q[1];"
    assert.same({ "a", "b", "n" }, made.parameters)
    assert.same({ "rx (+ (* 2 (name a)) (name b)) 0", "ry (* (sin (name a)) (name n)) 1" }, texts.lines(made.block))
    assert.is_nil(made.pending)
  end)

  it("that decides on operations has to be bound, and then the text is read again", function()
    local made = body [[input float t; input int n; for int i in [0:n] rx(t) q[i];
      input bool late; if (late) x q[0];]]
    assert.same({ "n", 3 }, { made.pending.name, made.pending.line })
    assert.same({ "t", "n", "late" }, made.parameters)
    assert.equal("late", made.reread({ n = 1 }).pending.name)
    local bound = made.reread({ n = 1 }).reread { late = true }
    assert.same({ "rx (name t) 0", "rx (name t) 1", "x 0" }, texts.lines(bound.block))
    assert.same({ "t" }, bound.parameters)
  end)

  it("takes only values of its type", function()
    local made = body "input uint[2] n; input bit[2] b; for int i in [1:n] { if (b == i) x q[i]; }"
    local wrong_ones = { { n = 4 }, { n = 1.5 }, { n = "1" }, { n = -1 }, { n = 1, b = "012" }, { n = 1, b = 4 } }
    for _, wrong in ipairs(wrong_ones) do
      local again, err = made.reread(wrong)
      assert.is_nil(again)
      assert.equal("invalid_circuit", err.kind)
    end
    assert.same({ "x 2" }, texts.lines(made.reread({ n = 2, b = "10" }).block))
  end)
end)

describe("the version", function()
  it("without its line is that of the first declaration", function()
    assert.equal(2, form_of("include \"qelib1.inc\"; gate g a { u1(1/2) a; } qreg q[1]; creg c[1];").version)
    assert.equal(3, form_of("include \"stdgates.inc\"; qubit q; h q;").version)
    assert.equal(3, form_of("").version)
  end)
end)

describe("a position", function()
  it("belongs to each operation, and is the same by either way of reading", function()
    local made = form_of "OPENQASM 2.0;\nqreg q[2];\n  h q[0]; // note\n\n\tcx q[0], q[1];\ncx /**/ q[1],q[0];"
    local places = {}
    for i = 1, made.block.n do places[i] = table.concat({ form.place(made.block.at[i]) }, ":") end
    assert.same({ "3:3", "5:2", "6:1" }, places)
  end)
end)
