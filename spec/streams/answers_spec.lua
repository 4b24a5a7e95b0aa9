-- What a batch stream may answer, in any order and about anything: each submission has one end.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"
local peer = require "spec.support.peer"

local bell, TEST_TIMEOUT = helper.bell, helper.TEST_TIMEOUT
local client, there

local _, close = helper.fixture(function() return nil, client end, function(_, ...) client = ... end)

-- ---- messages, encoded

local function message(job_id, request_id, field, bytes)
  return string.pack("Bs1Bs1Bs1", 10, job_id, 18, request_id, field, bytes)
end

local function submitted(request_id, job_id) return message(job_id, request_id, 26, "ok") end
local function refused(request_id, text) return message("", request_id, 42, text) end

-- A JobResult with seven times "00".
local function result(job_id)
  return string.pack("Bs1Bs1BB", 10, job_id, 18, string.pack("Bs1BB", 10, "00", 16, 7), 24, 7)
end

local function completed(request_id, job_id, result_id)
  return message(job_id, request_id, 34, result(result_id or job_id))
end

local OK = peer.trailers(0, "")

-- The events of count submissions to a peer that says these messages and then ends well, and the error of the stream at
-- last: a list of texts.
local function events_of(count, messages)
  there = peer.start()
  local step = peer.stream(messages, OK)   -- once all submissions have come
  there:plan("requests", { step, peer.status(5, "no such job") })
  client = arvak.connect(there:address(), { timeout = 2 })
  local circuits, events = {}, {}
  for i = 1, count do circuits[i] = { bell, 7 } end
  local s <close> = client:submit_batch_stream(circuits, "simulator")
  while true do
    local event, index, job_id, data = s:next()
    if not event then
      if index then events[#events + 1] = "at last: " .. index.message end   -- the error
      return events
    end
    local text = ("%s %d %s"):format(event, index, job_id or "-")
    if event == "error" then text = ("%s: %s, %s"):format(text, data.kind, data.message) end
    if event == "completed" then text = ("%s: %d"):format(text, data.counts["00"]) end
    events[#events + 1] = text
  end
end

describe("a batch stream", function()
  after_each(function()
    there:stop()
    close()
  end)

  for name, case in pairs {
    ["gives the job and the result of a submission"] = {
      { submitted("1", "j"), completed("1", "j") }, { "submitted 1 j", "completed 1 j: 7" } },
    ["takes a result that names no job"] = {
      { submitted("1", "j"), completed("1", "j", "") }, { "submitted 1 j", "completed 1 j: 7" } },
    ["takes what is said twice once"] = {
      { submitted("1", "j"), submitted("1", "j"), submitted("1", "k"), completed("1", "j"), completed("1", "j"),
        refused("1", "late") }, { "submitted 1 j", "completed 1 j: 7" } },
    ["takes a refusal once"] = {
      { refused("1", "Circuit parsing failed: x"), refused("1", "again"), submitted("1", "j"), completed("1", "j") },
      { "error 1 -: invalid_circuit, Circuit parsing failed: x" } },
    ["ignores what nobody wrote"] = {
      { submitted("2", "x"), submitted("", "x"), submitted("zzz", "x"), completed("0", "x"), submitted("1.0e0", "j"),
        submitted("-1", "x"), refused("99999999999999999999", "x"), completed("1", "j") },
      { "submitted 1 j", "completed 1 j: 7" } },
    ["refuses the result of another job inside its own message"] = {
      { submitted("1", "j"), completed("1", "j", "other") },
      { "submitted 1 j", "error 1 j: job_not_found, no such job",
        "at last: the server's answer is about another job than the one it was asked about" } },
    ["refuses a message that is about another job"] = {
      { submitted("1", "j"), completed("1", "other") },
      { "submitted 1 j", "error 1 j: rpc, the server's answer is broken: the result of job other came for job j" } },
    ["takes no result after it has refused one"] = {
      { submitted("1", "j"), completed("1", "other"), completed("1", "j") },
      { "submitted 1 j", "error 1 j: rpc, the server's answer is broken: the result of job other came for job j" } },
    ["refuses a job without an id"] = {
      { submitted("1", ""), completed("1", "") },
      { "error 1 -: rpc, the stream ended before the server had answered this submission",
        "at last: the server answered with OK, but without what was asked for" } },
    ["looks up what ended before it began"] = {
      { completed("1", "j"), submitted("1", "j") },
      { "submitted 1 j", "error 1 j: job_not_found, no such job" } },
  } do
    it(name, function() assert.same(case[2], events_of(1, case[1])) end)
  end

  it("keeps submissions apart, in whatever order they end", function()
    assert.same({
      "submitted 1 a", "submitted 2 b", "submitted 3 c", "completed 3 c: 7", "completed 1 a: 7",
      "error 2 b: rpc, the server's answer is broken: the result of job a came for job b",
    }, events_of(3, { submitted("1", "a"), submitted("2", "b"), submitted("3", "c"), completed("3", "c"),
      completed("1", "a"), completed("2", "a") }))
  end)
end)

describe("a batch", function()
  after_each(function()
    there:stop()
    close()
  end)

  it("refuses the result of another job on its stream, as the error of that input", function()
    there = peer.start()
    local step = peer.stream({ submitted("1", "a"), submitted("2", "b"), completed("1", "b"), completed("2", "b") }, OK)
    step.at = "headers"   -- the second submission is written when the first has been answered
    there:plan("requests", { peer.trickle(step, 0.005), peer.status(5, "no such job") })
    client = arvak.connect(there:address(), { timeout = 2 })
    local manager <close> = arvak.batch_manager(client)
    local r = manager:execute_batch({ { bell, 7 }, { bell, 7 } }, "simulator",
      { transport = "stream", timeout = TEST_TIMEOUT })
    assert.equal("rpc", r.items[1].err.kind)
    assert.matches("the result of job b came for job a", r.items[1].err.message)
    assert.equal("a", r.items[1].err.job_id)
    assert.equal(7, r.items[2].result.counts["00"])
  end)
end)
