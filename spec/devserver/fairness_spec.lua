-- The dev server shares its turns: whatever some clients do, another's calls are answered soon.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"
local monotime = require("system").monotime

local LUA = os.getenv "LUA" or "lua5.4"
local BOUND = 3.0   -- seconds; on an idle machine the answers take less than a tenth of a second
local CALLS = 100

-- Starts one of the programs of spec/support/flood.lua: a function that ends it.
local function start(...)
  local path = os.tmpname()
  local pipe = assert(io.popen(("echo $$ >%s; exec %s spec/support/flood.lua %s >/dev/null 2>&1"):format(path, LUA,
    table.concat({ ... }, " ")), "w"))
  return function()
    os.execute(("kill $(cat %s) 2>/dev/null"):format(path))
    pipe:close()
    os.remove(path)
  end
end

describe("while other clients keep a server busy", function()
  local end_server, client, address, end_flood

  before_each(function()
    local path = os.tmpname()
    end_server = start("serve", path)
    address = helper.eventually(function()
      local file <close> = assert(io.open(path))
      return file:read("a"):match "^(.+)\n"
    end)
    os.remove(path)
    client = arvak.connect(address)
  end)

  after_each(function()
    if end_flood then end_flood() end
    end_server()
    client:close()
  end)

  -- The longest of CALLS calls, in seconds.
  local function longest(call)
    local worst = 0
    for _ = 1, CALLS do
      local since = monotime()
      assert(call())
      worst = math.max(worst, monotime() - since)
      arvak.sleep(0.01)
    end
    return worst
  end

  local function list_backends() return client:list_backends() end

  for name, pause in pairs { ["as fast as they can"] = 0, ["slowly"] = 0.05 } do
    it("with a hundred streams of tiny messages that they read " .. name, function()
      local job_id = assert(client:execute("OPENQASM 3.0; qubit[14] q; h q;", "simulator", 100000)).job_id
      end_flood = start("streams", address, job_id, pause)
      assert.is_true(longest(list_backends) < BOUND)
      assert.is_true(longest(function() return client:get_job_status(job_id) end) < BOUND)
    end)
  end

  for _, method in ipairs { "ListBackends", "SubmitJob", "WatchJob" } do
    it("with forty thousand calls of " .. method .. " that they reset at once", function()
      end_flood = start("resets", address, method)
      assert.is_true(longest(list_backends) < BOUND)
    end)
  end
end)
