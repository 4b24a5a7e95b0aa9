-- Answers that nobody should take: compressed ones, which nobody asked for, those that would cost many times their
-- size, those without an id, and those about another job. SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"
local raw = require "spec.support.peer"

local bell = helper.bell
local peer, client

-- A client whose peer answers everything with this step.
local function start(answer)
  peer = raw.start { answer = answer }
  client = arvak.connect(peer:address(), { timeout = 20 })
end

local function stop()
  client:close()
  peer:stop()
  client, peer = nil, nil
  helper.assert_clean()
end

local function text(field, value) return string.pack("Bs1", field << 3 | 2, value) end

-- The most memory that this process has held, in KiB.
local function peak()
  for line in io.lines("/proc/self/status") do
    local kib = line:match("^VmHWM:%s+(%d+)")
    if kib then return tonumber(kib) end
  end
end

-- A broken answer. The server has acted, and another attempt would bring the same.
local function assert_broken(pattern, value, err)
  assert.is_nil(value)
  assert.equal("rpc", err.kind)
  assert.equal(13, err.code)
  assert.is_true(err.maybe_executed)
  assert.is_false(err.retryable)
  assert.matches(pattern, err.message)
  return err
end

describe("compression", function()
  after_each(stop)

  it("is not offered to the server", function()
    start(raw.status(5, "x"))
    assert.equal("job_not_found", select(2, client:get_job_status("x")).kind)
    local heard = peer:heard()
    assert.matches("application/grpc", heard)
    if not heard:find("grpc-c/29.", 1, true) then return pending("gRPC from 1.56 on offers it all the same") end
    assert.is_nil(heard:find("gzip", 1, true))
    assert.is_nil(heard:find("deflate", 1, true))
  end)

  -- 60 MB of zeros in 58 KB. The bytes are no message, but who inflates them learns that too late.
  local function bomb()
    local pipe = assert(io.popen("head -c 60000000 /dev/zero | gzip -9"))
    local bytes = pipe:read("a")
    pipe:close()
    assert.is_true(#bytes > 20000 and #bytes < 65000)
    return bytes
  end

  for _, encoding in ipairs { "gzip", "deflate" } do
    it(("of an answer by %s is refused, and nothing is inflated"):format(encoding), function()
      start(raw.compressed(encoding, bomb()))
      local before = peak()
      assert_broken("compressed", client:get_job_status("x"))
      assert_broken("compressed", client:submit_qasm(bell, "simulator", 1))
      assert.is_true(peak() - before < 20000)
    end)
  end

  it("of a stream's message is refused, and nothing is inflated", function()
    start(raw.compressed("gzip", bomb()))
    local before = peak()
    local results = client:stream_results("x")
    assert_broken("compressed", results:next())
    assert.is_true(peak() - before < 20000)
  end)
end)

describe("an answer", function()
  after_each(stop)

  it("of empty parts is refused before it costs many times its size", function()
    local entries = string.rep("\18\0", 30000)
    start(raw.stream({ string.pack("B", 10) .. "\xe0\xd4\3" .. entries }, raw.trailers(0, "")))
    assert_broken("4 times its size", client:get_job_result("x"))
  end)

  it("about another job is refused", function()
    start(raw.job("job-2", 3))
    assert_broken("another job", client:get_job_status("job-1"))
    assert_broken("another job", client:get_job_status("job"))
    assert.equal("COMPLETED", client:get_job_status("job-2").state)
    peer:plan("requests", { raw.answer(text(1, text(1, "job-2"))) })
    assert_broken("another job", client:get_job_result("job-1"))
    assert.equal("job-2", client:get_job_result("job-2").job_id)
  end)

  it("about no job at all is refused", function()
    start(raw.answer(text(1, "\16\3")))
    assert_broken("another job", client:get_job_status("job-1"))
    assert_broken("another job", client:wait_for_job("job-1", { max_wait = 5 }))
  end)

  it("to a watch or a stream of results about another job ends it", function()
    start(raw.stream({ text(1, "job-1") .. "\16\2", text(1, "job-2") .. "\16\3" }, raw.hang("headers")))
    local watch <close> = client:watch_job("job-1")
    assert.equal("RUNNING", (watch:next()))
    peer:plan("requests", { raw.status(5, "forgotten") })
    local state, err = watch:next()
    assert.is_nil(state)
    assert.is_truthy(err)
    peer:plan("requests", { raw.stream({ text(1, "job-2") .. "\24\1\40\1" }, raw.trailers(0, "")) })
    assert_broken("another job", client:stream_results("job-1"):next())
  end)

  it("to a submit holds an id", function()
    start(raw.submitted(""))
    assert_broken("without what was asked for", client:submit_qasm(bell, "simulator", 1))
  end)

  it("to a batch holds an id for each circuit, and those that came are not lost", function()
    start(raw.answer(text(1, "") .. text(1, "a")))
    local circuits = { { bell, 1 }, { bell, 1 } }
    local err = assert_broken("without what was asked for", client:submit_batch(circuits, "simulator"))
    assert.same({ "", "a" }, err.job_ids)
    peer:plan("requests", { raw.answer(text(1, "a") .. text(1, "b")) })
    assert.same({ "a", "b" }, client:submit_batch(circuits, "simulator"))
  end)

  it("that acknowledges a circuit of a stream holds an id", function()
    start(raw.stream({ text(2, "1") .. text(3, "Job submitted successfully") }, raw.trailers(0, "")))
    local batch <close> = client:submit_batch_stream({ { bell, 1 } }, "simulator")
    local kind, index, _, err = batch:next()
    assert.equal("error", kind)
    assert.equal(1, index)
    assert.is_true(err.maybe_executed)
  end)
end)
