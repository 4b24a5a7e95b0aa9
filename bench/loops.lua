-- RPCs in other people's loops: the same coroutines, 64 in flight, once with our own pump inside gRPC, once over the
-- descriptor with cqueues, once with luv. Environment: TCP and UNIX; ROUNDS. Loops that are not installed are left out.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local clock = require "bench.clock"
local sample = require "bench.sample"

local rounds = tonumber(os.getenv("ROUNDS") or 7)
local IN_FLIGHT, CALLS = 64, 32000

local function worker(client)
  for _ = 1, CALLS / IN_FLIGHT do assert(client:list_backends()) end
end

local loops = {
  {
    name = "own pump",
    run = function(client)
      arvak.run(function()
        for _ = 1, IN_FLIGHT do arvak.spawn(worker, client) end
      end)
    end,
  },
}

local has_cqueues, cqueues = pcall(require, "cqueues")
if has_cqueues then
  loops[#loops + 1] = {
    name = "cqueues",
    run = function(client)
      local controller = cqueues.new()
      local attachment <close> = require("arvak.cqueues").attach(controller) -- luacheck: ignore
      for _ = 1, IN_FLIGHT do controller:wrap(worker, client) end
      assert(controller:loop())
    end,
  }
end

local has_luv, uv = pcall(require, "luv")
if has_luv then
  loops[#loops + 1] = {
    name = "luv",
    run = function(client)
      local attachment <close> = require("arvak.luv").attach() -- luacheck: ignore
      for _ = 1, IN_FLIGHT do coroutine.wrap(worker)(client) end
      uv.run()
    end,
  }
end

print(("%-40s  %-24s  %-20s  %s"):format("64 in flight, in another loop", "RPC/s", "of our own pump", "us CPU an RPC"))
for _, place in ipairs { "TCP", "UNIX" } do
  local address = assert(os.getenv(place), "run me by bench/serve")
  local client <close> = arvak.connect(address)
  for _, loop in ipairs(loops) do
    loop.rate, loop.ratio, loop.cpu = sample.new(), sample.new(), sample.new()
    loop.run(client)
  end
  for _ = 1, rounds do
    local own
    for _, loop in ipairs(loops) do
      local wall, cpu = clock.wall(), clock.cpu()
      loop.run(client)
      local rate = CALLS / (clock.wall() - wall)
      own = own or rate
      loop.rate:add(rate)
      loop.ratio:add(rate / own)
      loop.cpu:add((clock.cpu() - cpu) / CALLS * 1e6)
    end
  end
  for _, loop in ipairs(loops) do
    print(("%-40s  %-24s  %-20s  %s"):format(place .. ", " .. loop.name, loop.rate:text("%.0f"),
      loop.ratio:text("%.2f"), loop.cpu:text("%.1f")))
  end
end
