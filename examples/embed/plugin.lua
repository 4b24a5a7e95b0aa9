-- A plugin, as its author writes it: plain Lua, with the two globals that the host gives, `arvak` and `client`.
-- It sees neither threads nor connections; that others use the same client at the same time makes no difference here.

-- A circuit that writes a number into eight qubits, with a ninth that is as often 0 as 1 before them.
local function circuit_of(number)
  local lines = { "OPENQASM 3.0;", "qubit[9] q;", "h q[8];" }
  for bit = 0, 7 do
    if number >> bit & 1 == 1 then lines[#lines + 1] = ("x q[%d];"):format(bit) end
  end
  return table.concat(lines)
end

-- Runs a circuit for each number, all at once: a list of tables, from the number measured to how often it was.
function run(numbers, shots)
  local outcomes = arvak.map(numbers, function(number)
    return client:execute(circuit_of(number), "simulator", shots)
  end)
  local measured = {}
  for i, outcome in ipairs(outcomes) do
    if not outcome.ok then error(outcome.err) end
    measured[i] = {}
    for bits, count in outcome.value:pairs() do measured[i][tonumber(bits, 2)] = count end
  end
  return measured
end
