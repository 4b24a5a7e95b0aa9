-- The programs that people have, made by Qiskit, MQT Bench, Cirq, pytket and by hand: the library gives each its exact
-- outcomes, or refuses it for the reason given here. $ARVAK_QASMBENCH names a folder with the public benchmark.
-- SPDX-License-Identifier: Apache-2.0
local chi_squared = require "spec.support.chi_squared"
local circuit = require "arvak.circuit"
local cjson = require "cjson"
local helper = require "spec.helper"
local evaluator = require "spec.support.evaluator"
local programs = require "spec.support.programs"

local SHOTS, SEED, FAMILY = 20000, 7, 1e-3
local PUBLIC, TOLERANT = 705, 34

-- These run as often as their measurements say, without a bound.
local refused = {
  hand3_while_measure = "a loop over measured values that has no constant bound",
  dyn_whileloop_q3 = "a loop over measured values that has no constant bound",
}

local function each(list, check)
  local complaints = {}
  for _, program in ipairs(list) do
    local complaint = check(program)
    if complaint then complaints[#complaints + 1] = program.name .. ": " .. complaint end
  end
  assert.equal("", table.concat(complaints, "\n", 1, math.min(#complaints, 20)))
end

local function check_exact(program)
  local got, err = programs.exact(program)
  local reason = refused[program.name]
  if reason then
    if got then return "accepted" end
    local is_named = err.kind == "invalid_circuit" and err.line and err.message:find(reason, 1, true)
    return not is_named and tostring(err) or nil
  end
  if not got then return tostring(err) end
  local distance = programs.distance(got, program.probs)
  return distance >= programs.LIMIT and ("a total variation of %g"):format(distance) or nil
end

describe("the evaluator of the tests", function()
  it("gives the outcomes of every program, those with loops without a bound included", function()
    local count = 0
    for _, list in ipairs { programs.public(), programs.tolerant() } do
      count = count + #list
      each(list, function(program)
        local got, err = evaluator.probabilities(program.qasm, { inputs = program.inputs, budget = 2000000 })
        if not got then return err.evaluator end
        local distance = programs.distance(got, program.probs)
        return distance >= programs.LIMIT and ("a total variation of %g"):format(distance) or nil
      end)
    end
    assert.equal(PUBLIC + TOLERANT, count)
  end)

  it("tells two distributions apart that differ in one outcome, and takes them for equal otherwise", function()
    assert.equal(0.25, programs.distance({ ["0"] = 0.5, ["1"] = 0.5 }, { ["0"] = 0.75, ["1"] = 0.25 }))
    assert.equal(1, programs.distance({ ["0"] = 1 }, { ["1"] = 1 }))
    assert.equal(0, programs.distance({ ["0"] = 1 }, { ["0"] = 1 }))
  end)
end)

describe("a program of the public ones", function()
  it("has its exact distribution, or is refused by name and line", function()
    local list = programs.public()
    assert.equal(PUBLIC, #list)
    each(list, check_exact)
  end)
end)

describe("a program that strict parsers refuse", function()
  it("has its exact distribution", function()
    local list = programs.tolerant()
    assert.equal(TOLERANT, #list)
    each(list, check_exact)
  end)
end)

describe("the counts of a seeded server", function()
  local server, client
  local open, close = helper.fixture(function() return server, client end, function(s, c) server, client = s, c end)
  before_each(function() open { seed = SEED } end)
  after_each(close)

  -- All of them with $ARVAK_ALL_PROGRAMS; else each twelfth.
  local function sample()
    local list, step = {}, os.getenv "ARVAK_ALL_PROGRAMS" and 1 or 12
    for i, program in ipairs(programs.public()) do
      if i % step == 0 and not refused[program.name] then list[#list + 1] = program end
    end
    return list
  end

  it("fit the program's distribution by a chi-squared test", function()
    local list = sample()
    assert.is_true(#list >= 50)
    local least = FAMILY / #list
    each(list, function(program)
      local c = assert(programs.circuit_of(program))
      local result, err = client:execute(c, "simulator", SHOTS)
      if not result then return tostring(err) end
      local p, problem = chi_squared.test(result.counts, program.probs)
      if not p then return problem end
      return p < least and ("p = %g"):format(p) or nil
    end)
  end)

  it("do not fit another distribution", function()
    local result = assert(client:execute(circuit.new(1):ry(1.0, 0):measure_all(), "simulator", SHOTS))
    local one = math.sin(0.5) ^ 2
    assert.is_true(chi_squared.test(result.counts, { ["0"] = 1 - one, ["1"] = one }) > FAMILY)
    assert.is_true(chi_squared.test(result.counts, { ["0"] = 1 - one - 0.02, ["1"] = one + 0.02 }) < FAMILY)
    assert.is_nil((chi_squared.test(result.counts, { ["0"] = 1 })))
  end)
end)

describe("a program of QASMBench", function()
  local folder = os.getenv "ARVAK_QASMBENCH"
  if not folder then
    pending("has its outcomes; $ARVAK_QASMBENCH names no folder")
    return
  end

  -- The marginal of each bit, from bit 0 on.
  local function marginals(probabilities)
    local r = {}
    for bits, p in pairs(probabilities) do
      for i = 1, #bits do r[i] = (r[i] or 0) + (bits:byte(#bits + 1 - i) == 49 and p or 0) end
    end
    return r
  end

  local function check(outcome)
    local path = ("%s/%s"):format(folder, outcome.file)
    local c, err = circuit.load(path)
    if not c then return tostring(err) end
    local lowered
    lowered, err = c:lowered { qubits = 20 }
    if not lowered then return tostring(err) end
    local got = programs.probabilities_of(lowered)
    if type(outcome.probs) == "table" then
      local distance = programs.distance(got, outcome.probs)
      return distance >= programs.LIMIT and ("a total variation of %g"):format(distance) or nil
    end
    local own = marginals(got)
    for bit, p in pairs(outcome.marginals) do
      local one = own[tonumber(bit) + 1]
      if math.abs(one - p) > programs.LIMIT then return ("bit %s is 1 with %g, expected %g"):format(bit, one, p) end
    end
  end

  it("has its exact outcomes", function()
    local list = {}
    for line in io.lines(folder .. "/outcomes.jsonl") do
      list[#list + 1] = cjson.decode(line)
      list[#list].name = list[#list].file
    end
    assert.is_true(#list >= 50)
    each(list, check)
  end)
end)
