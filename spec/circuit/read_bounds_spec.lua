-- Texts that want too much: each is refused within bounds of time and memory, and nothing overflows.
-- SPDX-License-Identifier: Apache-2.0
local circuit = require "arvak.circuit"
local texts = require "spec.support.texts"
local refusal = texts.refusal

local HEAD = "OPENQASM 3.0; qubit[4] q; bit[4] c;\n"
local DEEP = 100000

local function doubling(from, each, last)
  local parts = { from }
  for i = 1, 60 do parts[i + 1] = each:gsub("NEW", i):gsub("OLD", i - 1) end
  return table.concat(parts, "\n") .. last
end

local ROWS = {
  { "parentheses", "rx(" .. ("("):rep(DEEP) .. "1" .. (")"):rep(DEEP) .. ") q[0];", "nested more than" },
  { "parentheses of a value", "int x = " .. ("("):rep(DEEP) .. "1;", "nested more than" },
  { "braces", ("{"):rep(DEEP) .. ("}"):rep(DEEP), "nested more than" },
  { "conditions", ("if (true) "):rep(DEEP) .. "x q;", "nested more than" },
  { "loops", ("for int i in [0:1] "):rep(DEEP) .. "x q;", "nested more than" },
  { "signs", "rx(" .. ("-"):rep(DEEP) .. "1) q[0];", "nested more than" },
  { "powers", "rx(" .. ("2**"):rep(DEEP) .. "1) q[0];", "nested more than" },
  { "indices", "x q[" .. ("c["):rep(DEEP) .. ";", "nested more than" },
  { "calls", "rx(" .. ("sin("):rep(DEEP) .. ";", "nested more than" },
  { "modifiers", ("ctrl @ "):rep(DEEP) .. "x q;", "more than 200 modifiers" },
  { "sums of parameters", "input float t; rx(" .. ("t+"):rep(DEEP) .. "1) q[0];", "more than 2000 parts" },
  { "a sum that doubles", "input float t; float x = t; for int i in [1:64] x = x + x; rx(x) q[0];",
    "more than 2000 parts" },
  { "a long loop", "for int i in [0:1000000000] x q[0];", "more than 1000 operations" },
  { "an empty loop", "for int i in [0:1000000000] {}", "steps before its first shot" },
  { "a loop without an end", "while (true) {}", "without an end" },
  { "a loop without an end that calls", "def f() {} while (true) f();", "steps before its first shot" },
  { "a loop without an end that may be left", "int i = 0; while (true) { i = 1; if (i == 2) break; }",
    "steps before its first shot" },
  { "broadcasts", "for int i in [0:300] x q;", "more than 1000 operations" },
  { "subroutines that double", doubling("def f0() { x q[0]; }", "def fNEW() { fOLD(); fOLD(); }", "f60();"),
    "more than 1000 operations" },
  { "empty subroutines that double", doubling("def f0() {}", "def fNEW() { fOLD(); fOLD(); }", "f60();"), "steps" },
  { "a register", "qubit[1000000000] r;", "more than 1000000 qubits" },
  { "registers in a loop", "for int i in [0:1000000] { bit[1000000] b; }", "steps" },
  { "copies of an array", "array[int[8], 4000] a; c = measure q; for int i in [0:900] { if (c[0]) a[i] = 1; }",
    "steps" },
  { "aliases of a register", "qubit[100000] r; for int i in [0:1000] { let a = r; }", "steps" },
  { "aliases of bits", "bit[100000] b; for int i in [0:1000] { let a = b; }", "steps" },
  { "reads of an alias of bits", "bit[100000] b; let a = b; for int i in [0:1000] { int k = popcount(a); }", "steps" },
  { "arguments of many qubits", "qubit[100000] r; def f(qubit[100000] a) {} for int i in [0:1000] { f(r); }", "steps" },
  { "arguments that are arrays", "array[int, 100000] v; def f(array[int, 100000] a) {} for int i in [0:1000] { f(v); }",
    "steps" },
  { "an array", "array[int[8], 1000000, 1000000] a;", "steps" },
  { "a number", "rx(" .. ("1"):rep(DEEP) .. ") q[0];", "a number of 100000 characters" },
  { "a statement", "x q" .. (",q"):rep(3 * DEEP) .. ";", "more than 500000 words" },
  { "controls", "ctrl(1000000000) @ x q;", "1000000000 controls" },
  { "conditions on measured values", "c = measure q; " .. ("if (c[0]) end; "):rep(500), "nested more than 250 deep" },
  { "measured loops in each other",
    "c = measure q; while (c[0]) { while (c[1]) { c[1] = measure q[1]; } c[0] = measure q[0]; }", "no constant bound" },
}

