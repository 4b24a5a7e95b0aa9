-- Results in chunks: their order and completeness, why there are none, and memory that stays flat.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"
local peer = require "spec.support.peer"
local monotime = require("system").monotime

local bell, TEST_TIMEOUT = helper.bell, helper.TEST_TIMEOUT
local sanitized = os.getenv "ASAN_OPTIONS" ~= nil   -- then freed memory is kept for a while
local server, client

local open, close = helper.fixture(function() return server, client end, function(...) server, client = ... end)

-- All basis states of so many qubits, alike.
local function uniform(qubits)
  return ("OPENQASM 3.0; qubit[%d] q; bit[%d] c; h q; c = measure q;"):format(qubits, qubits)
end

local function finished(qasm, shots)
  local job_id = assert(client:submit_qasm(qasm or bell, "simulator", shots or 100))
  return job_id, assert(client:wait_for_job(job_id))
end

local function resident_bytes()
  for line in io.lines "/proc/self/status" do
    local kilobytes = line:match "^VmRSS:%s*(%d+)"
    if kilobytes then return 1024 * kilobytes end
  end
end

local function error_of(job_id, options)
  local values = table.pack(client:stream_results(job_id, options):next())
  assert.equal(2, values.n)
  assert.is_nil(values[1])
  return values[2]
end

describe("stream_results", function()
  after_each(close)

  for _, size in ipairs { 1, 7, 64, 1000 } do
    it("gives every count once, in order, in chunks of " .. size, function()
      open()
      local job_id, result = finished(uniform(6), 3000)
      local seen, expected = {}, 0
      local chunks = math.ceil(64 / size)
      for counts, is_final, index, total in client:stream_results(job_id, size) do
        assert.equal(expected, index)
        assert.equal(chunks, total)
        assert.equal(index == total - 1, is_final)
        for bits, count in pairs(counts) do
          assert.is_nil(seen[bits])
          seen[bits] = count
        end
        expected = expected + 1
      end
      assert.equal(chunks, expected)
      assert.same(result.counts, seen)
    end)
  end

  it("takes the chunk size by name, and the server's for 0 and for none", function()
    open()
    local job_id = finished(uniform(11), 20000)
    for options, total in pairs { [{ chunk_size = 512 }] = 4, [{ chunk_size = 0 }] = 3, [{}] = 3 } do
      local s <close> = client:stream_results(job_id, options)
      assert.equal(total, (select(4, s:next())))
    end
    local s <close> = client:stream_results(job_id)
    assert.equal(3, (select(4, s:next())))
  end)

  it("gives one empty, final chunk for a result without counts", function()
    open()
    local job_id = finished(bell, 0)
    local s = client:stream_results(job_id)
    local counts, is_final, index, total = s:next()
    assert.same({}, counts)
    assert.same({ true, 0, 1 }, { is_final, index, total })
    assert.same({}, { s:next() })
  end)

  it("streams to many tasks at once", function()
    open()
    local job_id = finished(uniform(6), 3000)
    arvak.run(function()
      local sums = {}
      for i = 1, 100 do
        sums[i] = arvak.spawn(function()
          local sum = 0
          for counts in client:stream_results(job_id, 10) do
            for _, count in pairs(counts) do sum = sum + count end
          end
          return sum
        end)
      end
      for _, sum in ipairs(assert(arvak.all(sums))) do assert.equal(3000, sum) end
    end)
  end)

  it("raises at the caller for a wrong id or chunk size", function()
    open()
    for message, arguments in pairs {
      ["job_id: got nil, expected a string"] = {},
      ["chunk_size: got %-1, expected an integer from 0 to 4294967295"] = { "j", -1 },
      ["chunk_size: got 1%.5, expected an integer from 0 to 4294967295"] = { "j", { chunk_size = 1.5 } },
      ["chunk_size: got 4294967296, expected an integer"] = { "j", 4294967296 },
      ["chunk_size: got true, expected an integer"] = { "j", { chunk_size = true } },
      ["chunk_size: got \"8\", expected an integer"] = { "j", { chunk_size = "8" } },
      ['stream_results: unknown option "every_tick"'] = { "j", { every_tick = true } },
      ["stream_results: got true, expected"] = { "j", true },
    } do
      local ok, err = pcall(function() return (client:stream_results(arguments[1], arguments[2])) end)
      assert.is_false(ok)
      assert.matches("^spec/streams/counts_spec%.lua:%d+: " .. message, err)
    end
  end)
end)

