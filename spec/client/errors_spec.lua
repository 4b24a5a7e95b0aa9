-- Error objects: each cause that docs/contract.md names for a unary RPC, what it becomes, and how it reads.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"

local bell, TEST_TIMEOUT = helper.bell, helper.TEST_TIMEOUT

local server, client

local open, close = helper.fixture(function() return server, client end, function(...) server, client = ... end)

-- The error of a call that must fail. expected: fields it must have; message is a pattern.
local function fails(expected, value, err)
  assert.is_nil(value)
  assert.is_true(arvak.is_error(err), tostring(err))
  for name, wanted in pairs(expected) do
    if name == "message" then assert.matches(wanted, err.message)
    else assert.equal(wanted, err[name], ("%s of %s"):format(name, err)) end
  end
  return err
end

-- Each RPC as a call with arguments that would succeed.
local calls = {
  SubmitJob = function() return client:submit_qasm(bell, "simulator") end,
  SubmitBatch = function() return client:submit_batch({ { bell, 1 }, { bell, 1 } }, "simulator") end,
  GetJobStatus = function() return client:get_job_status("some-job") end,
  GetJobResult = function() return client:get_job_result("some-job") end,
  CancelJob = function() return client:cancel_job("some-job") end,
  ListBackends = function() return client:list_backends() end,
  GetBackendInfo = function() return client:get_backend_info("simulator") end,
}
local about_job = { GetJobStatus = true, GetJobResult = true, CancelJob = true }
local submits = { SubmitJob = true, SubmitBatch = true }

