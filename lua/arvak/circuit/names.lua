-- Names in OpenQASM 3: what may be one, what the language has taken, and names that nobody uses yet.
-- SPDX-License-Identifier: Apache-2.0
local words = require "arvak.circuit.read.words"

local M = {}

local function set_of(list)
  local set = {}
  for word in string.gmatch(list, "%S+") do set[word] = true end
  return set
end

-- What else the language means something by.
local meant = set_of "pi tau euler im U CX dim"

local functions = set_of [[
  arccos arcsin arctan ceiling cos exp floor log mod popcount real imag rotl rotr sin sizeof sqrt tan ln abs
]]

local in_stdgates = set_of [[
  p x y z h s sdg t tdg sx rx ry rz cx cy cz cp crx cry crz ch swap ccx cswap cu phase cphase id u1 u2 u3
]]

-- Whether stdgates.inc, or the language itself, defines a gate.
function M.is_standard_gate(name) return in_stdgates[name] or name == "U" or name == "CX" or name == "gphase" end

-- Whether a text is a name as the language writes one. Beyond ASCII any letter will do, and nobody here can tell those.
function M.is_name(value)
  return type(value) == "string" and string.find(value, "^[%a_\128-\255][%w_\128-\255]*$") ~= nil
    and (not utf8 or utf8.len(value) ~= nil)
end

-- Whether a circuit that is written as OpenQASM 3 has another meaning for this name.
function M.is_keyword(name) return words[3][name] or meant[name] or false end

-- The name, or one with _ and a number behind it where the language, stdgates.inc or taken has it; then it is in taken.
-- What no name may hold becomes _. taken: a set of names.
function M.unique(name, taken)
  name = string.gsub(string.gsub(name, "[^%w_\128-\255]", "_"), "^%d", "_%0")
  local unique, i = name, 0
  while taken[unique] or M.is_keyword(unique) or functions[unique] or in_stdgates[unique] do
    i = i + 1
    unique = name .. "_" .. i
  end
  taken[unique] = true
  return unique
end

return M