describe("stream_results of a job without a result", function()
  before_each(function() open() end)
  after_each(close)

  it("gives job_not_found for an unknown job", function()
    local err = error_of("nowhere")
    assert.equal("job_not_found", err.kind)
    assert.equal("nowhere", err.job_id)
  end)

  it("gives job_not_completed, and says in which state the job is", function()
    server:fault { rpc = "SubmitJob", job = "hang" }
    local job_id = assert(client:submit_qasm(bell, "simulator"))
    helper.eventually(function() return assert(client:get_job_status(job_id)).state == "RUNNING" end)
    local err = error_of(job_id)
    assert.equal("job_not_completed", err.kind)
    assert.matches("RUNNING", err.message)
    assert.equal(job_id, err.job_id)
  end)

  it("tells a canceled job and an expired result apart", function()
    server:fault { rpc = "SubmitJob", job = "hang" }
    local job_id = assert(client:submit_qasm(bell, "simulator"))
    assert(client:cancel_job(job_id))
    assert.equal("job_canceled", error_of(job_id).kind)
    server:set_job_state(job_id, "RESULT_EXPIRED")
    assert.equal("result_expired", error_of(job_id).kind)
  end)

  it("gives job_failed for one that failed", function()
    server:fault { rpc = "SubmitJob", job = "fail", message = "no luck" }
    local job_id = assert(client:submit_qasm(bell, "simulator"))
    assert(not client:wait_for_job(job_id))
    local err = error_of(job_id)
    assert.equal("job_failed", err.kind)
    assert.matches("no luck", err.message)
  end)

  it("asks once more when the job has completed since it was refused", function()
    local job_id = finished()
    server:fault { rpc = "StreamResults", status = "FAILED_PRECONDITION", count = 1 }
    local sum = 0
    for counts in client:stream_results(job_id) do
      for _, count in pairs(counts) do sum = sum + count end
    end
    assert.equal(100, sum)
    server:fault { rpc = "StreamResults", status = "FAILED_PRECONDITION" }
    assert.equal("job_not_completed", error_of(job_id).kind)
    assert.equal(4, server:stats().calls.StreamResults)
  end)

  it("does not start over when it is refused after the first chunk", function()
    local job_id = finished(uniform(6), 3000)
    server:fault { rpc = "StreamResults", status = "FAILED_PRECONDITION", when = "after", messages = 1 }
    local s = client:stream_results(job_id, 1)
    assert.truthy(s:next())
    local value, err = s:next()
    assert.is_nil(value)
    assert.equal("job_not_completed", err.kind)
    assert.equal(1, server:stats().calls.StreamResults)
  end)

  it("gives the refusal when the client is closed before the reason is asked for", function()
    local job_id = finished()
    server:fault { rpc = "StreamResults", status = "FAILED_PRECONDITION", when = "after", messages = 1 }
    local s = client:stream_results(job_id, 1)
    assert.truthy(s:next())
    for _ = 1, 10 do arvak.poll(0.005) end
    client:close()
    local value, err = s:next()
    assert.is_nil(value)
    assert.is_true(err.kind == "job_not_completed" or err.kind == "closed", err.kind)
  end)
end)

-- No dev server sends such chunks, so here they come from a raw peer, each {is_final, index, total, job id ("j")}.
describe("stream_results of chunks that do not fit", function()
  local there

  after_each(function()
    if there then there:stop() end
    there = nil
    close()
  end)

  -- A ResultChunk without counts, encoded.
  local function encode(chunk)
    local is_final, index, total, job_id = table.unpack(chunk, 1, 4)
    return string.pack("Bs1BBBBBB", 10, job_id or "j", 24, is_final and 1 or 0, 32, index, 40, total)
  end

  -- What a peer that sends these chunks leads to.
  local function flaw_of(chunks)
    there = peer.start()
    client = arvak.connect(there:address())
    local messages = {}
    for i, chunk in ipairs(chunks) do messages[i] = encode(chunk) end
    there:plan("requests", { peer.stream(messages, peer.trailers(0, "")) })
    local s = client:stream_results("j")
    local value, err
    repeat value, err = s:next() until not value
    if not err then return nil end
    assert.equal("rpc", err.kind)
    assert.equal("j", err.job_id)
    return err.message
  end

  it("has nothing to say about those that fit", function()
    assert.is_nil(flaw_of { { false, 0, 2 }, { true, 1, 2 } })
    assert.is_nil(flaw_of { { true, 0, 1, "" } })
  end)

  it("takes none of another job", function()
    local refusal = "the server's answer is about another job than the one it was asked about"
    assert.equal(refusal, flaw_of { { true, 0, 1, "other" } })
    assert.equal(refusal, flaw_of { { false, 0, 2 }, { true, 1, 2, "k" } })
  end)

  for flaw, chunks in pairs {
    ["chunk 1 came where chunk 0 was expected"] = { { false, 1, 3 } },
    ["chunk 2 came where chunk 1 was expected"] = { { false, 0, 3 }, { true, 2, 3 } },
    ["chunk 0 came where chunk 1 was expected"] = { { false, 0, 3 }, { false, 0, 3 } },
    ["the number of chunks changed from 3 to 2"] = { { false, 0, 3 }, { true, 1, 2 } },
    ["chunk 0 of 3 is called the final one"] = { { true, 0, 3 } },
    ["chunk 1 of 2 is not called the final one"] = { { false, 0, 2 }, { false, 1, 2 } },
    ["it ended after 1 chunks, before the final one"] = { { false, 0, 2 } },
    ["it ended after 0 chunks, before the final one"] = {},
    ["chunk 0 came of only 0"] = { { false, 0, 0 } },
    ["chunk 2 came of only 2"] = { { false, 0, 2 }, { true, 1, 2 }, { false, 2, 2 } },
    ["chunk 1 came where chunk 2 was expected"] = { { false, 0, 2 }, { true, 1, 2 }, { true, 1, 2 } },
  } do
    it("says: " .. flaw, function()
      assert.equal("the stream of results does not fit: " .. flaw, flaw_of(chunks))
    end)
  end
end)

