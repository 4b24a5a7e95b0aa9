-- A plugin for host.cpp, which gives it a client and nothing else: what it returns is printed, and what it raises makes
-- the host fail.
local result = assert(client:execute("OPENQASM 3.0; qubit q; x q;", "simulator", 7))
return result.counts["1"]
