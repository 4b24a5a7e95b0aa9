-- Programs of kinds that no exporter's collection has: each means what the slow evaluator, which has a parser of its
-- own, says of it.
-- SPDX-License-Identifier: Apache-2.0
local evaluator = require "spec.support.evaluator"
local programs = require "spec.support.programs"

local HEAD = 'OPENQASM 3.0;\ninclude "stdgates.inc";\n'

local PROGRAMS = {
  ["teleports with conditions on single bits"] = HEAD .. [[
    qubit[3] q; bit c0; bit c1; bit c2; gate post q { } U(0.3,0.2,0.1) q[0]; h q[1]; cx q[1],q[2];
    barrier q; cx q[0],q[1]; h q[0]; c0 = measure q[0]; c1 = measure q[1]; if(c0==1) z q[2]; if(c1==1) {
    x q[2]; } post q[2]; c2 = measure q[2];]],
  ["estimates a phase with powers under control"] = HEAD .. [[
    const int n = 3; const float[64] theta = 3 * pi / 8; qubit q; qubit r; angle[n] c = 0; bit[n] out;
    reset q; reset r; x r; uint[n] power = 1; for uint i in [1:n] { reset q; h q;
    ctrl @ pow(power) @ p(theta) q, r; h q; out[i-1] = measure q; power <<= 1; }]],
  ["counts indices from the end"] = HEAD .. [[
    qubit[4] q; bit[4] c; x q[-1]; ry(0.4) q[-2]; c[-1] = measure q[-2]; c[0] = measure q[-1];]],
  ["selects ranges with steps, also backwards"] = HEAD .. [[
    qubit[6] q; bit[6] c; h q[0:2:4]; x q[5:-2:1]; cx q[0:2], q[3:5]; c[0:2:5] = measure q[1:2:5];
    c[1:2:5] = measure q[0:2:4];]],
  ["selects sets of indices"] = HEAD .. [[
    qubit[5] q; bit[3] c; x q[{0, 2, 4}]; ry(0.3) q[{1,3}]; c = measure q[{4,1,0}];]],
  ["names parts of registers by concatenation"] = HEAD .. [[
    qubit[2] a; qubit[3] b; bit[5] c; let both = a ++ b; let rev = b[2:-1:0] ++ a; h both[1:3];
    cx both[0], rev[0]; c = measure rev;]],
  ["switches over a measured integer"] = HEAD .. [[
    qubit[3] q; bit[2] c; bit r; h q[0]; ry(1.0) q[1]; c = measure q[0:1]; switch (int(c)) { case 0 {
    x q[2]; } case 1, 2 { ry(0.4) q[2]; } default { h q[2]; } } r = measure q[2];]],
  ["nests modifiers with parameters"] = HEAD .. [[
    qubit[4] q; bit[4] c; h q; ctrl @ inv @ pow(2) @ rx(0.3) q[0], q[1];
    negctrl(2) @ ctrl @ ry(0.7) q[0], q[1], q[2], q[3]; inv @ ctrl @ pow(0.5) @ x q[2], q[0];
    pow(-1) @ ctrl @ s q[3], q[2]; h q; c = measure q;]],
  ["changes an array in a subroutine"] = HEAD .. [[
    def fill(mutable array[int[8], #dim = 1] a, int[8] v) { for int i in [0:sizeof(a) - 1] a[i] = v + i;
    } array[int[8], 3] k = {0,0,0}; fill(k, 2); qubit[3] q; bit[3] c;
    for int i in [0:2] ry(0.1 * k[i]) q[i]; c = measure q;]],
  ["has arrays of two dimensions"] = HEAD .. [[
    array[float[64], 2, 3] m = {{0.1, 0.2, 0.3}, {0.4, 0.5, 0.6}}; m[1][2] = 0.9; m[0, 1] = 1.1;
    qubit[3] q; bit[3] c; for int i in [0:1] for int j in [0:2] ry(m[i][j]) q[j]; float[64] s = 0;
    for float[64] x in m[1] s += x; rx(s) q[0]; c = measure q;]],
  ["calculates with measured integers"] = HEAD .. [[
    qubit[4] q; bit[3] c; bit r; h q[0:2]; c = measure q[0:2]; uint[4] n = uint[3](c); n = n * 3 + 1;
    n %= 5; if (n == 4) x q[3]; r = measure q[3];]],
  ["wraps measured integers"] = HEAD .. [[
    qubit[3] q; bit[2] c; bit r; h q[0:1]; c = measure q[0:1]; uint[2] n = uint[2](c); n += 3;
    if (n < 2) x q[2]; r = measure q[2];]],
  ["keeps copies of measured values"] = HEAD .. [[
    qubit[2] q; bit[2] c; bit d; h q[0]; c[0] = measure q[0]; int k = c[0]; x q[0]; c[0] = measure q[0];
    if (k == 1) ry(0.7) q[1]; d = measure q[1];]],
  ["exchanges bits"] = HEAD .. [[
    qubit[2] q; bit[2] c; ry(0.3) q[0]; ry(1.2) q[1]; c = measure q; c = c[1:-1:0];]],
  ["rotates and inverts bits"] = HEAD .. [[
    qubit[3] q; bit[3] c; ry(0.3) q[0]; ry(1.2) q[1]; ry(2.2) q[2]; c = measure q; c = rotl(c, 1);
    c ^= "100"; c = c << 1;]],
  ["breaks a loop on a measured bit"] = HEAD .. [[
    qubit[2] q; bit c; bit[2] r; for int i in [0:3] { h q[0]; c = measure q[0]; if (c) break;
    ry(0.5) q[1]; reset q[0]; } r = measure q;]],
  ["continues and breaks loops in each other"] = HEAD .. [[
    qubit[2] q; bit c; bit[2] r; for int i in [0:2] { for int j in [0:1] { h q[0]; c = measure q[0];
    if (c) { continue; } ry(0.5 + j) q[1]; } if (c) break; x q[1]; } r = measure q;]],
  ["returns from a subroutine on a measured bit"] = HEAD .. [[
    def f(qubit a, qubit b) -> bit { h a; bit x0 = measure a; if (x0) { return x0; } ry(0.6) b;
    bit y0 = measure b; return y0; } qubit[2] q; bit r; bit[2] s; r = f(q[0], q[1]); s = measure q;]],
  ["returns a measured integer"] = HEAD .. [[
    def f(qubit[2] a) -> uint[4] { bit[2] m = measure a; uint[4] v = uint[2](m);
    if (v > 1) return v * 2; return v + 1; } qubit[3] q; bit r; h q[0]; ry(0.9) q[1];
    if (f(q[0:1]) >= 4) x q[2]; r = measure q[2];]],
  ["repeats until success, three times at most"] = HEAD .. [[
    qubit[2] q; bit c; bit d; int n = 0; c = "1"; while (n < 3 && c == 1) { h q[0]; c = measure q[0];
    ry(0.3) q[1]; n += 1; } d = measure q[1];]],
  ["controls gates with global phases and loops"] = HEAD .. [[
    gate ph(a) q { gphase(a); } gate lots(a) q0, q1 { for int i in [1:3] { rx(a / i) q0; cx q0, q1; } }
    qubit[3] q; bit[3] c; h q; ctrl @ ph(0.7) q[0], q[1]; ctrl @ lots(0.4) q[2], q[0], q[1]; h q;
    c = measure q;]],
  ["has annotations and pragmas"] = [[
    // hi
    OPENQASM 3.1;
    #pragma foo bar baz
    pragma x y;z
    @bind something [1]
    qubit[2] q;
    @ann
    h q[0];
    bit[2] c = measure q;]],
  ["mixes declarations of both versions"] = [[
    OPENQASM 3.0; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c; if (c == 3) x q[0];
    measure q[0] -> c[0];]],
  ["says no version"] = [[
    include "qelib1.inc"; qreg q[2]; creg c[2]; u2(0,pi) q[0]; cu3(0.1,0.2,0.3) q[0],q[1]; h q;
    measure q->c;]],
  ["includes the library twice"] = [[
    OPENQASM 2.0; include "qelib1.inc"; include "qelib1.inc"; qreg q[1]; creg c[1];
    u3(0.3,0.1,0.2) q[0]; measure q->c;]],
  ["has a comma behind the last of a list"] = HEAD .. [[
    gate g(a, b,) x0, x1, { rx(a) x0; ry(b) x1; } qubit[2] q; bit[2] c; g(0.1, 0.2,) q[0], q[1],; cx q[0], q[1],;
    c = measure q;]],
  ["has lines that end with a carriage return"] = HEAD
    .. "qubit[2] q; // two\rbit[2] c; x q[1];\r\n// and bits\rc = measure q;",
  ["has real expressions"] = [[
    OPENQASM 2.0; include "qelib1.inc"; qreg q[3]; creg c[3]; rx(-2^2/3) q[0]; ry(2^3^0.5) q[1];
    rx(-(1/2)*3) q[2]; u1(1/2) q[0]; h q; measure q->c;]],
  ["casts between types"] = HEAD .. [[
    const float f = 2.7; int[8] a = int[8](f); uint[2] u = uint[2](7); bit[4] b = bit[4](a);
    float g = float(a) / 4; bool t = bool(b[1]); qubit[3] q; bit[3] c; ry(g) q[0]; if (t) x q[1];
    rx(0.2 * u) q[2]; c = measure q;]],
  ["has all integer operators"] = HEAD .. [[
    const int a = 7 % 4 + (5 & 6) - (1 | 8) ^ 3; const int b = ~5;
    const bool t = (a < 0) || !(b == -6) && true; const int d = -7 / 2; const int e = -7 % 3;
    const uint[4] w = 17; qubit[4] q; bit[4] c; ry(0.1*a) q[0]; ry(0.1*b) q[1]; if (t) x q[2];
    ry(0.3*d + e) q[3]; rx(0.1*w) q[3]; c = measure q;]],
  ["has boxes, durations and delays"] = HEAD .. [[
    qubit[2] q; bit[2] c; duration d = 2 * 100ns + 1us; box [d] { h q[0]; delay[50dt] q[1]; }
    delay[d / 2] q[0], q[1]; cx q[0], q[1]; stretch s; delay[s] q; c = measure q;]],
  ["resets under a condition"] = HEAD .. [[
    qubit[2] q; bit[2] c; h q; c[0] = measure q[0]; if (c[0]) reset q[1]; else { h q[1]; }
    c[1] = measure q[1];]],
  ["measures into a variable under a condition"] = HEAD .. [[
    qubit[3] q; bit[3] c; h q[0]; c[0] = measure q[0]; if (c[0]) { bit t0 = measure q[1];
    if (t0 == 0) x q[2]; } else { h q[1]; } c[1] = measure q[1]; c[2] = measure q[2];]],
  ["loops under a measured boolean"] = HEAD .. [[
    qubit[2] q; bit[2] c; bool done = false; h q[0]; c[0] = measure q[0]; done = c[0] == 1;
    for int i in [0:2] { if (!done) { ry(0.4) q[1]; } } c[1] = measure q[1];]],
  ["loops over measured bits"] = HEAD .. [[
    qubit[4] q; bit[3] m; bit r; h q[0:2]; m = measure q[0:2]; for bit b in m { if (b) ry(0.5) q[3]; }
    r = measure q[3];]],
  ["shadows names in blocks"] = HEAD .. [[
    int n = 1; qubit q; bit c; { int n = 3; ry(0.1 * n) q; } for int n in [5:6] ry(0.1*n) q;
    ry(0.1*n) q; c = measure q;]],
  ["sets a bit of an integer"] = HEAD .. [[
    uint[4] v = 5; v[1] = 1; qubit q; bit c; ry(0.1 * v) q; c = measure q;]],
  ["uses qubits of the machine"] = [[
    OPENQASM 3.0; include "stdgates.inc"; bit[2] c; h $2; cx $2, $0; c[0] = measure $0;
    c[1] = measure $2;]],
  ["compares with bit strings"] = HEAD .. [[
    qubit[3] q; bit[2] c; bit r; h q[0]; h q[1]; c = measure q[0:1]; if (c == "10" || c == "01") x q[2];
    r = measure q[2];]],
  ["compares with numbers out of range"] = HEAD .. [[
    qubit[3] q; bit[2] c; bit r; h q[0:1]; c = measure q[0:1]; if (c >= 1.5) x q[2];
    if (c == 99) x q[2]; if (c < 0) x q[2]; r = measure q[2];]],
  ["has constant bits"] = HEAD .. [[
    const bit[3] k = "101"; qubit[3] q; bit[3] c; for int i in [0:2] if (k[i] == 1) x q[i];
    c = measure q;]],
  ["measures into aliases of bits"] = HEAD .. [[
    bit[4] c; let hi = c[2:3]; let lo = c[0:1]; qubit[4] q; h q; hi = measure q[0:1];
    if (hi == 2) x q[2]; lo = measure q[2:3];]],
  ["has powers and rounding"] = HEAD .. [[
    qubit q; bit c; ry(2 ** 3 * 0.1) q; rx(pow(2, 0.5)) q;
    ry(mod(7, 4) * 0.1 + ceiling(0.3) + floor(1.7)) q; c = measure q;]],
  ["has expressions as Qiskit writes them"] = HEAD .. [[
    bit[2] c; qubit[3] q; h q[0]; h q[1]; c[0] = measure q[0]; c[1] = measure q[1];
    if (!(c[0] ^ c[1])) { x q[2]; } c[0] = c[0] ^ c[1]; c[1] = measure q[2];]],
  ["broadcasts a register of one qubit"] = [[
    OPENQASM 2.0; include "qelib1.inc"; qreg a[1]; qreg b[3]; creg c[3]; h a; cx a, b; measure b -> c;]],
  ["measures nothing"] = HEAD .. [[
    qubit[2] q; h q[0]; cx q[0], q[1];]],
  ["drops an outcome"] = HEAD .. [[
    qubit[2] q; bit c; h q[0]; measure q[0]; h q[0]; c = measure q[0];]],
  ["ends early on a measured bit"] = HEAD .. [[
    qubit q; bit[2] c; h q; c[0] = measure q; if (c[0]) end; x q; c[1] = measure q;]],
  ["passes parts of registers to subroutines"] = HEAD .. [[
    def g(qubit a, float[64] t) { rx(t) a; } def h2(qubit[2] r, float[64] t) {
    for int i in [0:1] g(r[i], t * (i + 1)); } qubit[4] q; bit[4] c; h2(q[0:1], 0.4); h2(q[2:3], 0.9);
    c = measure q;]],
  ["uses gates of both libraries"] = HEAD .. [[
    qubit[3] q; bit[3] c; h q; rzz(0.3) q[0], q[1]; rxx(0.2) q[1], q[2]; ecr q[0], q[2];
    iswap q[0], q[1]; u1(0.3) q[0]; u2(0.1,0.2) q[1]; u3(0.1,0.2,0.3) q[2]; cphase(0.2) q[0], q[1];
    phase(0.4) q[2]; CX q[0], q[1]; h q; c = measure q;]],
  ["assigns with operators to bits"] = HEAD .. [[
    qubit[2] q; bit[2] c; h q[0]; c[0] = measure q[0]; c[1] ^= c[0]; c[1] ^= 1;]],
  ["counts outcomes"] = HEAD .. [[
    qubit[2] q; bit[2] c; int s = 0; for int i in [0:2] { h q[0]; c[0] = measure q[0]; if (c[0]) {
    s += 1; } reset q[0]; } if (s == 2) x q[1]; c[1] = measure q[1];]],
  ["loops over a constant of a branch"] = HEAD .. [[
    qubit[2] q; bit[2] c; int k = 2; h q[0]; c[0] = measure q[0]; if (c[0]) { k = 3;
    for int i in [1:k] ry(0.2) q[1]; } if (k == 3) x q[1]; c[1] = measure q[1];]],
}

describe("a program that", function()
  for name, text in pairs(PROGRAMS) do
    it(name .. " means what its text says", function()
      local got, err = programs.exact { qasm = text }
      assert(got, tostring(err))
      local expected, why = evaluator.probabilities(text)
      assert(expected, why and why.evaluator)
      assert.is_true(programs.distance(expected, got) < 1e-9)
    end)
  end
end)

describe("a switch over measured values", function()
  it("has hundreds of cases, nested by halves", function()
    local parts = { HEAD, "qubit[10] q; bit[9] c; bit r; for int i in [0:8] ry(0.3 * i + 0.1) q[i];",
      "c = measure q[0:8]; int k = 7; switch (int(c)) {" }
    for i = 0, 299 do
      local gate = i % 2 == 0 and "ry(k * 0.1) q[9];" or ""
      parts[#parts + 1] = ("case %d { k = %d; %s }"):format(i * 7 % 512, i % 5, gate)
    end
    parts[#parts + 1] = "default { h q[9]; } } if (k == 3) x q[9]; r = measure q[9];"
    local text = table.concat(parts, "\n")
    local expected = assert(evaluator.probabilities(text, { budget = 1000000 }))
    assert.is_true(programs.distance(expected, assert(programs.exact { qasm = text })) < 1e-9)
  end)
end)

-- What the evaluator does not know.
describe("a program that takes bits of angles, or registers of more bits than an integer,", function()
  local function exact(body) return assert(programs.exact { qasm = HEAD .. body }) end

  it("has them by their meaning", function()
    local text = "angle[4] a = 5 * pi / 8; qubit q; bit c; if (a[0] == 1 && a[2] == 1) x q; c = measure q;"
    assert.is_true(programs.distance({ ["1"] = 1 }, exact(text)) < 1e-9)
    local outcomes = exact [[qubit[2] q; bit[70] c; h q[0]; c[69] = measure q[0]; if (c != 0) x q[1];
      if (c > 5) x q[1]; c[0] = measure q[1];]]
    local zeros = ("0"):rep(69)
    assert.is_true(programs.distance({ ["0" .. zeros] = 0.5, ["1" .. zeros] = 0.5 }, outcomes) < 1e-9)
  end)

  it("has them in version 2, too", function()
    local text = [[OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[70]; creg d[1]; h q[0]; measure q[0] -> c[0];
      if (c == 1) x q[1]; if (c == 2) x q[1]; measure q[1] -> d[0];]]
    local zeros = ("0"):rep(69)
    local expected = { ["0" .. zeros .. "0"] = 0.5, ["1" .. zeros .. "1"] = 0.5 }
    assert.is_true(programs.distance(expected, assert(programs.exact { qasm = text })) < 1e-9)
  end)

  it("compares their high parts first", function()
    local row = "bit[130] a; bit[130] b; qubit q; bit c; a[128] = %d; b[47] = 1; a[3] = 1; a[100] = 1; b[100] = 1; "
      .. "if (%s) x q; c = measure q;"
    local function is_true(high, condition)
      local outcomes = exact(row:format(high, condition))
      local key = next(outcomes)
      return key:sub(1, 1) == "1"
    end
    for condition, expected in pairs { ["a < b"] = true, ["a <= b"] = true, ["a > b"] = false, ["a == b"] = false,
      ["a != b"] = true, ["a >= a"] = true, ["a > a"] = false } do
      assert.equal(expected, is_true(0, condition), condition)
    end
    assert.is_true(is_true(1, "a > b") and is_true(1, "a >= b") and not is_true(1, "a < b"))
  end)
end)