describe("stream_results that breaks in the middle", function()
  before_each(function() open() end)
  after_each(close)

  for what, fault in pairs {
    ["a cut connection"] = { drop = "after" },
    ["a status"] = { status = "UNAVAILABLE" },
  } do
    it("gives the chunks that came and then the error of " .. what, function()
      local job_id = finished(uniform(6), 3000)
      fault.rpc, fault.messages = "StreamResults", 3
      server:fault(fault)
      local s = client:stream_results(job_id, 8)
      local chunks, err = 0, nil
      repeat
        local counts, second = s:next()
        if counts then chunks = chunks + 1 else err = second end
      until not counts
      assert.is_true(chunks <= 3)
      assert.equal("unavailable", err.kind)
      assert.equal(job_id, err.job_id)
      assert.equal(1, server:stats().calls.StreamResults)
    end)
  end

  it("says so when a chunk is larger than the server may send", function()
    local small = helper.start { max_message_size = 2000 }
    local other <close> = arvak.connect(small.address)
    local job_id = assert(other:submit_qasm(uniform(8), "simulator", 3000))
    helper.eventually(function() return assert(other:get_job_status(job_id)).state == "COMPLETED" end)
    local counts, err = other:stream_results(job_id, 1000):next()
    small:stop()
    assert.is_nil(counts)
    assert.equal("OUT_OF_RANGE", err.name)
  end)

  it("gives a clear error when the server is killed, and nothing hangs", function()
    local job_id = finished(uniform(14), 100000)
    local s = client:stream_results(job_id, 1)
    assert.truthy(s:next())
    server:stop()
    local started_at, value, err = monotime(), s:next()
    while value do value, err = s:next() end
    assert.equal("unavailable", err.kind)
    assert.equal(job_id, err.job_id)
    assert.matches("^StreamResults .*UNAVAILABLE", tostring(err))
    assert.is_true(monotime() - started_at < TEST_TIMEOUT / 2)
  end)
end)

describe("stream_results of a large result", function()
  after_each(close)

  it("streams a million outcomes in flat memory", function()
    open()
    local job_id = assert(client:submit_qasm(uniform(20), "simulator", 100000))
    helper.eventually(function() return assert(client:get_job_status(job_id)).state == "COMPLETED" end, 60)
    local heap, resident, outcomes = nil, nil, 0
    local most_heap, most_resident = 0, 0
    while outcomes < 1000000 do
      for counts in client:stream_results(job_id, 1000) do
        for _ in pairs(counts) do outcomes = outcomes + 1 end
        most_heap = math.max(most_heap, collectgarbage "count" * 1024)
        most_resident = math.max(most_resident, resident_bytes())
      end
      if not heap then heap, resident, most_heap, most_resident = most_heap, most_resident, 0, 0 end
    end
    assert.is_true(most_heap < heap + 4e6, most_heap - heap)
    if not sanitized then assert.is_true(most_resident < resident + 16e6, most_resident - resident) end
  end)

  it("holds the server back while the consumer takes its time", function()
    open(nil, { channel_args = { ["grpc.http2.bdp_probe"] = 0 } })   -- or gRPC's own windows grow to megabytes
    local job_id = assert(client:submit_qasm(uniform(20), "simulator", 100000))
    helper.eventually(function() return assert(client:get_job_status(job_id)).state == "COMPLETED" end, 60)
    local streams, before = {}, nil
    for i = 1, 20 do
      streams[i] = client:stream_results(job_id, 100)
      assert.truthy(streams[i]:next())
      before = before or resident_bytes()
    end
    for _ = 1, 50 do arvak.poll(0.002) end
    local grown = resident_bytes() - before   -- by whole results: over 50 MB
    assert.is_true(sanitized or grown < 10e6, grown)
    for _, s in ipairs(streams) do s:cancel() end
  end)
end)
