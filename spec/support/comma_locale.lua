-- A process in a locale whose numbers have commas, for a spec that looks at what it prints and writes.
-- Usage: lua comma_locale.lua LOCALE FOLDER
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local devserver = require "arvak.devserver"

local locale, folder = table.unpack(arg)
local client <close> = arvak.connect("embedded", { timeout = 2.5 })
local bell = "OPENQASM 3.0; qubit[2] q; h q[0]; cx q[0], q[1];"
local early = assert(client:execute(bell, "simulator", 4))
early.metadata_json = '{"t1":0.25,"n":3}'
print("metadata in C", early:metadata().t1)   -- lua-cjson is loaded before the locale is set
print("locale", os.setlocale(locale), 1.5)

local result = assert(client:execute("OPENQASM 3.0; qubit q; rx(1.5707963267948966) q;", "simulator", 1000))
result.counts, result.execution_time_ms, result.metadata_json = { ["0"] = 1, ["1"] = 7 }, 1, '{"t1":0.25,"n":3}'
print("probability", arvak.type(result) and result:probabilities()["0"] == 0.125)
print("metadata", result:metadata().t1 == 0.25, math.type(result:metadata().n))
print("backend", type(client:get_backend_info("simulator").topology))
io.write(result:histogram(40))
local items = { { id = "a", attempts = 0.5, result = result }, { id = "b", err = "1,5 and 2,5" } }
assert(arvak.export.to_csv(folder .. "/out.csv", items))
local _, err = client:get_job_status("none")
items[3] = { err = err }
assert(arvak.export.to_json(folder .. "/out.json", items))

local manager <close> = arvak.batch_manager(client)
local circuits = { { bell, 10 }, { "OPENQASM 3.0; qubit q; foo q;", 10 } }
for _ = 1, 2 do
  local r = assert(manager:execute_batch(circuits, "simulator", { journal = folder .. "/run.db" }))
  print("journal", r.status, r.success_count, r.items[2].err.kind)
end
print("unknown gate", client:execute("OPENQASM 3.0; qubit[2] q; rzz(0.5) q[0], q[1];", "simulator", 1))

local angle = arvak.circuit.parameter "a"
local turned = arvak.circuit.new(1):rx(0.5, 0):rz(angle, 0):bind { a = 1e-7 }
print("circuit", turned:lowered().qasm:match "rx%b() ", turned:lowered().qasm:match "rz%b() ")
local quarters = "OPENQASM 2.0; qreg q[1];\nrx(0.25) q[0];\nrx(sqrt(6.25e-2)) q[0];\nrx(.5/2) q[0];"
print("quarters", select(2, arvak.circuit.from_qasm(quarters):lowered().qasm:gsub("rx%(0%.25%)", "")))

circuits[2] = nil
local _, late = manager:execute_batch({ circuits[1] }, "simulator", { timeout = 1e-9 })
print("timeout", late)
print("range", select(2, pcall(arvak.circuit_breaker, { failure_rate = 1.5 })))
print("future", select(2, arvak.future():result(0.0001)))

local server <close> = assert(devserver.start { job_latency = 0.001, rate_limit = 0,
  faults = { { rpc = "GetJobStatus", latency = { 0.001, 0.002 } },
    "rpc=SubmitJob,status=UNAVAILABLE,rate=0.999,count=1" } })
server:fault { rpc = "GetJobResult", latency = { mean = 0.001 }, rate = 0.5 }
server:fault "rpc=GetJobResult,latency=exponential:0.001,rate=0.5"
local other <close> = arvak.connect(server.address, { retry = { initial_backoff = 0.01 } })
print("server", arvak.type(other:execute(bell, "simulator", 5)))
