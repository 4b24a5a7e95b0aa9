-- What a connected client costs while nobody calls: CPU of the process in IDLE_SECONDS (5), in a wait and outside.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local clock = require "bench.clock"

local seconds = tonumber(os.getenv("IDLE_SECONDS") or 5)
local address = assert(os.getenv("TCP"), "run me by bench/serve")
local client <close> = arvak.connect(address)
assert(client:list_backends())

local function cpu_of(wait)
  local cpu = clock.cpu()
  wait()
  return (clock.cpu() - cpu) * 1000
end

local sleeping = cpu_of(function() arvak.sleep(seconds) end)
local away = cpu_of(function() assert(os.execute("sleep " .. seconds)) end)
print(("idle client, %g s: %.1f ms CPU in arvak.sleep, %.1f ms outside of any call"):format(seconds, sleeping, away))
assert(client:list_backends())
