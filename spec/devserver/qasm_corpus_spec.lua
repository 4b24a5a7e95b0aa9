-- The reference server's verdicts on 998 programs, asked again of the dev server through the client.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local cjson = require "cjson"
local helper = require "spec.helper"

local SHOTS, LINES = 16, 998

local codes = { OK = 0, INVALID_ARGUMENT = 3, INTERNAL = 13 }
local failure_texts = { symbolic = "symbolic", unsimulable = "Unhandled gate", capacity = "simulator" }

-- Where the dev server differs on purpose: the reference counts zeros for an angle that is no number.
local function expect_failure(program)
  program.state, program.class, program.counts, program.width = "JOB_STATE_FAILED", "symbolic", nil, nil
end

local function read_corpus()
  local programs = {}
  for line in io.lines("spec/data/qasm-corpus.jsonl") do
    local program = cjson.decode(line)
    program.number = #programs + 1
    if program.qasm:find("1e400", 1, true) and program.state then expect_failure(program) end
    programs[#programs + 1] = program
  end
  return programs
end

-- Line and column of a byte offset from 0 on.
local function position_of(text, offset)
  local before = text:sub(1, offset)
  local _, newlines = before:gsub("\n", "")
  return newlines + 1, #before:match("[^\n]*$") + 1
end

local function follow(client, program)
  local options = { shots = SHOTS, optimization_level = math.tointeger(program.level) }
  local job_id, err = client:submit_qasm(program.qasm, "simulator", options)
  if not job_id then return { refusal = err } end
  local result
  result, err = client:wait_for_job(job_id)
  return { result = result, failure = err, job = assert(client:get_job_status(job_id)) }
end

-- Every program is a task of its own.
local function follow_all(programs)
  local server = helper.start()
  local client = arvak.connect(server.address)
  local answers = {}
  arvak.run(function()
    for i, program in ipairs(programs) do
      arvak.spawn(function() answers[i] = follow(client, program) end)
    end
  end)
  client:close()
  server:stop()
  return answers
end

describe("the corpus of OpenQASM programs over the wire", function()
  local programs, answers = read_corpus(), nil

  setup(function() answers = follow_all(programs) end)
  teardown(helper.assert_clean)

  -- Applies check to every program that has the field; fails with the list of complaints. Says how many there were.
  local function each(field, check)
    local complaints, count = {}, 0
    for i, program in ipairs(programs) do
      if program[field] ~= nil then
        count = count + 1
        local complaint = check(program, answers[i])
        if complaint then
          local text = program.qasm:sub(1, 200)
          complaints[#complaints + 1] = ("line %d: %s\n  %s"):format(program.number, complaint, text)
        end
      end
    end
    assert.equal("", table.concat(complaints, "\n", 1, math.min(#complaints, 20)))
    return count
  end

  local function differs(what, expected, got)
    if expected ~= got then return ("%s: expected %s, got %s"):format(what, expected, got) end
  end

  it("is there in full", function()
    assert.equal(LINES, #programs)
    assert.equal(LINES, #answers)
  end)

  it("gives the same status for each", function()
    assert.equal(LINES, each("status", function(program, answer)
      return differs("status", codes[program.status], answer.refusal and answer.refusal.code or 0)
    end))
  end)

  it("names the same class of error in each refusal and failure", function()
    local count = each("class", function(program, answer)
      local class = program.class
      if program.state then
        local text = answer.job.error_message or ""
        return not text:find(failure_texts[class], 1, true) and ("%s: error_message %s"):format(class, text) or nil
      end
      local err = answer.refusal
      local message = err.message
      if class == "complexity" then return differs("message", 1, message:find("Circuit exceeds complexity limits")) end
      if class == "compile" then return differs("message", 1, message:find("Circuit compilation failed")) end
      if program.qasm:find("\0", 1, true) then return differs("attempts", 0, err.attempts) end
      local named = message:match("^%[permanent%] QASM parse error: ([%w_]+): line %d+, column %d+: .")
      return differs("class", class, named or message)
    end)
    assert.is_true(count > 700)
  end)

  it("gives every refusal of a program the kind invalid_circuit, and one of the compiler the kind rpc", function()
    each("class", function(program, answer)
      if program.state then return nil end
      return differs("kind", program.class == "compile" and "rpc" or "invalid_circuit", answer.refusal.kind)
    end)
  end)

  it("names the same line in each syntax error", function()
    assert.equal(165, each("line", function(program, answer)
      return differs("line", program.line, tonumber(answer.refusal.message:match(": line (%d+), column")))
    end))
  end)

  it("names the place of each invalid token", function()
    assert.equal(19, each("offset", function(program, answer)
      local message = answer.refusal.message
      local nul = message:match("byte (%d+) is NUL")
      if nul then return differs("byte", program.offset + 1, tonumber(nul)) end
      local line, column = position_of(program.qasm, program.offset)
      local place = table.concat({ message:match(": line (%d+), column (%d+):") }, ":")
      return differs("place", line .. ":" .. column, place)
    end))
  end)

  it("ends each accepted program in the same state", function()
    assert.equal(318, each("state", function(program, answer)
      return differs("state", program.state, "JOB_STATE_" .. answer.job.state)
    end))
  end)

  it("gives failed programs the kind job_failed and the job's own message", function()
    local failed = 0
    each("state", function(program, answer)
      if program.state ~= "JOB_STATE_FAILED" then return nil end
      failed = failed + 1
      return differs("kind", "job_failed", answer.failure and answer.failure.kind)
        or differs("message", answer.job.error_message, answer.failure.message)
    end)
    assert.equal(28, failed)
  end)

  it("counts over keys of the same width, with all shots", function()
    assert.equal(290, each("width", function(program, answer)
      local total = 0
      for bits, count in pairs(answer.result) do
        if #bits ~= program.width or not bits:find("^[01]+$") then
          return ("width %d: key %s"):format(program.width, bits)
        end
        total = total + count
      end
      return differs("sum of counts", SHOTS, total)
    end))
  end)

  it("gives the same counts where the outcome is certain", function()
    assert.equal(198, each("counts", function(program, answer)
      for bits, count in pairs(program.counts) do
        local complaint = differs(bits, count, answer.result.counts[bits])
        if complaint then return complaint end
      end
    end))
  end)
end)
