-- Fifty circuits at once: every task reads like a blocking script, and none of them blocks another.
-- Usage: lua5.4 examples/tasks.lua [address]
local arvak = require "arvak"

-- A rotation by angle: the probability of 1 is sin(angle / 2) squared.
local function rotation(angle)
  return ("OPENQASM 3.0; qubit q; ry(%.17g) q;"):format(angle)
end

local client <close> = arvak.connect(arg and arg[1] or os.getenv "ARVAK_ADDRESS" or "embedded")
local SHOTS, STEPS = 2000, 50   -- a server with limits takes 100 jobs a second

local function measure(step)
  local result = assert(client:execute(rotation(step * math.pi / STEPS), "simulator", SHOTS))
  return result:probabilities()["1"] or 0
end

arvak.run(function()
  local futures = {}
  for step = 0, STEPS do futures[step] = arvak.spawn(measure, step) end
  local worst = 0
  for step = 0, STEPS do
    local measured = assert(futures[step]:result())
    local expected = math.sin(step * math.pi / STEPS / 2) ^ 2
    worst = math.max(worst, math.abs(measured - expected))
    if step % 5 == 0 then
      print(("angle %3d/%d pi   expected %.3f   measured %.3f"):format(step, STEPS, expected, measured))
    end
  end
  print(("largest difference of %d angles: %.3f"):format(STEPS + 1, worst))
  assert(worst < 0.1, "the counts do not follow the angles")
end)

local stats = client:stats()
print(("%d calls over %d connection(s)"):format(stats.calls, stats.connections.open))
