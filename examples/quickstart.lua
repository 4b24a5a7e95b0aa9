-- A Bell circuit goes in, counts come out.
-- Usage: lua5.4 examples/quickstart.lua [address]     (default: $ARVAK_ADDRESS, or a dev server in here)
local arvak = require "arvak"

local bell = [[
OPENQASM 3.0;
include "stdgates.inc";
qubit[2] q;
bit[2] c;
h q[0];
cx q[0], q[1];
c = measure q;
]]

local client <close> = arvak.connect(arg and arg[1] or os.getenv "ARVAK_ADDRESS" or "embedded")

local backend = assert(client:list_backends())[1]
print(("backend   %s, %d qubits"):format(backend.name, backend.max_qubits))

local job_id = assert(client:submit_qasm(bell, backend.backend_id, 1000))
print(("job       %s"):format(job_id))

local result = assert(client:wait_for_job(job_id, { max_wait = 30 }))
print(("shots     %d"):format(result.shots))

local WIDTH = 50
local bits, most = result:most_frequent()
for outcome, count in result:pairs() do
  local share = count / result.shots
  local bar = ("#"):rep(math.floor(share / most * WIDTH + 0.5))
  print(("%-9s %5d  %5.1f %%  %s"):format(outcome, count, 100 * share, bar))
end
print(("mostly    %s (qubit 0 is the rightmost character)"):format(bits))
