-- Gates that need no definition: those of stdgates.inc and qelib1.inc, and what Qiskit writes without defining it.
-- Each name with how many parameters and qubits it takes. What they do is in gates.lua.
-- SPDX-License-Identifier: Apache-2.0

return {
  -- the language's own
  U = { 3, 1 }, CX = { 0, 2 }, gphase = { 1, 0 },

  -- one qubit
  id = { 0, 1 }, x = { 0, 1 }, y = { 0, 1 }, z = { 0, 1 }, h = { 0, 1 }, s = { 0, 1 }, sdg = { 0, 1 },
  t = { 0, 1 }, tdg = { 0, 1 }, sx = { 0, 1 }, sxdg = { 0, 1 },
  p = { 1, 1 }, phase = { 1, 1 }, rx = { 1, 1 }, ry = { 1, 1 }, rz = { 1, 1 }, r = { 2, 1 },
  u0 = { 1, 1 }, u1 = { 1, 1 }, u2 = { 2, 1 }, u3 = { 3, 1 }, u = { 3, 1 },

  -- two qubits
  cx = { 0, 2 }, cy = { 0, 2 }, cz = { 0, 2 }, ch = { 0, 2 }, cs = { 0, 2 }, csdg = { 0, 2 }, csx = { 0, 2 },
  cp = { 1, 2 }, cphase = { 1, 2 }, cu1 = { 1, 2 }, crx = { 1, 2 }, cry = { 1, 2 }, crz = { 1, 2 },
  cu3 = { 3, 2 }, cu = { 4, 2 },
  swap = { 0, 2 }, iswap = { 0, 2 }, dcx = { 0, 2 }, ecr = { 0, 2 },
  rxx = { 1, 2 }, ryy = { 1, 2 }, rzz = { 1, 2 }, rzx = { 1, 2 },

  -- three and more
  ccx = { 0, 3 }, ccz = { 0, 3 }, cswap = { 0, 3 }, rccx = { 0, 3 },
  c3x = { 0, 4 }, c3sx = { 0, 4 }, c3sqrtx = { 0, 4 }, rc3x = { 0, 4 }, rcccx = { 0, 4 }, c4x = { 0, 5 },
}
