-- What a program may be on a backend, looked at before it is sent: qubits and shots as the backend says, operations as
-- servers take at their defaults. The gates that backends list are not asked: those lists are wrong (contract 2.9).
-- Invariant: every limit that is broken is named, not only the first.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local backends = require "arvak.jobs.backends"
local check = require "arvak.base.check"
local errors = require "arvak.base.errors"
local program = require "arvak.results.program"

local M = {}

local DEFAULT_SHOTS = 1024

local words = { qubits = "qubits", shots = "shots", gates = "operations" }

local function add(problems, limit, got, most)
  if got > most then problems[#problems + 1] = { limit = limit, got = got, most = most } end
end

local function explain(problems, backend_id)
  local parts = {}
  for i, problem in ipairs(problems) do
    parts[i] = string.format("%d %s, but %s takes %d", problem.got, words[problem.limit], backend_id, problem.most)
  end
  return table.concat(parts, "; ")
end

-- The limits that a circuit breaks, and why it cannot be lowered for this backend. A wire may serve twice where there
-- are few, so the qubits are too many only when it cannot be lowered for as many as there are.
local function check_circuit(circuit, level, info, problems)
  local lowered, err = circuit:lowered { optimization_level = program.level(level), qubits = info.max_qubits }
  if not lowered then
    local reason = err
    lowered, err = circuit:lowered { optimization_level = program.level(level) }
    if not lowered then return err end
    problems.reason = reason.message
    add(problems, "qubits", lowered.qubit_count, info.max_qubits)
  end
  add(problems, "gates", lowered.gate_count, program.MOST_OPERATIONS)
end

-- Whether a program may run on a backend: true, or nil and an error with problems, a list of
-- { limit =, got =, most = }. Of a text only the shots are looked at.
function M.find(source, shots, level, info)
  local problems = {}
  if program.is_circuit(source) then
    local err = check_circuit(source, level, info, problems)
    if err then
      err.attempts = 0
      return nil, err
    end
  end
  add(problems, "shots", shots, info.max_shots)
  if #problems == 0 then return true end
  local reason = problems.reason
  problems.reason = nil
  return nil, errors.new("invalid_circuit", explain(problems, info.backend_id) .. (reason and ": " .. reason or ""),
    { problems = problems, attempts = 0 })
end

-- ---- client:check

local option_names = { shots = true, optimization_level = true, label = true }
for name in pairs(check.call_options) do option_names[name] = true end

local function read_options(options)
  if type(options) ~= "table" then return { shots = options } end
  return options
end

-- The arguments of client:check, checked; a circuit as it is now.
function M.check_arguments(client, source, backend_id, options)
  if options ~= nil and type(options) ~= "number" then
    if type(options) ~= "table" then
      check.misuse("check: got %s, expected a number of shots or a table of options", core.describe(options))
    end
    options = check.options(options, "check", option_names)
  end
  local is_circuit = program.is_circuit(source)
  core.check.submit_qasm(client, is_circuit and "" or source, backend_id, options)
  return is_circuit and program.freeze(source) or source, backend_id, options
end

-- Asks a backend what it takes, in one GetBackendInfo, and compares: true, or nil and an error with problems.
function M.check(client, source, backend_id, options)
  core.check_client(client, "check")
  core.check_wait("check")
  source = M.check_arguments(client, source, backend_id, options)
  options = read_options(options)
  local info, err = core.call.get_backend_info(client, backend_id, check.pick_call_options(options))
  if not info then return backends.explain(client, nil, err) end
  return M.find(source, options.shots or DEFAULT_SHOTS, options.optimization_level or 0, info)
end

return M
