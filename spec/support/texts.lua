-- Texts read into forms, for specs of the reader.
-- SPDX-License-Identifier: Apache-2.0
local inside = require "spec.support.inside"

local M = {}

M.read = inside "arvak.circuit.read"
M.form = inside "arvak.circuit.form"

M.HEAD = "OPENQASM 3.0;\n"

-- The form of a text; raises its error.
function M.form_of(text, options)
  local made, err = M.read.from_qasm(text, options)
  return made or error(err.message, 2)
end

-- The form of a body of version 3 with four qubits q and four bits c.
function M.body(body, options)
  return M.form_of("OPENQASM 3.0;\nqubit[4] q; bit[4] c;\n" .. body, options)
end

-- The error of a text that is refused.
function M.refusal(text, options)
  local made, err = M.read.from_qasm(text, options)
  if made then error("expected a refusal of\n" .. text, 2) end
  return err
end

local function word(value)
  if type(value) ~= "table" then
    return math.type(value) == "float" and ("%.6g"):format(value) or tostring(value)
  end
  if value.var then return "v" .. value.var end
  if value.bit then return "b" .. value.bit end
  if value.name then return M.gate(value) end
  local parts = {}
  for i = 1, #value do parts[i] = word(value[i]) end
  return "(" .. table.concat(parts, " ") .. ")"
end

-- A gate with its modifiers, as in "ctrl 2 @ inv @ x".
function M.gate(gate)
  local parts = {}
  for i, modifier in ipairs(gate.modifiers or {}) do
    parts[i] = modifier[1] .. (modifier[2] and " " .. word(modifier[2]) or "") .. " @ "
  end
  return table.concat(parts) .. gate.name
end

-- The operations of a block, one to a line: "rx 0.5 0", "measure 0 1", "if (bit 0) { x 1 } else { y 1 }".
function M.lines(block)
  local lines = {}
  for i = 1, block.n do
    local op, parts = block[i], {}
    if op[1] == M.form.IF then
      parts = { "if", word(op[2]), "{", table.concat(M.lines(op[3]), "; "), "}" }
      if op[4] then table.move({ "else", "{", table.concat(M.lines(op[4]), "; "), "}" }, 1, 4, #parts + 1, parts) end
    else
      for k = 1, #op do parts[k] = word(op[k]) end
    end
    lines[i] = table.concat(parts, " ")
  end
  return lines
end

-- The operations of a body, joined by "; ".
function M.ops(body) return table.concat(M.lines(M.body(body).block), "; ") end

-- The only angle of a body's only operation.
function M.angle(body)
  local block = M.body(body).block
  assert(block.n == 1, "expected one operation")
  return block[1][2]
end

return M
