-- Jobs inside a libuv loop. Each runs in a coroutine; uv.run() ends when nothing is in flight.
local arvak = require "arvak"
local uv = require "luv"

local client = arvak.connect(os.getenv("ARVAK_ADDRESS") or "embedded")
local attachment = require("arvak.luv").attach()
local bell = "OPENQASM 3.0; qubit[2] q; bit[2] c; h q[0]; cx q[0], q[1]; c = measure q;"

local ticks, ticker = 0, uv.new_timer()
ticker:start(1, 1, function() ticks = ticks + 1 end)

local open = 10
for i = 1, open do
  coroutine.wrap(function()
    local result = assert(client:execute(bell, "simulator", 100 * i))
    print(("job %2d: 00 %4d times, 11 %4d times"):format(i, result.counts["00"] or 0, result.counts["11"] or 0))
    open = open - 1
    if open == 0 then ticker:close() end
  end)()
end

uv.run()
print("the clock ticked " .. ticks .. " times meanwhile")
attachment:detach()
client:close()
