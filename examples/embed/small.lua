-- A plugin for host.cpp, which gives it a client and nothing else: what it returns is printed.
local result, err = client:execute("OPENQASM 3.0; qubit q; x q;", "simulator", 7)
return result and result.counts["1"] or err
