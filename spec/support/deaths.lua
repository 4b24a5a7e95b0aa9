-- Connections that die at every stage, for specs about what an error says of its request.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"
local raw = require "spec.support.peer"

local M = {}

local HANG_TIMEOUT = 0.3   -- of calls that nobody answers

M.rpcs = {
  SubmitJob = function(client) return client:submit_qasm(helper.bell, "simulator", 1) end,
  GetJobStatus = function(client) return client:get_job_status("job") end,
}

local function dns(peer) return (peer:address():gsub("127%.0%.0%.1", "dns:///localhost")) end
local function ipv4(peer) return "ipv4:" .. peer:address() end
local function unix(peer) return peer:address() end

M.targets = { { "dns:///", dns }, { "ipv4:", ipv4 }, { "unix:", unix } }

-- A peer on a target of the list above.
function M.listen(target, options)
  options = options or {}
  if target[1] == "unix:" then
    options.unix = os.tmpname()
    os.remove(options.unix)
  end
  return raw.start(options)
end

-- How a SubmitJob may end; nil: the peer may have died before or after it was sent. A read can be repeated wherever its
-- status is UNAVAILABLE.
local NOT_SENT = { maybe_executed = false, retryable = true, whole = 0 }
local UNREAD = { maybe_executed = true, retryable = false }   -- sent, perhaps not read whole
local BROKEN = { maybe_executed = true, retryable = false, whole = 1 }
local ANSWERED = { maybe_executed = false, retryable = true, whole = 1 }

-- is_proven: the answer has a trailer that only a server of gRPC sends.
-- Kind, and the names that versions of gRPC have for it: docs/internals/grpc.md.
local unavailable = { "unavailable", "UNAVAILABLE" }
local internal = { "rpc", "INTERNAL" }
local unknown = { "rpc", "UNKNOWN" }
local no_answer = { "unavailable", "UNAVAILABLE", "UNKNOWN", "UNIMPLEMENTED" }
local unreadable = { "rpc", "UNKNOWN", "INTERNAL" }
local no_number = { "rpc", "UNKNOWN", "INTERNAL", or_kind = "unavailable" }   -- by gRPC 1.56
local timeout = { "timeout", "DEADLINE_EXCEEDED" }

local function on_connection(...) return { connections = { ... } } end
local function on_request(...) return { requests = { ... } } end

-- Name, what the peer does, kind and names of the error, what it says, the timeout of the call.
M.cases = {
  { "refused", { refusing = true }, unavailable, NOT_SENT },
  { "reset before the preface", on_connection(raw.die("accept", "reset")), unavailable, NOT_SENT },
  { "closed before the preface", on_connection(raw.die("accept", "close")), unavailable, NOT_SENT },
  { "answered with garbage before the preface", on_connection(raw.garbage("accept")), unavailable, NOT_SENT },
  { "answered by an HTTP/1 server",
    on_connection(raw.garbage("accept", "HTTP/1.1 400 Bad Request\r\n\r\n")), unavailable, NOT_SENT },
  { "silent from the start", on_connection(raw.hang("accept")), timeout, UNREAD, HANG_TIMEOUT },
  { "reset after the settings", on_connection(raw.die("settings", "reset")), unavailable, nil },
  { "closed after the settings", on_connection(raw.die("settings", "close")), unavailable, nil },
  { "reset after the request's headers", on_request(raw.die("headers", "reset")), unavailable, UNREAD },
  { "closed after the request's headers", on_request(raw.die("headers", "close")), unavailable, UNREAD },
  { "reset after the request's end", on_request(raw.die("end", "reset")), unavailable, BROKEN },
  { "closed after the request's end", on_request(raw.die("end", "close")), unavailable, BROKEN },
  { "silent after the request's end", on_request(raw.hang()), timeout, BROKEN, HANG_TIMEOUT },
  { "closed in the middle of an answer", on_request(raw.half_answer("\10\1j", "close")), unavailable, BROKEN },
  { "reset in the middle of an answer", on_request(raw.half_answer("\10\1j", "reset")), unavailable, BROKEN },
  { "silent in the middle of an answer", on_request(raw.half_answer("\10\1j")), timeout, BROKEN, HANG_TIMEOUT },
  { "answered with garbage", on_request(raw.garbage("end")), no_answer, BROKEN },
  { "answered with a truncated message", on_request(raw.answer("\10\50abc")), internal, BROKEN },
  { "answered without a message", on_request(raw.answer("")), internal, BROKEN },
  { "answered with a message longer than it says it is", on_request(raw.unframed(0, 2, "\10\1j")), timeout, BROKEN,
    HANG_TIMEOUT },
  { "answered with a message of 4 GiB to come", on_request(raw.unframed(0, 0xffffffff, "\10\1j")), internal, BROKEN },
  { "answered with an unknown compression", on_request(raw.unframed(7, 3, "\10\1j")), internal, BROKEN },
  { "answered UNKNOWN", on_request(raw.status(2, "who knows")), unknown, BROKEN },
  { "answered with a status that there is not", on_request(raw.status(99, "")), { "rpc", "CODE_99", "UNKNOWN" },
    BROKEN },
  { "answered with a status that is no status", on_request(raw.status(-1, "")), unreadable, BROKEN },
  { "answered with a status that is no number", on_request(raw.status("abc", "")), no_number, BROKEN },
  { "told GOAWAY, the request being processed, then closed",
    on_request(raw.goaway(true, 0, "close")), unavailable, BROKEN },
  { "told GOAWAY, the request being processed, then nothing",
    on_request(raw.goaway(true)), timeout, BROKEN, HANG_TIMEOUT },
  -- What follows shows why "GOAWAY received" proves nothing: gRPC says the same of both.
  { "told GOAWAY, the request being processed, then garbage",
    on_request(raw.both(raw.goaway(true), raw.garbage("end"))), unavailable, BROKEN },
  { "told GOAWAY without the request", on_request(raw.goaway(false)), unavailable, BROKEN },
  { "told GOAWAY without the request, then closed", on_request(raw.goaway(false, 11, "close")), unavailable, BROKEN },
  { "told RST_STREAM, REFUSED_STREAM", on_request(raw.reset_stream(7)), unavailable, ANSWERED },
  { "told RST_STREAM, NO_ERROR", on_request(raw.reset_stream(0)), internal, BROKEN },
  { "told RST_STREAM, INTERNAL_ERROR", on_request(raw.reset_stream(2)), internal, BROKEN },
  { "told RST_STREAM, CANCEL", on_request(raw.reset_stream(8)), { "rpc", "CANCELLED" }, BROKEN },
  { "told RST_STREAM, ENHANCE_YOUR_CALM",
    on_request(raw.reset_stream(11)), { "resource_exhausted", "RESOURCE_EXHAUSTED" }, BROKEN },
  { "answered by a proxy with 502", on_request(raw.http(502)), no_answer, BROKEN },
  { "answered by a proxy with 503", on_request(raw.http(503)), no_answer, BROKEN },
  { "answered by a proxy with 404", on_request(raw.http(404)), no_answer, BROKEN },
  { "answered UNAVAILABLE", on_request(raw.status(14, "down for a moment")), unavailable, ANSWERED },
  { "answered UNAVAILABLE as gRPC would say it", on_request(raw.status(14, "Socket closed")), unavailable, BROKEN },
  { "answered UNAVAILABLE by a gRPC that shuts down",
    on_request(raw.status(14, "Cancelling all calls")), unavailable, BROKEN },
  { "answered RESOURCE_EXHAUSTED", on_request(raw.status(8, "Queue full", { "grpc-retry-pushback-ms", "50" })),
    { "resource_exhausted", "RESOURCE_EXHAUSTED" }, ANSWERED, is_proven = true },
  { "answered INTERNAL", on_request(raw.status(13, "[permanent] x")), internal,
    { maybe_executed = false, retryable = false, whole = 1 } },
}

