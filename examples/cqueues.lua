-- Jobs inside a cqueues loop, beside a clock of the loop's own that does not stop for them.
local arvak = require "arvak"
local cqueues = require "cqueues"

local client = arvak.connect(os.getenv("ARVAK_ADDRESS") or "embedded")
local controller = cqueues.new()
local bell = "OPENQASM 3.0; qubit[2] q; bit[2] c; h q[0]; cx q[0], q[1]; c = measure q;"
local open, ticks = 10, 0

local attachment = require("arvak.cqueues").attach(controller)

for i = 1, open do
  controller:wrap(function()
    local result = assert(client:execute(bell, "simulator", 100 * i))
    print(("job %2d: 00 %4d times, 11 %4d times"):format(i, result.counts["00"] or 0, result.counts["11"] or 0))
    open = open - 1
  end)
end

controller:wrap(function()
  while open > 0 do
    ticks = ticks + 1
    cqueues.sleep(0.001)
  end
end)

assert(controller:loop())
print("the clock ticked " .. ticks .. " times meanwhile")
attachment:detach()
client:close()
