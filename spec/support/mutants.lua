-- Programs that are nearly right: a given program with a few changes, by lot. What the library makes of one is compared
-- with the slow evaluator. A seed determines all.
-- SPDX-License-Identifier: Apache-2.0
local circuit = require "arvak.circuit"
local evaluator = require "spec.support.evaluator"
local programs = require "spec.support.programs"

local M = {}

local MOST_TEXT = 2500           -- bytes of a program that is changed
local MOST_OPERATIONS = 20000    -- that a mutant may unroll to
local MOST_WIRES = 13            -- of which the exact distribution is worth its time
local MOST_SECONDS = 20          -- that reading and lowering one may take, on a busy machine

-- ---- random choices, the same everywhere

local Lot = {}
Lot.__index = Lot

function M.lot(seed) return setmetatable({ state = (seed * 2654435761 + 88172645463325252) & 0xffffffff | 1 }, Lot) end

-- An integer from 1 to n.
function Lot:pick(n)
  local x = self.state
  x = (x ~ x << 13) & 0xffffffff
  x = x ~ x >> 17
  x = (x ~ x << 5) & 0xffffffff
  self.state = x
  return x % n + 1
end

function Lot:one_of(list) return list[self:pick(#list)] end

-- ---- pieces of a text: names, numbers, signs, and what is between them

local function split(text)
  local pieces, at = {}, 1
  while at <= #text do
    local from, to = text:find("^[%a_\x80-\xff$][%w_\x80-\xff]*", at)
    if not from then from, to = text:find("^%d+%.?%d*[eE]?[+-]?%d*", at) end
    if not from then from, to = text:find("^%s+", at) end
    if not from then from, to = at, at end
    pieces[#pieces + 1] = text:sub(from, to)
    at = to + 1
  end
  return pieces
end

local function places_of(pieces, pattern)
  local places = {}
  for i, piece in ipairs(pieces) do
    if piece:find(pattern) then places[#places + 1] = i end
  end
  return places
end

local function statements_of(text)
  local list = {}
  for statement in text:gmatch("[^;{}]*[;{}]") do list[#list + 1] = statement end
  return list
end

-- ---- changes: text and lot to text

local gates = { "x", "y", "z", "h", "s", "sdg", "t", "tdg", "sx", "sxdg", "cx", "cy", "cz", "ch", "swap", "ccx",
  "cswap", "rx", "ry", "rz", "p", "u1", "u2", "u3", "U", "cp", "crx", "cry", "crz", "cu", "cu1", "cu3", "rxx", "ryy",
  "rzz", "rzx", "ecr", "iswap", "dcx", "csx", "ccz", "rccx", "id", "CX", "gphase", "nonsense" }
local numbers = { "0", "1", "2", "3", "4", "7", "0.5", "-1", "1.5", "pi", "pi/2", "2*pi", "0.25", "1e-3", "99", "3.7" }
local signs = { "+", "-", "*", "/", "%", "^", "**", "==", "!=", "<", ">", "<=", ">=", "&&", "||", "&", "|", "<<", ">>",
  ";", ",", "(", ")", "[", "]", "{", "}", ":", "=", "->", "@", "++", "!", "~" }
local insertions = {
  "inv @ ", "ctrl @ ", "negctrl @ ", "pow(2) @ ", "pow(0.5) @ ", "pow(-1) @ ", "ctrl(2) @ ", "pow(-0.25) @ ",
}
-- Q and C stand for registers of the program.
local statements2 = {
  "reset Q[0];", "reset Q;", "barrier Q;", "h Q;", "x Q[0];", "h Q[0];", "cx Q[0],Q[1];", "cu3(0.3,0.2,0.1) Q[1],Q[0];",
  "measure Q[0]->C[0];", "measure Q[1]->C[0];", "measure Q->C;", "if(C==1) x Q[0];", "if(C==0) h Q[1];",
  "if(C==2) measure Q[0]->C[1];", "if(C==1) reset Q[0];", "if(C==1) measure Q->C;", "if(C==3) h Q;",
  "u2(0.1,0.2) Q[1];",
}
local statements3 = {
  "C[0] = measure Q[0];", "C = measure Q;", "measure Q[1];", "if (C[0]) { x Q[0]; }", "C[0] = C[0] ^ C[1];",
  "C[0] = 1;",
  "if (C[0] == 0) { h Q[0]; C[0] = measure Q[0]; } else { y Q[0]; }", "for int i in [0:1] { h Q[i]; }",
  "gphase(pi/3);", "ctrl @ inv @ s Q[0], Q[1];", "{ bit extra; extra = measure Q[0]; if (extra) x Q[1]; }",
  "int n = 3; if (n > 2) { t Q[0]; }", "let r = Q[0:1]; h r;", "end;", "if (C[0]) end;", "if (C != 1) reset Q[0];",
  "switch (int(C)) { case 1 { x Q[0]; } default { h Q[0]; } }", "uint[2] k = C[0] + C[1]; if (k == 2) z Q[0];",
  "for int i in [0:1] { C[i] = measure Q[i]; if (C[i]) break; h Q[0]; }", "ctrl @ pow(0.5) @ x Q[0], Q[1];",
  "for int i in [0:1] { C[0] = measure Q[0]; if (!C[0]) continue; h Q[0]; }", "negctrl @ gphase(0.7) Q[0];",
  "bool both = C[0] && C[1]; h Q[0]; C[0] = measure Q[0]; if (both || C[0]) { h Q[1]; }", "inv @ rx(0.3) Q[0];",
  "if (C[0]) { if (C[1]) { h Q[0]; } reset Q[1]; }", "C[0] = !C[1];", "C = ~C;", "C = C << 1;", "reset Q[0:1];",
  "if (C[0]) { x Q[0]; } else { end; }", "if (C[1]) { h Q[0]; } else { if (C[0]) { end; } else { x Q[1]; } h Q[1]; }",
  "for int i in [0:2] { if (C[0]) { h Q[0]; } else { break; } C[0] = measure Q[0]; h Q[1]; }",
  "for int i in [0:2] { C[1] = measure Q[1]; if (C[1]) { h Q[1]; } else { continue; } h Q[0]; }",
  "while (C[0]) { x Q[0]; C[0] = measure Q[0]; }", "pow(-1) @ cp(0.4) Q[0], Q[1];", "if (popcount(C) > 1) h Q[0];",
}

-- A statement about the registers of the program, in its language.
local function new_statement(text, lot)
  local is_old = text:find("qreg", 1, true) ~= nil
  local list = (is_old or lot:pick(3) == 1) and statements2 or statements3
  local qubits, bits = {}, {}
  for name in text:gmatch("qreg%s+([%w_]+)") do qubits[#qubits + 1] = name end
  for name in text:gmatch("qubit%[%d+%]%s+([%w_]+)") do qubits[#qubits + 1] = name end
  for name in text:gmatch("creg%s+([%w_]+)") do bits[#bits + 1] = name end
  for name in text:gmatch("%f[%w]bit%[%d+%]%s+([%w_]+)") do bits[#bits + 1] = name end
  if #qubits == 0 or #bits == 0 then return "" end
  return (lot:one_of(list):gsub("%f[%w]Q%f[%W]", lot:one_of(qubits)):gsub("%f[%w]C%f[%W]", lot:one_of(bits)))
end

local function replace(pattern, with)
  return function(text, lot)
    local pieces = split(text)
    local places = places_of(pieces, pattern)
    if #places == 0 then return text end
    pieces[lot:one_of(places)] = lot:one_of(with)
    return table.concat(pieces)
  end
end

local function change_statements(change)
  return function(text, lot)
    local list = statements_of(text)
    if #list < 3 then return text end
    change(list, lot, text)
    return table.concat(list)
  end
end

local function change_piece(change)
  return function(text, lot)
    local pieces = split(text)
    change(pieces, lot:pick(#pieces), lot)
    return table.concat(pieces)
  end
end

-- A name that stands somewhere in the text, in the place of another.
local function swap_names(text, lot)
  local pieces = split(text)
  local places = places_of(pieces, "^[%a_]")
  if #places == 0 then return text end
  pieces[lot:one_of(places)] = pieces[lot:one_of(places)]
  return table.concat(pieces)
end

local function insert_statement(list, lot, text)
  table.insert(list, lot:pick(#list), new_statement(text, lot))
end

local function add_statement(list, lot, text) list[#list + 1] = new_statement(text, lot) end

local changes = {
  replace("^%d", numbers), replace("^%d", { "0", "1", "2", "3" }), replace("^%l%w*$", gates),
  replace("^[^%w%s]$", signs), swap_names,
  change_piece(function(pieces, at) table.remove(pieces, at) end),
  change_piece(function(pieces, at) table.insert(pieces, at, pieces[at]) end),
  change_statements(function(list, lot) table.remove(list, lot:pick(#list)) end),
  change_statements(function(list, lot) table.insert(list, lot:pick(#list), lot:one_of(list)) end),
  change_statements(function(list, lot)
    local i, k = lot:pick(#list), lot:pick(#list)
    list[i], list[k] = list[k], list[i]
  end),
  change_statements(insert_statement), change_statements(insert_statement), change_statements(insert_statement),
  change_statements(add_statement), change_statements(add_statement),
  change_statements(function(list, lot)
    local at = lot:pick(#list)
    list[at] = list[at]:gsub("^%s*", "%0" .. lot:one_of(insertions))
  end),
}

-- A program with one to three changes.
function M.mutate(text, lot)
  for _ = 1, lot:pick(3) do text = lot:one_of(changes)(text, lot) end
  return text
end

-- Those that are worth changing.
function M.seeds()
  local list = {}
  for _, source in ipairs { programs.public(), programs.tolerant() } do
    for _, program in ipairs(source) do
      if #program.qasm <= MOST_TEXT then list[#list + 1] = program end
    end
  end
  return list
end

-- ---- what becomes of one

local function bind(c, inputs)
  local values = {}
  for _, name in ipairs(c:parameters()) do values[name] = inputs and inputs[name] end
  return c:bind(values)
end

local function lower(text, inputs)
  local c, err = circuit.from_qasm(text, { max_operations = MOST_OPERATIONS })
  if c then c, err = bind(c, inputs) end
  if not c then return nil, err end
  return c:lowered { qubits = 20 }
end

local function check_refusal(err)
  if type(err) ~= "table" or err.kind ~= "invalid_circuit" then
    return "a refusal of another kind: " .. tostring(err)
  end
  if type(err.message) ~= "string" or err.message == "" then return "a refusal without a message" end
end

-- "refused", "exact", "skipped" (too much for the evaluator), or "wrong" and why. Whatever the program holds.
function M.judge(text, inputs)
  local since = os.clock()
  local ok, lowered, err = pcall(lower, text, inputs)
  local spent = os.clock() - since
  if not ok then return "wrong", "raised: " .. tostring(lowered) end
  if spent > MOST_SECONDS then return "wrong", ("took %.1f s"):format(spent) end
  if not lowered then
    local problem = check_refusal(err)
    if problem then return "wrong", problem end
    return "refused", tostring(err)
  end
  if lowered.qubit_count > MOST_WIRES then return "skipped" end
  local got = programs.probabilities_of(lowered)
  local meant
  meant, err = evaluator.probabilities(text, { inputs = inputs, budget = 100000 })
  if not meant and err.is_limit then return "skipped" end
  if not meant then return "wrong", "accepted, but the evaluator says: " .. err.evaluator end
  local distance = programs.distance(got, meant)
  if distance < programs.LIMIT then return "exact" end
  return "wrong", ("a total variation of %g"):format(distance)
end

return M
