-- The words of each version of the language, which no name may be.
-- SPDX-License-Identifier: Apache-2.0
local M = {}

local function set_of(words)
  local set = {}
  for word in string.gmatch(words, "%S+") do set[word] = true end
  return set
end

M[2] = set_of "OPENQASM include qreg creg gate opaque barrier measure reset if"

M[3] = set_of [[
  OPENQASM include defcalgrammar def cal defcal gate extern box let break continue if else end return for while in
  switch case default pragma input output const readonly mutable qreg qubit creg bool bit int uint float angle complex
  array void duration stretch gphase inv pow ctrl negctrl durationof delay reset measure barrier true false nop
]]

return M
