-- Drawings: small ones as they are, large ones by what holds for all.
-- SPDX-License-Identifier: Apache-2.0
local circuit = require "arvak.circuit"

-- A drawing without the indentation of a spec.
local function assert_drawn(expected, c, options)
  expected = ("\n" .. expected):gsub("\n +|", "\n"):gsub("^\n+", ""):gsub("\n *$", "")
  local drawing = c:draw(options or { width = 80 })
  assert.equal(expected, drawing, "\n" .. drawing)
end

local function lines_of(text)
  local lines = {}
  for line in (text .. "\n"):gmatch("(.-)\n") do lines[#lines + 1] = line end
  return lines
end

local names = {}
for name, shape in pairs(assert(loadfile "lua/arvak/circuit/library.lua")()) do
  if shape[2] > 0 then names[#names + 1] = { name, shape[1], shape[2] } end
end
table.sort(names, function(a, b) return a[1] < b[1] end)

-- A circuit of random operations of every kind.
local function random_circuit(random, qubits, size)
  local c = circuit.new(qubits)
  for _ = 1, size do
    local gate = names[random(#names)]
    local free, arguments = {}, {}
    for q = 0, qubits - 1 do free[q + 1] = q end
    for i = 1, gate[2] do arguments[i] = random(4) == 1 and circuit.parameter "theta" / 3 or random() * 6 end
    if gate[3] <= qubits then
      for i = 1, gate[3] do arguments[gate[2] + i] = table.remove(free, random(#free)) end
      c[gate[1]](c, table.unpack(arguments))
    end
    local kind, q = random(12), random(qubits) - 1
    if kind == 1 then c:measure(q, random(qubits) - 1) elseif kind == 2 then c:reset(q) end
    if kind == 3 then c:barrier() elseif kind == 4 then c:barrier(q) end
    if kind == 5 then c:when("c", random(2) - 1, function(body) body:h(q) end) end
    if kind == 6 then c:when(q, 1, function(body) body:h(q):measure(q, q):x((q + 1) % qubits) end) end
  end
  return c
end

describe("a drawing", function()
  it("has gates, controls, targets and measurements down to bits", function()
    assert_drawn([[
      |         ┌───┐          ┌─┐
      |q[0]: ───┤ H ├─●────────┤M├────
      |         └───┘ │        └╥┘┌─┐
      |q[1]: ─────────⊕────●────╫─┤M├─
      |            ┌─────┐ │    ║ └╥┘
      |q[2]: ──────┤ Rz  ├─⊕────╫──╫──
      |]] and [[
      |         ┌───┐   ┌─┐
      |q[0]: ───┤ H ├─●─┤M├─────
      |         └───┘ │ └╥┘ ┌─┐
      |q[1]: ─────────⊕──╫──┤M├─
      |                  ║  └╥┘
      |   c: 2/══════════╩═══╩══
      |                  0   1
      ]], circuit.new(2):h(0):cx(0, 1):measure_all())
  end)

  it("has ASCII on request", function()
    assert_drawn([[
      |         +---+   +-+
      |q[0]: ---| H |-@-|M|-----
      |         +---+ | +++ +-+
      |q[1]: ---------X--+--|M|-
      |                  |  +++
      |   c: 2/==========+===+==
      |                  0   1
      ]], circuit.new(2):h(0):cx(0, 1):measure_all(), { width = 80, ascii = true })
  end)

  it("has conditions: a line to the bits for one gate, a fence for several", function()
    local c = circuit.new(1):when("c", 1, function(body) body:x(0) end)
    c:when(0, 1, function(body) body:h(0):z(0) end)
    assert_drawn([[
      |         ┌───┐ ┌───────────┐ ┌───┐ ┌───┐ ┌─────┐
      |q[0]: ───┤ X ├─┤ if c == 1 ├─┤ H ├─┤ Z ├─┤ end ├─
      |         └─╥─┘ └───────────┘ └───┘ └───┘ └─────┘
      |   c: 1/═══╩═════════════════════════════════════
      |           =1
      ]], c)
  end)

  it("has boxes over several qubits with the numbers of a gate's own, and wires that pass", function()
    local c = assert(circuit.from_qasm [[
      OPENQASM 3.0; include "stdgates.inc"; gate pair(a) x, y { cx x, y; rz(a) y; } qubit[3] q; qubit anc;
      pair(pi/3) q[2], q[0]; ctrl @ pair(1) anc, q[0], q[1]; ]])
    assert_drawn([[
      |      ┌────────────┐ ┌─────────┐
      |q[0]: ┤1           ├─┤0        ├─
      |      │            │ │ pair(1) │
      |]] and [[
      |       ┌────────────┐ ┌──────────┐
      |q[0]: ─┤1           ├─┤0         ├─
      |       │            │ │  pair(1) │
      |q[1]: ─┤  pair(π/3) ├─┤1         ├─
      |       │            │ └────┬─────┘
      |q[2]: ─┤0           ├──────┼───────
      |       └────────────┘      │
      | anc: ─────────────────────●───────
      ]], c)
  end)

  it("has swaps, resets, barriers, open controls, powers, inverses and a global phase", function()
    local c = assert(circuit.from_qasm [[
      OPENQASM 3.0; include "stdgates.inc"; qubit[2] q; gphase(pi/2);
      swap q[0], q[1]; reset q[0]; barrier q; negctrl @ x q[0], q[1]; inv @ sx q[0]; pow(0.5) @ x q[1]; tdg q[0]; ]])
    assert_drawn([[
      |global phase: π/2
      |           ┌───┐ ░    ┌─────┐ ┌────┐
      |q[0]: ─×─┤|0⟩├─░─○──┤ Sx† ├─┤ T† ├─
      |]] and [[
      |global phase: π/2
      |
      |         ┌───┐      ┌─────┐  ┌────┐
      |q[0]: ─×─┤|0⟩├─░─○──┤ Sx† ├──┤ T† ├─
      |       │ └───┘ ░ │ ┌┴─────┴┐ └────┘
      |q[1]: ─×───────░─⊕─┤ X^0.5 ├────────
      |                   └───────┘
      ]], c)
  end)

  it("writes angles as multiples of pi where they are, and shortens long words", function()
    local theta = circuit.parameter "theta"
    local drawing = circuit.new(1):rz(math.pi, 0):rz(-3 * math.pi / 4, 0):rz(0.12345, 0):rz(theta / 2, 0)
      :rx(theta * theta * theta * theta * theta * theta * theta, 0):draw { width = 200 }
    for _, word in ipairs { "Rz(π)", "Rz(-3π/4)", "Rz(0.1235)", "Rz(theta/2)", "Rx(theta*theta*theta*theta*th…" } do
      assert.matches(word, drawing, 1, true)
    end
  end)

  it("packs operations into the first column that is free", function()
    assert_drawn([[
      |         ┌───┐ ┌───┐
      |q[0]: ───┤ H ├─┤ X ├─
      |         ├───┤ └───┘
      |q[1]: ───┤ H ├───────
      |         └───┘
      |   c: 2/═════════════
      ]], circuit.new(2):h(0):x(0):h(1))
  end)

  it("is folded at the width, with the names of the wires repeated", function()
    local c = circuit.new { qubits = 1, bits = 0 }
    for _ = 1, 5 do c:h(0) end
    assert_drawn([[
      |       ┌───┐ ┌───┐
      |q[0]: ─┤ H ├─┤ H ├─
      |       └───┘ └───┘
      |
      |       ┌───┐ ┌───┐
      |q[0]: ─┤ H ├─┤ H ├─
      |       └───┘ └───┘
      |
      |       ┌───┐
      |q[0]: ─┤ H ├─
      |       └───┘
      ]], c, { width = 20 })
  end)

  it("of nothing shows the wires", function()
    assert_drawn(" |q[0]: ───\n |   c: 1/═", circuit.new(1))
  end)

  it("keeps to its width, and to ASCII, whatever the circuit", function()
    math.randomseed(7)
    for _ = 1, 12 do
      local c = random_circuit(math.random, math.random(1, 6), math.random(0, 40))
      for _, width in ipairs { 40, 80, 100 } do
        for _, line in ipairs(lines_of(c:draw { width = width })) do
          assert.is_true(utf8.len(line) <= width, line)
          assert.is_nil(line:find("%s$"))
        end
        local drawing = c:draw { width = width, ascii = true }
        assert.is_nil(drawing:find("[^\n\32-\126]"))
      end
    end
  end)

  it("draws each gate of the library once", function()
    for _, gate in ipairs(names) do
      local c, arguments = circuit.new(5), {}
      for i = 1, gate[2] do arguments[i] = 0.5 end
      for i = 1, gate[3] do arguments[gate[2] + i] = i - 1 end
      c[gate[1]](c, table.unpack(arguments))
      local bare, drawn = circuit.new(5):draw { width = 80 }, c:draw { width = 80 }
      assert.not_equal(bare, drawn)
      assert.equal(drawn, circuit.new(5):append(c):draw { width = 80 })
    end
  end)

  it("escapes what a terminal would act upon, and in ASCII what is not ASCII", function()
    local c = circuit.new(1):rx(circuit.parameter "θ", 0)
    assert.matches("Rx(θ)", c:draw { width = 80 }, 1, true)
    assert.matches("Rx(\\u{3b8})", c:draw { width = 80, ascii = true }, 1, true)
    local turned = circuit.new { qubits = { { "a\u{202e}b", 1 } } }
    assert.matches("a\\u{202e}b[0]", turned:draw { width = 80 }, 1, true)
  end)

  it("raises for options that are none", function()
    local c = circuit.new(1)
    for _, options in ipairs { { width = 19 }, { width = 1.5 }, { width = "80" }, { ascii = 1 }, { color = true } } do
      assert.is_false(pcall(c.draw, c, options))
    end
    assert.truthy(c:draw { width = math.huge })
  end)
end)

describe("print", function()
  it("shows the drawing", function()
    local c = circuit.new(2):h(0)
    assert.equal(c:draw { width = 80 }, tostring(c))
  end)

  it("shows 200 lines at most, and says that the circuit goes on", function()
    local c = circuit.new(4)
    for i = 1, 2000 do c:h(i % 4) end
    local lines = lines_of(tostring(c))
    assert.equal(200, #lines)
    assert.equal("… the circuit goes on", lines[200])
    local all = lines_of(c:draw { width = 80 })
    assert.same(table.move(all, 1, 199, 1, {}), table.move(lines, 1, 199, 1, {}))
    local wide = lines_of(tostring(circuit.new(300):h(299)))
    assert.equal(200, #wide)
    assert.equal(200, #lines_of(tostring(circuit.new(100000):h(99999))))
  end)
end)

-- Circuits of which every part is large: wires, operations, what one operation spans, and columns that stay free.
local large = {}

function large.wide() return circuit.new(1000000):h(0):cx(0, 999999):measure(1, 2):barrier():h(999999) end

function large.deep()
  local c = circuit.new(2)
  for _ = 1, 100000 do c:h(0):cx(0, 1) end
  return c
end

function large.measured() return circuit.new(30000):measure_all() end

function large.spanning()
  local c = circuit.new(10001)
  for _ = 1, 50000 do c:cx(0, 9998) end
  return c
end

function large.fenced()
  local c = circuit.new(200000)
  for _ = 1, 2000 do c:barrier() end
  return c
end

local rests = { wide = "the first 10000 of 1000001 wires", deep = "the first %d+ columns",
  measured = "the first 10000 of 30001 wires and the first %d+ columns",
  spanning = "the first 10000 of 10002 wires and the first %d+ columns",
  fenced = "the first 10000 of 200001 wires and the first %d+ columns" }

describe("a drawing of a large circuit", function()
  it("is bounded, and its last line says what is left out", function()
    for name, make in pairs(large) do
      local before = os.clock()
      local lines = lines_of(make():draw { width = 100 })
      assert.matches("^… the circuit goes on behind " .. rests[name] .. "$", lines[#lines])
      assert.is_true(#lines <= 20001 + 12500, name)
      assert.is_true(os.clock() - before < 100, name)
    end
  end)

  it("shows what it has room for as any other", function()
    local c = circuit.new(12000):h(0):cx(0, 3):x(4):h(2):cx(1, 11999)
    local lines = lines_of(c:draw { width = 40 })
    assert.equal([[
                ┌───┐
   q[0]: ───────┤ H ├─●─────────
                └───┘ │
   q[1]: ─────────────┼───────●─
                      │ ┌───┐ │
   q[2]: ─────────────┼─┤ H ├─┼─
                      │ └───┘ │
   q[3]: ─────────────⊕───────┼─
                ┌───┐         │
   q[4]: ───────┤ X ├─────────┼─
                └───┘         │]], table.concat(lines, "\n", 1, 11))
  end)

  it("keeps the lines of its gates to its own rows", function()
    local lines = lines_of(circuit.new(10002):cx(0, 10001):draw { width = 40 })
    local crossing = 0
    for _, line in ipairs(lines) do
      if line:find("│", 1, true) or line:find("┼", 1, true) then crossing = crossing + 1 end
    end
    assert.equal(2 * 10000 - 1, crossing)   -- all below the control, down to the edge
  end)
end)

describe("c:to_svg", function()
  local path

  before_each(function() path = os.tmpname() end)
  after_each(function() os.remove(path) end)

  local function read()
    local file <close> = assert(io.open(path, "rb"))
    return file:read("a")
  end

  local function is_well_formed()
    return os.execute(("python3 -c 'import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])' %s"):format(path))
  end

  it("writes well-formed XML for every kind of operation", function()
    math.randomseed(11)
    assert.is_true(random_circuit(math.random, 6, 120):to_svg(path))
    assert.is_true(is_well_formed())
  end)

  it("needs nothing from outside", function()
    random_circuit(math.random, 4, 30):to_svg(path)
    local text = read():gsub('xmlns="http://www.w3.org/2000/svg"', "")
    for _, word in ipairs { "http", "url(", "@import", "<script", "<image", "href", "<foreignObject", "<!ENTITY" } do
      assert.is_nil(text:find(word, 1, true), word)
    end
  end)

  it("escapes what is not plain text in XML", function()
    local c = assert(circuit.from_qasm [[
      OPENQASM 3.0; include "stdgates.inc"; qubit[2] q; bit[2] c; c = measure q;
      if (c < 2 && c > 0) { x q[0]; h q[1]; } ]])
    assert.is_true(c:to_svg(path))
    assert.is_true(is_well_formed())
    assert.matches("&lt;", read(), 1, true)
  end)

  it("folds at its width", function()
    local c = circuit.new(1)
    for _ = 1, 100 do c:h(0) end
    for _, width in ipairs { 200, 1000, math.huge } do
      c:to_svg(path, { width = width })
      local actual = tonumber(read():match('<svg [^>]-width="(%d+)"'))
      assert.is_true(actual <= width)
    end
  end)

  it("is bounded for a large circuit, and says what it leaves out", function()
    for name, make in pairs(large) do
      local before = os.clock()
      local ok, rest = make():to_svg(path)
      assert.is_true(ok)
      assert.matches("^… the circuit goes on behind " .. rests[name] .. "$", rest)
      local text = read()
      assert.is_truthy(text:find(rest .. "</text>\n</svg>\n", 1, true), name)
      assert.is_true(#text < 50000000, name)
      assert.is_true(os.clock() - before < 100, name)
      assert.is_true(is_well_formed(), name)
    end
    assert.same({ true }, { circuit.new(2):h(0):to_svg(path) })
  end)

  it("gives an error for what cannot be written, and raises for what is no name", function()
    local ok, err = circuit.new(1):to_svg("/nowhere/at/all.svg")
    assert.is_nil(ok)
    assert.matches("cannot be written", err.message, 1, true)
    assert.is_false(pcall(circuit.new(1).to_svg, circuit.new(1)))
  end)
end)
