-- Flat text, which is read by patterns: it comes to what the full parser makes of it.
-- SPDX-License-Identifier: Apache-2.0
local cjson = require "cjson"
local texts = require "spec.support.texts"

-- The same text in a shape that the patterns do not take: a comment behind each first name of a statement.
local function dressed(text) return (text:gsub("([\n;][ \t]*[%a_][%w_]*)", "%1/**/")) end

local function outcome(text)
  local made, err = texts.read.from_qasm(text)
  if not made then return { refused = (err.message:match "^line [%d:]+ (.*)\n[^\n]*\n[^\n]*$") } end
  return { lines = texts.lines(made.block), bits = made.bit_count, qubits = made.qubit_count }
end

local HEADS = {
  "OPENQASM 2.0;\nqreg q[3]; qreg r[1]; creg c[3]; gate own(a) x,y { rx(a) x; cx x,y; } gate idle(a) x { h x; }",
  "OPENQASM 3.0;\nqubit[3] q; qubit r; bit[3] c; bit b; const bit[2] k = \"01\"; const int n = 1;" ..
    " gate own(a) x,y { rx(a) x; cx x,y; }",
}

local STATEMENTS = {
  "h q[0]", "h  q [ 1 ]", "h q", "h r", "h r[0]", "h q[3]", "h q[-1]", "h q[n]", "h q[01]", "H q[0]", "foo q[0]", "h",
  "h q[0],q[1]", "cx q[0],q[1]", "cx q[0], q[2] ", "cx q[0],q[0]", "cx q[0],r", "cx q,r", "cx q[0],", "cx q[0] q[1]",
  "ccx q[0],q[1],q[2]", "rx(0.5) q[0]", "rx(-0.5) q[0]", "rx( 0.5 )q[0]", "rx(0) q[0]", "rx(-0) q[0]", "rx(1/2) q[0]",
  "rx(pi/2) q[0]", "rx(-pi/4) q[1]", "rx(3*pi/8) q[1]", "rx(pi*0.25) q[1]", "rx(2e-3) q[1]", "rx(1E2) q[0]",
  "rx(0x10) q[0]", "rx(1_0) q[0]", "rx(1.) q[0]", "rx(.5) q[0]", "rx(--1) q[0]", "rx(1-) q[0]", "rx(pi pi) q[0]",
  "rx(2pi) q[0]", "rx(e) q[0]", "rx(1/0) q[0]", "rx(n) q[0]", "rx(sin(1)) q[0]", "rx() q[0]", "rx q[0]",
  "rx(1,2) q[0]", "rx(pi//2) q[0]", "rx(1e400) q[0]", "rx(1.2.3) q[0]", "u3(0.1,pi/2,-0.3) q[0]",
  "u3(0.1, pi/2 ,-0.3) q[0]", "u3(0.1,,0.3) q[0]", "u2(0,pi) q[2]", "cu1(pi/2) q[0],q[1]", "own(0.5) q[0],q[1]",
  "own(n) q[0],q[1]", "idle(XY) q[0]", "idle(0.5j) q[0]", "idle(0.5) q[0]", "gphase(0.5)", "U(1,2,3) q[0]",
  "CX q[0],q[1]", "measure q[0] -> c[0]", "measure q[0]->c[1]", "measure q -> c", "measure q[0] -> c[3]",
  "measure q[0] -> q[1]", "measure q[0]", "c[0] = measure q[0]", "c[2]=measure q[2]", "c = measure q",
  "c[0] = measure r", "b = measure q[0]", "c[5] = measure q[0]", "reset q[0]", "barrier q[0],q[1]", "barrier",
  "k[0] = measure q[0]",
  "delay(5) q[0]", "x $0", "x q[0]; y q[1]", "x q[1000000000000]", "h q[0] // note",
}

