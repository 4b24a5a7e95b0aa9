-- A raw HTTP/2 peer whose connections die at a chosen stage (peer.c), and the bytes it says. The steps made here are
-- given to peer:plan("connections" or "requests", { step, ... }); the last of a list serves all that follow. A step is
-- { at = stage, say = bytes, pace = seconds a byte, ending = "keep", "close" or "reset", refuses = boolean }. The
-- stages of a connection are "accept" (in place of the SETTINGS) and "settings" (the client's have come); those of a
-- request are "headers" and "end" (it has been read whole). A whole request counts as executed, unless its step refuses
-- it.
-- SPDX-License-Identifier: Apache-2.0
local build = os.getenv("ARVAK_BUILD") or "build"
local bind = assert(package.loadlib(build .. "/test/peer.so", "luaopen_peer"))()

local M = {}

local DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY = 0, 1, 3, 4, 7
local MAX_CONCURRENT_STREAMS = 3
local END_STREAM, END_HEADERS = 1, 4
local THIS_STREAM, STREAM_BEFORE = 0xffffffff, 0xfffffffe   -- the peer puts the real numbers there

-- Error codes of HTTP/2.
M.codes = {
  NO_ERROR = 0, PROTOCOL_ERROR = 1, INTERNAL_ERROR = 2, FLOW_CONTROL_ERROR = 3, REFUSED_STREAM = 7, CANCEL = 8,
  ENHANCE_YOUR_CALM = 11, INADEQUATE_SECURITY = 12,
}

local function frame(kind, flags, stream, payload)
  return string.pack(">I3BBI4", #payload, kind, flags, stream) .. payload
end

-- Headers as literals that need no table, in HPACK: 0, length and name, length and value, both under 127 bytes.
local function headers(flags, list)
  local block = {}
  for i = 1, #list, 2 do block[#block + 1] = string.pack("Bs1s1", 0, list[i], list[i + 1]) end
  return frame(HEADERS, END_HEADERS | flags, THIS_STREAM, table.concat(block))
end

local function answer_start() return headers(0, { ":status", "200", "content-type", "application/grpc" }) end

local function message(bytes) return frame(DATA, 0, THIS_STREAM, string.pack(">Bs4", 0, bytes)) end

-- ---- steps ----

-- Dies, or just stays silent, at a stage.
function M.die(at, ending) return { at = at, ending = ending or "reset" } end
function M.hang(at) return { at = at or "end" } end

-- The connection says these bytes in place of anything sensible.
function M.garbage(at, bytes)
  return { at = at, say = bytes or string.rep("\xde\xad\xbe\xef", 64), ending = "close" }
end

-- Lets the client have so many streams at once, from soon on.
function M.allow_streams(count)
  return { at = "settings", say = frame(SETTINGS, 0, 0, string.pack(">I2I4", MAX_CONCURRENT_STREAMS, count)),
    ending = "keep" }
end

-- A whole answer around an encoded message, with an OK.
function M.answer(bytes)
  return { say = answer_start() .. message(bytes) .. headers(END_STREAM, { "grpc-status", "0" }) }
end

-- A valid answer to SubmitJob, GetJobStatus.
function M.submitted(job_id) return M.answer(string.pack("Bs1", 10, job_id)) end
function M.job(job_id, state)
  return M.answer(string.pack("Bs1", 10, string.pack("Bs1", 10, job_id) .. string.char(16, state)))
end

-- Headers and these messages, then the bytes of another step, and its ending.
function M.stream(messages, last)
  local said = { answer_start() }
  for i, bytes in ipairs(messages) do said[i + 1] = message(bytes) end
  said[#said + 1] = last.say
  return { at = last.at, say = table.concat(said), ending = last.ending }
end

-- The last headers of an answer.
function M.trailers(code, text)
  return { say = headers(END_STREAM, { "grpc-status", tostring(code), "grpc-message", text }) }
end

-- Headers and a message, and no more.
function M.half_answer(bytes, ending) return { say = answer_start() .. message(bytes), ending = ending } end

-- A trailers-only answer; more is a list of header names and values.
function M.status(code, text, more)
  local list = { ":status", "200", "content-type", "application/grpc", "grpc-status", tostring(code),
    "grpc-message", text }
  return { say = headers(END_STREAM, table.move(more or {}, 1, #(more or {}), #list + 1, list)), refuses = true }
end

-- An answer with these bytes in place of its messages, as "flag, length, message" each.
function M.unframed(flag, length, bytes)
  return { say = answer_start() .. frame(DATA, 0, THIS_STREAM, string.pack(">BI4", flag, length) .. bytes) ..
    headers(END_STREAM, { "grpc-status", "0" }) }
end

-- An answer whose message is compressed by this encoding. In frames as long as a client must take.
function M.compressed(encoding, bytes)
  local said = { headers(0, { ":status", "200", "content-type", "application/grpc", "grpc-encoding", encoding }) }
  local framed = string.pack(">Bs4", 1, bytes)
  for i = 1, #framed, 16384 do said[#said + 1] = frame(DATA, 0, THIS_STREAM, framed:sub(i, i + 16383)) end
  said[#said + 1] = headers(END_STREAM, { "grpc-status", "0" })
  return { say = table.concat(said) }
end

-- What an HTTP proxy says, which knows nothing of gRPC.
function M.http(status)
  return { say = headers(END_STREAM, { ":status", tostring(status), "content-type", "text/html" }) }
end

function M.reset_stream(code, at)
  return { at = at or "end", say = frame(RST_STREAM, 0, THIS_STREAM, string.pack(">I4", code)),
    refuses = code == M.codes.REFUSED_STREAM }
end

-- GOAWAY. processed: the request's own stream is the last one, or else the one before.
function M.goaway(processed, code, ending, at)
  local last = processed and THIS_STREAM or STREAM_BEFORE
  return { at = at or "end", say = frame(GOAWAY, 0, 0, string.pack(">I4I4", last, code or 0)), ending = ending,
    refuses = not processed }
end

-- A step after another one's bytes, at its stage.
function M.both(first, second)
  return { at = second.at or first.at, say = (first.say or "") .. (second.say or ""), ending = second.ending,
    refuses = first.refuses }
end

-- The same, a byte at a time.
function M.trickle(step, pace)
  return { at = step.at, say = step.say, ending = step.ending, pace = pace, refuses = step.refuses }
end

-- ---- peers ----

-- A peer on 127.0.0.1, or on a unix socket at path. With refusing it listens only when told to.
function M.start(options)
  options = options or {}
  local peer = bind(options.unix)
  peer:plan("requests", { options.answer or M.status(12, "nothing planned") })
  if not options.refusing then peer:listen() end
  return peer
end

return M
