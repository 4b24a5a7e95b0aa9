-- A batch whose server is not there, fails, or is kept away by a breaker: the progress says why it does not go on, and
-- so does standard error when that lasts.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local devserver = require "arvak.devserver"
local helper = require "spec.helper"

local bell, TEST_TIMEOUT = helper.bell, helper.TEST_TIMEOUT
local LUA = os.getenv "LUA" or "lua5.4"

-- An address where nobody listens.
local function free_address()
  local probe <close> = helper.start()
  return probe.address
end

local function circuits(count)
  local list = {}
  for i = 1, count do list[i] = { bell, 1 } end
  return list
end

-- Runs a batch until a progress satisfies a condition, which may act: the texts of trouble in order, each once, and the
-- result.
local function troubles(client, options, is_enough)
  local seen = {}
  local manager <close> = arvak.batch_manager(client)
  options.timeout = TEST_TIMEOUT
  options.progress_callback = function(progress)
    local trouble = progress.trouble and progress.trouble:gsub("for [%d.]+ s", "for N s") or "none"
    if seen[#seen] ~= trouble then seen[#seen + 1] = trouble end
    if is_enough(trouble) then manager:cancel() end
  end
  local r = manager:execute_batch(circuits(5), "simulator", options)
  return seen, r
end

describe("the progress of a batch", function()
  after_each(helper.assert_clean)

  for _, transport in ipairs { "unary", "stream" } do
    it("says that there is no server, by " .. transport, function()
      local client <close> = arvak.connect(free_address())
      local seen = troubles(client, { transport = transport }, function(trouble) return trouble ~= "none" end)
      assert.matches("^the server has failed for N s: .*[Cc]onnect", seen[#seen])
    end)

    it("says no more of it when the server has come, by " .. transport, function()
      local address, server = free_address(), nil
      local client <close> = arvak.connect(address)
      local seen, r = troubles(client, { transport = transport }, function(trouble)
        if trouble ~= "none" and not server then server = helper.start { address = address } end
      end)
      server:stop()
      assert.equal("completed", r.status)
      assert.equal("none", seen[#seen])
      assert.matches("failed for N s", table.concat(seen, "\n"))
    end)
  end

  it("says what the server says when it fails", function()
    local fault = { rpc = "SubmitJob", status = "UNAVAILABLE", message = "down for lunch" }
    local server <close> = helper.start { faults = { fault } }
    local client <close> = arvak.connect(server.address)
    local seen = troubles(client, { transport = "unary" }, function(trouble) return trouble ~= "none" end)
    assert.equal("the server has failed for N s: down for lunch", seen[#seen])
  end)

  it("says that a breaker lets nothing through", function()
    local server <close> = helper.start()
    local breaker = arvak.circuit_breaker()
    local client <close> = arvak.connect(server.address, { breaker = breaker })
    breaker:force_open()
    local seen = troubles(client, { transport = "unary" }, function(trouble) return trouble ~= "none" end)
    assert.matches("^the breaker has let no call through for N s: ", seen[#seen])
  end)

  it("says nothing of refusals while jobs of the batch run", function()
    local server <close> = devserver.start { rate_limit = 0, max_concurrent_jobs = 1, seed = 1,
      faults = { "job=hang" } }
    local client <close> = arvak.connect(server.address)
    local trouble, reports = nil, 0
    local manager <close> = arvak.batch_manager(client)
    manager:execute_batch(circuits(5), "simulator", { transport = "unary", timeout = TEST_TIMEOUT,
      progress_callback = function(progress)
        if server:stats().calls.SubmitJob < 2 then return end   -- one was taken, the others are refused
        reports = reports + 1
        trouble = progress.trouble or "none"
        if reports == 5 then manager:cancel() end
      end })
    assert.equal("none", trouble)
  end)
end)

describe("standard error", function()
  -- Runs a batch of a script that may wait so long for its server: what it printed to standard error.
  local function stderr_of(seconds, more)
    local name = os.tmpname()
    local file <close> = assert(io.open(name, "w"))
    file:write(([[
      local arvak = require "arvak"
      local client <close> = arvak.connect(%q, { timeout = %g })
      local manager <close> = arvak.batch_manager(client)
      %s
      manager:execute_batch({ { "OPENQASM 3.0; qubit q; h q;", 1 } }, "simulator", { progress_callback = callback })
    ]]):format(free_address(), seconds, more or ""))
    file:close()
    local pipe = assert(io.popen(("%s '%s' 2>&1 >/dev/null </dev/null"):format(LUA, name)))
    local output = pipe:read "a"
    pipe:close()
    os.remove(name)
    return output
  end

  local said = "arvak: a batch at [%d.:]+ waits: the server has failed for [%d.]+ s: [^\n]*[Cc]onnect[^\n]*\n"

  it("is told once, when the server has been away for two seconds", function()
    local output = stderr_of(3.5)
    assert.matches("^" .. said .. "$", output)
    assert.is_true(tonumber(output:match "failed for ([%d.]+) s") >= 2)
  end)

  it("is told nothing before", function()
    assert.equal("", stderr_of(1))
  end)

  it("is told by warn outside a script", function()
    assert.matches("^Lua warning: " .. said, stderr_of(3, 'arg = nil warn "@on"'))
  end)
end)