describe("an error that the dev server makes itself", function()
  after_each(close)

  it("NOT_FOUND is job_not_found from the RPCs about jobs, with the id", function()
    open()
    for _, method in ipairs { "get_job_status", "get_job_result", "cancel_job" } do
      fails({ kind = "job_not_found", code = 5, name = "NOT_FOUND", job_id = "backend-7", message = "^%[permanent%] ",
        retryable = false, maybe_executed = false, attempts = 1, target = server.address },
        client[method](client, "backend-7"))
    end
    fails({ kind = "job_not_found", job_id = "" }, client:get_job_status(""))
  end)

  it("NOT_FOUND is backend_not_found from the RPCs about backends", function()
    open()
    local expected = { kind = "backend_not_found", code = 5, name = "NOT_FOUND", message = "job%-sim",
      retryable = false, maybe_executed = false }
    fails(expected, client:submit_qasm(bell, "job-sim"))
    fails(expected, client:submit_batch({ { bell } }, "job-sim"))
    fails(expected, client:get_backend_info("job-sim"))
  end)

  it("INVALID_ARGUMENT of a submit is invalid_circuit and says where", function()
    open()
    local expected = { kind = "invalid_circuit", code = 3, name = "INVALID_ARGUMENT", retryable = false,
      message = "^%[permanent%] QASM parse error: undefined: line 2, column 3: " }
    fails(expected, client:submit_qasm("OPENQASM 3.0;\nx q;", "simulator"))
    fails(expected, client:submit_batch({ { "OPENQASM 3.0;\nx q;" } }, "simulator"))
    fails(expected, client:execute("OPENQASM 3.0;\nx q;", "simulator"))
  end)

  it("a circuit over the complexity limits is invalid_circuit", function()
    open()
    fails({ kind = "invalid_circuit", code = 3, message = "^Circuit exceeds complexity limits: 201 qubits" },
      client:submit_qasm("OPENQASM 3.0; qubit[201] q;", "simulator"))
  end)

  it("FAILED_PRECONDITION of a running job is job_not_completed and names the state", function()
    open { job_latency = 60 }
    local job_id = assert(client:submit_qasm(bell, "simulator"))
    fails({ kind = "job_not_completed", code = 9, name = "FAILED_PRECONDITION", job_id = job_id, retryable = false,
      rpc = "GetJobResult", message = "RUNNING" }, client:get_job_result(job_id))
    assert(client:cancel_job(job_id))
  end)

  it("FAILED_PRECONDITION of a canceled job is job_canceled", function()
    open { job_latency = 60 }
    local job_id = assert(client:submit_qasm(bell, "simulator"))
    assert(client:cancel_job(job_id))
    fails({ kind = "job_canceled", code = 9, job_id = job_id, rpc = "GetJobResult" }, client:get_job_result(job_id))
    fails({ kind = "job_canceled", job_id = job_id }, client:wait_for_job(job_id))
  end)

  it("FAILED_PRECONDITION of an expired result is result_expired", function()
    open()
    local job_id = assert(client:submit_qasm(bell, "simulator"))
    assert(client:wait_for_job(job_id))
    assert.is_true(server:set_job_state(job_id, "RESULT_EXPIRED"))
    fails({ kind = "result_expired", job_id = job_id }, client:get_job_result(job_id))
    fails({ kind = "result_expired", job_id = job_id }, client:wait_for_job(job_id))
  end)

  it("ABORTED is job_failed, with the job's own message", function()
    open()
    local job_id = assert(client:submit_qasm("OPENQASM 3.0; qubit[21] q;", "simulator"))
    fails({ kind = "job_failed", job_id = job_id, message = "^Backend submit failed: .*21 qubits" },
      client:wait_for_job(job_id))
    fails({ kind = "job_failed", code = 10, name = "ABORTED", job_id = job_id, rpc = "GetJobResult", retryable = false,
      message = "^%[permanent%] Backend submit failed: .*21 qubits" }, client:get_job_result(job_id))
  end)

  it("a circuit that does not compile is rpc, with INTERNAL", function()
    open()
    fails({ kind = "rpc", code = 13, name = "INTERNAL", retryable = false, message = "^Circuit compilation failed: " },
      client:submit_qasm("OPENQASM 3.0; qubit[21] q;", "simulator", { optimization_level = 1 }))
  end)

  it("the concurrency limit is resource_exhausted: a submit may be repeated, a batch may have run in part", function()
    open({ max_concurrent_jobs = 1, job_latency = 60 }, { limiter = false })
    local expected = { kind = "resource_exhausted", code = 8, name = "RESOURCE_EXHAUSTED",
      message = "^Concurrency limit" }
    fails(expected, client:submit_batch({ { bell }, { bell } }, "simulator"))
    local err = fails(expected, client:submit_qasm(bell, "simulator"))
    assert.is_true(err.retryable)
    assert.is_false(err.maybe_executed)
    err = fails(expected, client:submit_batch({ { bell }, { bell } }, "simulator"))
    assert.is_false(err.retryable)
    assert.is_true(err.maybe_executed)
  end)

  it("the rate limit is resource_exhausted", function()
    open({ rate_limit = 1 }, { limiter = false })
    local err
    helper.eventually(function()   -- two within one second, at the second attempt at the latest
      err = select(2, client:submit_qasm(bell, "simulator"))
      return err
    end)
    fails({ kind = "resource_exhausted", retryable = true, message = "^Rate limit exceeded" }, nil, err)
  end)

  it("a missing or wrong API key is unauthenticated, whatever else is wrong", function()
    open { api_key = "right" }
    local expected = { kind = "unauthenticated", code = 16, name = "UNAUTHENTICATED", retryable = false,
      maybe_executed = false, message = "Invalid or missing API key" }
    for _, call in pairs(calls) do fails(expected, call()) end
    local wrong <close> = arvak.connect(server.address, { api_key = "wrong" })
    fails(expected, wrong:submit_qasm("not a circuit", "no backend"))
  end)

  it("a request over the server's message limit is OUT_OF_RANGE, and nothing was executed", function()
    open { max_message_size = 2000 }
    fails({ kind = "rpc", code = 11, name = "OUT_OF_RANGE", retryable = false, maybe_executed = false,
      message = "decoded message length too large" }, client:submit_qasm(bell .. (" "):rep(2000), "simulator"))
  end)

  it("an answer over the server's message limit is OUT_OF_RANGE", function()
    open { max_message_size = 1000 }
    fails({ kind = "rpc", code = 11, message = "encoded message length too large" }, client:list_backends())
  end)

  it("the server's own time limit is a timeout, though it calls it CANCELLED", function()
    open { server_timeout = 0.05 }
    server:fault { hang = true }
    fails({ kind = "timeout", rpc = "GetJobStatus", scope = "call", retryable = true, message = "Timeout expired" },
      calls.GetJobStatus())
    fails({ kind = "timeout", rpc = "SubmitJob", scope = "call", retryable = false, maybe_executed = true },
      calls.SubmitJob())
  end)

  it("a job that is COMPLETED without a result is rpc, and not asked for again", function()
    open { job_latency = 60 }
    local job_id = assert(client:submit_qasm(bell, "simulator"))
    assert(server:set_job_state(job_id, "COMPLETED"))
    fails({ kind = "rpc", code = 13, name = "INTERNAL", job_id = job_id, retryable = false,
      message = "^%[permanent%] Completed job has no result" }, client:get_job_result(job_id))
  end)
end)

