-- Programs of spec/devserver/fairness_spec.lua, each a process of its own, since gRPC shares its threads within one.
-- Usage: lua flood.lua serve FILE | streams ADDRESS JOB PAUSE | resets ADDRESS METHOD
-- SPDX-License-Identifier: Apache-2.0
local programs = {}

-- Serves until it is killed; the address goes into a file, which is complete when it ends with a newline.
function programs.serve(path)
  local server <close> = assert(require("arvak.devserver").start { rate_limit = 0, seed = 1 })
  local file <close> = assert(io.open(path, "w"))
  file:write(server.address, "\n")
  file:close()
  io.read "a"
end

local CONNECTIONS, STREAMS = 20, 5

-- Streams of tiny messages on many connections, until it is killed; pause: seconds between two reads of a stream.
function programs.streams(address, job_id, pause)
  local arvak = require "arvak"
  pause = tonumber(pause)
  local function read_on(client)
    while true do
      local stream = client:stream_results(job_id, 1)
      repeat
        local counts, err = stream:next()
        if err ~= nil and arvak.is_error(err) then return end
        if pause > 0 then arvak.sleep(pause) end
      until not counts
    end
  end
  arvak.run(function()
    for _ = 1, CONNECTIONS do
      local client = arvak.connect(address, { pool_size = 1, retry = false })
      for _ = 1, STREAMS do arvak.spawn(read_on, client) end
    end
  end)
end

local function frame(kind, flags, stream, payload)
  return string.pack(">I3BBI4", #payload, kind, flags, stream) .. payload
end

local function headers(list)
  local parts = {}
  for i = 1, #list, 2 do parts[#parts + 1] = string.pack("Bs1s1", 0, list[i], list[i + 1]) end
  return table.concat(parts)
end

local RESETS, AT_ONCE = 40000, 200

-- Calls that are taken back as soon as they have been made, as fast as one connection takes them.
function programs.resets(address, method)
  local host, port = address:match "^(.*):(%d+)$"
  local connection = assert(require("socket").connect(host, tonumber(port)))
  local block = headers { ":method", "POST", ":scheme", "http", ":path", "/arvak.v1.ArvakService/" .. method,
    ":authority", "x", "te", "trailers", "content-type", "application/grpc" }
  connection:send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" .. frame(4, 0, 0, ""))
  local parts = {}
  for i = 1, RESETS do
    local id = 2 * i - 1
    parts[#parts + 1] = frame(1, 4, id, block) .. frame(0, 1, id, "\0\0\0\0\0") .. frame(3, 0, id, "\0\0\0\8")
    if #parts == AT_ONCE then
      if not connection:send(table.concat(parts)) then return end
      parts = {}
    end
  end
  repeat local _, reason = connection:receive(1) until reason
end

programs[arg[1]](table.unpack(arg, 2))