-- A peer that does what a case says.
function M.peer_of(target, case)
  local peer = M.listen(target, { refusing = case[2].refusing })
  for list, steps in pairs(case[2]) do
    if list ~= "refusing" then peer:plan(list, steps) end
  end
  return peer
end

-- Whether an error has the kind and one of the names of a case. Without gRPC's texts nothing tells no answer from one
-- that is UNKNOWN or UNIMPLEMENTED.
function M.has_name(case, err, has_texts)
  local names = {}
  for i = 2, #case[3] do names[case[3][i]] = true end
  local kind = case[3][1]
  if case[3] == no_answer and not has_texts and err.name ~= "UNAVAILABLE" then kind = "rpc" end
  return (err.kind == kind or err.kind == case[3].or_kind) and names[err.name] or false
end

function M.random_step()
  local deaths = {
    raw.die("headers", "reset"), raw.die("headers", "close"), raw.die("end", "reset"), raw.die("end", "close"),
    raw.half_answer("\10\1j", "reset"), raw.goaway(false), raw.goaway(true, 0, "close"), raw.garbage("end"),
    raw.both(raw.goaway(true), raw.garbage("end")), raw.reset_stream(2), raw.http(503),
  }
  local answers = { raw.submitted("job"), raw.submitted("job"), raw.reset_stream(7),
    raw.status(14, "the peer's own answer") }
  return deaths[math.random(6 * #deaths)] or answers[math.random(#answers)]
end

function M.random_steps(count, make)
  local list = {}
  for i = 1, count do list[i] = make() end
  return list
end

function M.random_connection()
  local steps = { raw.die("accept", "reset"), raw.die("settings", "reset"), raw.garbage("settings") }
  return steps[math.random(2 * #steps)] or raw.hang("end")   -- which does nothing at either stage
end

-- Submits count circuits, each another one, so that the peer can tell a repetition; counts how they ended.
function M.submit_all(client, count)
  local seen = { ok = 0, maybe = 0, none = 0 }
  arvak.run(function()
    local shots = {}
    for i = 1, count do shots[i] = i end
    arvak.map(shots, function(n)
      local job_id, err = client:submit_qasm(helper.bell, "simulator", n)
      local class = job_id and "ok" or err.maybe_executed and "maybe" or "none"
      seen[class] = seen[class] + 1
    end, { concurrency = 8 })
  end)
  return seen
end

return M