-- status, tag, message → kind, then for which RPCs it is retryable: "all", "reads", "not batch", "none".
local forced = {
  { "INVALID_ARGUMENT", "permanent", "Missing circuit payload", "invalid_circuit", "none" },
  { "INVALID_ARGUMENT", "permanent", "No circuit format specified", "invalid_circuit", "none" },
  { "INVALID_ARGUMENT", "permanent", "Arvak IR JSON format not yet supported. Use OpenQASM 3 format instead.",
    "invalid_circuit", "none" },
  { "INTERNAL", "transient", "Storage error: disk full", "rpc", "reads" },
  { "INTERNAL", "transient", "Backend error: Backend error: busy", "rpc", "reads" },
  { "INTERNAL", "permanent", "Backend error: Backend error: gone", "rpc", "none" },
  { "INTERNAL", nil, "Compilation task failed: panic", "rpc", "none" },
  { "RESOURCE_EXHAUSTED", nil, "Queue full: 1000 jobs queued (limit: 1000)", "resource_exhausted", "not batch" },
  { "DEADLINE_EXCEEDED", nil, "Circuit compilation timed out after 30s", "timeout", "reads" },
  { "CANCELLED", nil, "Timeout expired", "timeout", "reads" },
  { "CANCELLED", nil, "somebody wanted it so", "rpc", "none" },
  { "UNAVAILABLE", nil, "the server is going away", "unavailable", "not batch" },
  { "UNAVAILABLE", "transient", "overloaded", "unavailable", "not batch" },
  { "UNAUTHENTICATED", nil, "who are you?", "unauthenticated", "none" },
  { "PERMISSION_DENIED", nil, "you may not", "rpc", "none" },
  { "UNKNOWN", nil, "anything", "rpc", "none" },
  { "ALREADY_EXISTS", nil, "again?", "rpc", "none" },
  { "OUT_OF_RANGE", nil, "Error, decoded message length too large: found 9 bytes, the limit is: 8 bytes", "rpc",
    "none" },
  { "UNIMPLEMENTED", nil, "Content is compressed with `gzip` which isn't supported", "rpc", "none" },
  { "DATA_LOSS", nil, "bits fell out", "rpc", "none" },
}
local code_of = { CANCELLED = 1, UNKNOWN = 2, INVALID_ARGUMENT = 3, DEADLINE_EXCEEDED = 4, ALREADY_EXISTS = 6,
  PERMISSION_DENIED = 7, RESOURCE_EXHAUSTED = 8, OUT_OF_RANGE = 11, UNIMPLEMENTED = 12, INTERNAL = 13,
  UNAVAILABLE = 14, DATA_LOSS = 15, UNAUTHENTICATED = 16 }
local retried = {
  all = function() return true end,
  none = function() return false end,
  reads = function(rpc) return not submits[rpc] end,
  ["not batch"] = function(rpc) return rpc ~= "SubmitBatch" end,
}

