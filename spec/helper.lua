-- What every spec stands on: one bound for all waiting, a real server in this process, and the look afterwards.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local devserver = require "arvak.devserver"

local M = {}

M.TEST_TIMEOUT = 10.0   -- seconds; nothing that works takes as long
M.bell = "OPENQASM 3.0; qubit[2] q; bit[2] c; h q[0]; cx q[0], q[1]; c = measure q;"

-- Starts a server without admission limits, or with these options. At the address of one that was stopped it may have
-- to wait: another program, such as a spec beside this one, may have been given the port.
function M.start(options)
  local all = { rate_limit = 0, max_concurrent_jobs = 0, max_queued_jobs = 0, seed = 1 }
  for name, value in pairs(options or {}) do all[name] = value end
  local deadline = os.time() + 60
  while true do
    local server, problem = devserver.start(all)
    if server then return server end
    assert(all.address and problem:find("in use", 1, true) and os.time() < deadline, problem)
    arvak.poll(0.05)
  end
end

-- Waits for a condition by driving the loop; the last value, or an error when the bound is reached.
function M.eventually(condition, timeout)
  local deadline = os.time() + (timeout or M.TEST_TIMEOUT)
  while true do
    local value = condition()
    if value then return value end
    if os.time() > deadline then error("the condition did not come true", 2) end
    arvak.poll(0.002)
  end
end

-- The output of a program without what gRPC logs by itself, which nobody can stop since 1.67: docs/internals/grpc.md.
function M.without_log(output)
  output = output:gsub("WARNING: All log messages before absl::InitializeLog[^\n]*\n", "")
  return (("\n" .. output):gsub("\n[IWE]%d%d%d%d [^\n]*", ""):sub(2))
end

-- What most specs open before a test and close after it: a server with these options, and a client of it. get and set
-- reach the variables in which the spec keeps the two, which its tests may change.
function M.fixture(get, set)
  local function open(options, client_options)
    local server = M.start(options)
    set(server)
    set(server, arvak.connect(server.address, client_options))
  end
  local function close()
    local server, client = get()
    if client then client:close() end
    if server then server:stop() end
    server, client = nil, nil
    set(server, client)
    M.assert_clean()
  end
  return open, close
end

-- Nothing may be left behind: no call in flight, no task, no wait, no client that is still referenced.
function M.assert_clean()
  collectgarbage()
  collectgarbage()
  for _ = 1, 200 do
    if not arvak.poll(0.01) then break end
  end
  collectgarbage()
  collectgarbage()
  for name, count in pairs(arvak._counts()) do
    if count ~= 0 then error(("%d %s left behind"):format(count, name), 2) end
  end
end

return M