describe("a text with too many or too deep", function()
  for _, row in ipairs(ROWS) do
    it(row[1] .. " is refused", function()
      local err = refusal(HEAD .. row[2], { max_operations = 1000 })
      assert.equal("invalid_circuit", err.kind)
      assert.matches(row[3], err.message)
    end)
  end

  it("bits in a comparison is read", function()
    local made = texts.form_of("OPENQASM 3.0; qubit q; bit[1000000] b; b[999999] = 1; if (b > 1) x q;")
    assert.equal(2, made.block.n)
  end)

  it("bits, one after the other, is read whatever the register's length", function()
    for _, body in ipairs { "if (b[i]) x q[0];", "b[i] = 1;", "if (a[i]) x q[0];" } do
      texts.form_of(("%sbit[20000] b; let a = b; for int i in [0:19999] { %s }"):format(HEAD, body))
    end
  end)

  it("rounds is refused before the first of them", function()
    local since = os.clock()
    for _, body in ipairs { "", "x q[0];", "int k = i; k += 1;", "if (i == 3) { rx(i) q[0]; }" } do
      assert.matches("option max_operations", refusal(HEAD .. "for int i in [0:1000000000] { " .. body .. " }").message)
    end
    assert.is_true(os.clock() - since < 10)
  end)

  it("rounds that are left early is read", function()
    local text = HEAD .. "for int i in [0:1000000000] { x q[0]; if (i == 2) break; }"
    assert.equal(3, texts.form_of(text).block.n)
  end)

  it("statements in one block is read", function()
    for _, block in ipairs { "box {\n%s}", "if (true) {\n%s}", "gate g a {\n%s} g q[0];" } do
      local statement = block:find "gate" and "x a;\n" or "x q[0];\n"
      assert(texts.read.from_qasm(HEAD .. block:format(statement:rep(60000))))
    end
  end)

  it("statements on one line is read as fast as on many", function()
    local made = texts.form_of(HEAD .. ("x q[1 + 1]; "):rep(30000), { max_operations = 100000 })
    assert.equal(30000, made.block.n)
  end)

  it("blanks within a statement is read", function()
    local blanks = (" "):rep(1000000)
    assert.equal(2, texts.form_of(HEAD .. "rx(1)" .. blanks .. "q[0]; x" .. blanks .. "q[0];").block.n)
    assert.matches("expected", refusal(HEAD .. "rx(1)" .. blanks .. "(").message)
  end)

  it("gates that double is refused when it is lowered, before anything is written", function()
    local since = os.clock()
    for _, call in ipairs { "g60 q[0];", "ctrl @ g60 q[1], q[0];", "pow(3) @ g60 q[0];" } do
      local body = doubling("gate g0 a { x a; h a; }", "gate gNEW a { gOLD a; gOLD a; }", call)
      local lowered, err = assert(circuit.from_qasm(HEAD .. body)):lowered()
      assert.is_nil(lowered)
      assert.matches("operations after unfolding", err.message)
    end
    assert.is_true(os.clock() - since < 10)
  end)

  it("gates that double is read, since nothing is expanded yet", function()
    local made = texts.form_of(HEAD .. doubling("gate g0 a { x a; }", "gate gNEW a { gOLD a; gOLD a; }", "g60 q[0];"))
    assert.equal(1, made.block.n)
  end)
end)

describe("the bound on operations", function()
  it("is an option, and holds for flat texts too", function()
    local flat = "OPENQASM 2.0;\nqreg q[1];\n" .. ("x q[0];\n"):rep(20)
    assert.equal(20, texts.form_of(flat, { max_operations = 20 }).block.n)
    local err = refusal(flat, { max_operations = 19 })
    assert.matches("more than 19 operations", err.message)
    assert.same({ 22, 1 }, { err.line, err.column })
  end)

  it("is never below what a flat text holds by itself", function()
    local flat = "OPENQASM 2.0;\nqreg q[1];\n" .. ("x q[0];\n"):rep(1000100)
    assert.equal(1000100, texts.form_of(flat).block.n)
  end)
end)

describe("ten megabytes of flat text", function()
  it("take less than 200 MB of heap", function()
    local parts = { "OPENQASM 2.0;\nqreg q[20];\n" }
    for i = 1, 300000 do parts[i + 1] = ("rz(%.17f) q[%d];\n"):format(i / 7, i % 20) end
    local text = table.concat(parts)
    parts = nil
    collectgarbage()
    collectgarbage()
    assert.is_nil(parts)
    local made = texts.form_of(text)
    assert.is_true(#text > 9e6)
    assert.equal(300000, made.block.n)
    assert.is_true(collectgarbage "count" < 200 * 1024)
  end)
end)