describe("an error that is forced", function()
  setup(function() open(nil, { limiter = false }) end)
  teardown(close)

  for _, row in ipairs(forced) do
    local status, tag, message, kind, retry = table.unpack(row, 1, 5)
    local text = (tag and "[" .. tag .. "] " or "") .. message
    it(("%s, %q, is %s from every RPC"):format(status, text, kind), function()
      server:clear_faults()
      server:fault { status = status, tag = tag, message = message }
      for rpc, call in pairs(calls) do
        local is_read = not submits[rpc]
        local by_chunks = rpc == "GetJobResult" and status == "OUT_OF_RANGE"   -- too large for a message
        local err = fails({
          kind = kind == "invalid_circuit" and is_read and "rpc" or kind,
          code = code_of[status], name = status, rpc = by_chunks and "StreamResults" or rpc, target = server.address,
          attempts = 1, job_id = about_job[rpc] and "some-job" or nil, retryable = retried[retry](rpc),
        }, call())
        assert.equal(text, err.message)
        assert.is_true(err.elapsed >= 0 and err.elapsed < TEST_TIMEOUT)
        assert.equal(kind == "timeout" and "call" or nil, err.scope)
      end
    end)
  end

  it("a submit that the server itself refused was not executed, a batch may have been in part", function()
    server:clear_faults()
    server:fault { status = "UNAVAILABLE", message = "the server is going away" }
    assert.is_false(select(2, calls.SubmitJob()).maybe_executed)
    assert.is_true(select(2, calls.SubmitBatch()).maybe_executed)
    assert.is_false(select(2, client:submit_batch({ { bell } }, "simulator")).maybe_executed)
  end)

  it("a submit whose time ran out may have been executed", function()
    for _, status in ipairs { "DEADLINE_EXCEEDED", "CANCELLED" } do
      server:clear_faults()
      server:fault { status = status, message = "Timeout expired" }
      assert.is_true(select(2, calls.SubmitJob()).maybe_executed)
    end
  end)

  it("NOT_FOUND from ListBackends is rpc", function()
    server:clear_faults()
    server:fault { status = "NOT_FOUND", message = "what?" }
    fails({ kind = "rpc", code = 5 }, calls.ListBackends())
  end)

  it("ABORTED and FAILED_PRECONDITION mean something of a job's result only", function()
    for _, status in ipairs { "ABORTED", "FAILED_PRECONDITION" } do
      server:clear_faults()
      server:fault { status = status, message = "some reason" }
      for rpc, call in pairs(calls) do
        if rpc ~= "GetJobResult" then fails({ kind = "rpc", name = status, retryable = false }, call()) end
      end
    end
  end)
end)

describe("a connection that is cut during a call", function()
  after_each(close)

  for _, when in ipairs { "before", "after" } do
    it(("%s the server has executed it leaves a submit unknown and a read repeatable"):format(when), function()
      open()
      for rpc, call in pairs(calls) do
        client:close()
        client = arvak.connect(server.address)   -- so that none meets the connection that another's fault has cut
        server:clear_faults()
        server:fault { rpc = rpc, drop = when }
        fails({ kind = "unavailable", code = 14, name = "UNAVAILABLE", rpc = rpc, maybe_executed = true,
          retryable = not submits[rpc] }, call())
      end
      assert.equal(when == "after" and 3 or 0, server:stats().accepted)
    end)
  end

  it("is replaced", function()
    open()
    server:fault { drop = true, count = 1 }
    fails({ kind = "unavailable" }, calls.ListBackends())
    helper.eventually(calls.ListBackends)
    assert.equal(2, server:stats().connections_total)
  end)

  it("does not trouble the next call", function()
    open()
    for _ = 1, 50 do
      server:fault { drop = true, count = 1 }
      fails({ kind = "unavailable" }, calls.ListBackends())
      assert.is_truthy(client:list_backends())
    end
  end)
end)

describe("an error object", function()
  after_each(close)

  it("reads as RPC, address, status, message and what is known of the job", function()
    open()
    local _, err = client:get_backend_info("nowhere")
    assert.equal(("GetBackendInfo %s: NOT_FOUND: %s"):format(server.address, err.message), tostring(err))
    _, err = client:get_job_status("j-1")
    assert.equal(("GetJobStatus %s: NOT_FOUND: %s (job j-1)"):format(server.address, err.message), tostring(err))
  end)

  it("can be concatenated and is known as an error", function()
    open()
    local _, err = client:get_job_status("j-1")
    assert.equal("it failed: " .. tostring(err) .. "!", "it failed: " .. err .. "!")
    assert.is_true(arvak.is_error(err))
    assert.equal("error", arvak.type(err))
    assert.is_false(arvak.is_error({ kind = "rpc" }))
    assert.is_false(arvak.is_error("text"))
    assert.is_false(arvak.is_error(nil))
  end)

  it("tells in its text that a submit may have been executed", function()
    open()
    server:fault { rpc = "SubmitJob", drop = "after" }
    assert.matches("%(may have been executed%)$", tostring(select(2, calls.SubmitJob())))
  end)

  it("is the same from a future as from the method", function()
    open()
    local _, first = client:get_job_status("j-1")
    local _, second = client.async:get_job_status("j-1"):result(TEST_TIMEOUT)
    first.elapsed, second.elapsed = nil, nil
    assert.same(first, second)
    _, first = client:get_job_result("j-1")
    _, second = client.async:get_job_result("j-1"):result(TEST_TIMEOUT)
    first.elapsed, second.elapsed = nil, nil
    assert.same(first, second)
  end)
end)