describe("a flat statement", function()
  it("comes to the same as by the full parser", function()
    local seen = { refused = 0, read = 0 }
    for _, head in ipairs(HEADS) do
      for _, statement in ipairs(STATEMENTS) do
        local text = ("%s\n%s;\n%s;\nh q[1];\n"):format(head, statement, statement)
        local by_patterns, by_trees = outcome(text), outcome(dressed(text))
        assert.same(by_trees, by_patterns, text)
        local kind = by_trees.refused and "refused" or "read"
        seen[kind] = seen[kind] + 1
      end
    end
    assert.is_true(seen.refused > 30 and seen.read > 60)
  end)

  it("is forgotten when a name comes to mean something else", function()
    local made = texts.form_of "OPENQASM 3.0;\nqubit[2] q;\nh q[0];\ngate h a { x a; }\nh q[0];\nqubit[2] r;\nh r[0];\n"
    assert.is_true(made.block[1][1].library)
    assert.is_nil(made.block[2][1].library)
    assert.same({ "h 0", "h 0", "h 2" }, texts.lines(made.block))
  end)

  it("shares its operation with equal ones", function()
    local made = texts.form_of "OPENQASM 2.0;\nqreg q[2];\ncx q[0],q[1];\ncx q[0],q[1];\n"
    assert.equal(made.block[1], made.block[2])
  end)

  it("tells later conditions what it measured", function()
    local made = texts.form_of "OPENQASM 3.0;\nqubit[2] q;\nbit[2] c;\nc[0] = measure q[0];\nif (c[0] == 1) x q[1];\n"
    assert.same({ "measure 0 0", "if (== (bit 0) 1) { x 1 }" }, texts.lines(made.block))
  end)
end)

-- Changes of a text by lot: characters, pieces of other places, words of the language.
local WORDS = {
  "(", ")", "{", "}", "[", "]", ";", ",", "->", "@", "ctrl @ ", "if (", "for int i in [0:3] ", "while (true) ",
  "measure ", "gate g a {", "def f() {", "q", "c[0]", "1e9", "-1", "//", "/*", "\"", "$2", "0x", "pi", "include ",
  "end;", "input int k;", "\0", "\255", "\n",
}

local function mutate(text, random)
  for _ = 1, random(1, 2) do
    local at, size = random(1, #text), random(0, 3)
    local kind, piece = random(1, 4), ""
    if kind == 1 then piece = WORDS[random(1, #WORDS)] end
    if kind == 2 then piece = string.char(random(0, 255)) end
    if kind == 3 then
      local from = random(1, #text)
      piece = text:sub(from, from + random(1, 40))
    end
    text = text:sub(1, at) .. piece .. text:sub(at + 1 + size)
    if #text == 0 then return "x" end
  end
  return text
end

-- A random number from a to b, the same ones in every run.
local function lot(seed)
  return function(a, b)
    seed = (seed * 6364136223846793005 + 1442695040888963407)
    return a + (seed >> 33) % (b - a + 1)
  end
end

describe("a text with mistakes", function()
  it("gives a form or an error, whatever they are", function()
    local random, sources = lot(20), {}
    for line in io.lines "spec/data/circuits-public.jsonl" do
      local text = cjson.decode(line).qasm
      if #text < 1500 then sources[#sources + 1] = text end
    end
    assert.is_true(#sources > 200)
    local tally = { read = 0, refused = 0 }
    for _ = 1, 1500 do
      local text = mutate(sources[random(1, #sources)], random)
      local ok, made, err = pcall(texts.read.from_qasm, text, { max_operations = 2000 })
      assert(ok, ("%s\nof\n%s"):format(made, text))
      if not made then
        assert.equal("invalid_circuit", err.kind)
        assert.is_true(err.line >= 1 and err.column >= 1)
      end
      local kind = made and "read" or "refused"
      tally[kind] = tally[kind] + 1
    end
    assert.is_true(tally.read > 50 and tally.refused > 500, ("%d read, %d refused"):format(tally.read, tally.refused))
  end)
end)
