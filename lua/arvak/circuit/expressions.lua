-- Expressions over measured values, to be walked and written. form.lua and the readers say what they mean.
-- SPDX-License-Identifier: Apache-2.0
local M = {}

-- Calls on_bit(b) for each bit that an expression reads, and on_variable(j) for each variable; either may be nil.
function M.visit(expr, on_bit, on_variable)
  if type(expr) ~= "table" then return end
  local operator = expr[1]
  if operator == "bit" then
    if on_bit then on_bit(expr[2]) end
  elseif operator == "var" then
    if on_variable then on_variable(expr[2]) end
  elseif operator == "reg" then
    for b = expr[2], on_bit and expr[2] + expr[3] - 1 or -1 do on_bit(b) end
  else
    for i = 2, #expr do M.visit(expr[i], on_bit, on_variable) end
  end
end

-- ---- texts

-- The name of a bit: "c[1]", or "b" of a single one. rename: name → name, or nil.
function M.bit_name(form, b, rename)
  for _, register in ipairs(form.bits) do
    local i = b - register.first
    if i >= 0 and i < register.size then
      local name = rename and rename[register] or register.name
      return register.scalar and name or string.format("%s[%d]", name, i)
    end
  end
  return string.format("bit[%d]", b)
end

-- Bits that lie side by side: a register, a part of one, or several joined, the first of them on the left.
local function run_name(first, size, form, rename)
  local parts, last = {}, first + size - 1
  for _, register in ipairs(form.bits) do
    local from, to = math.max(first, register.first), math.min(last, register.first + register.size - 1)
    if from <= to then
      local name = rename and rename[register] or register.name
      local is_all = to - from + 1 == register.size
      parts[#parts + 1] = is_all and name or from == to and string.format("%s[%d]", name, from - register.first)
        or string.format("%s[%d:%d]", name, from - register.first, to - register.first)
    end
  end
  return #parts == 1 and parts[1] or "(" .. table.concat(parts, " ++ ") .. ")"
end

local comparisons = { ["=="] = true, ["!="] = true, ["<"] = true, ["<="] = true, [">"] = true, [">="] = true }

-- Operators whose values fit a bit as they are.
local is_boolean = { bit = true, ["&&"] = true, ["||"] = true, ["not"] = true }
for name in pairs(comparisons) do is_boolean[name] = true end

local function is_register(expr) return type(expr) == "table" and expr[1] == "reg" end

local write

-- Operators whose result may need more bits than their operands have.
local grows = { ["+"] = true, ["-"] = true, ["*"] = true, ["<<"] = true }
local bitwise = { ["&"] = true, ["|"] = true, ["^"] = true }

local function is_plain_bit(expr)
  return type(expr) == "table" and (expr[1] == "bit" or (bitwise[expr[1]] and is_plain_bit(expr[2])
    and is_plain_bit(expr[3])))
end

-- A register, a bit or a variable that holds one, as the number that an operator computes with. The result may be
-- negative: that of an unsigned type would wrap.
local function as_number(expr, operator, context)
  local name, width = write(expr, context), expr[1] == "reg" and expr[3] or 1
  if expr[1] == "reg" then name = string.format("uint[%d](%s)", width, name) end
  if grows[operator] then return string.format("int[64](%s)", name) end
  return expr[1] == "reg" and name or string.format("uint[1](%s)", name)
end

local function is_leaf(expr, context)
  if type(expr) ~= "table" then return false end
  local variable = expr[1] == "var" and context.form.variables[expr[2]]
  return expr[1] == "reg" or expr[1] == "bit" or (variable and (variable.type == "bit" or variable.type == "bool"))
end

-- An operand: in parentheses where it has an operator of its own. with: the other operand, or nil. Registers and bits
-- are numbers where the other side is not one that says so.
local function operand(expr, operator, with, context)
  local is_compared = comparisons[operator] and (math.type(with) == "integer" or not is_register(expr))
  local are_bits = bitwise[operator] and is_plain_bit(expr) and is_plain_bit(with)
  if context.casts and operator and is_leaf(expr, context) and not is_compared and not are_bits then
    return as_number(expr, operator, context)
  end
  local written = write(expr, context)
  return string.find(written, "[ ]") and not string.find(written, "^%b()$") and "(" .. written .. ")" or written
end

local writers = {}

writers.bit = function(expr, context) return M.bit_name(context.form, expr[2], context.rename) end
writers.var = function(expr, context)
  local variable = context.form.variables[expr[2]]
  return context.rename and context.rename[variable] or variable.name
end
writers.reg = function(expr, context) return run_name(expr[2], expr[3], context.form, context.rename) end
writers["not"] = function(expr, context) return "!(" .. write(expr[2], context) .. ")" end
writers["~"] = function(expr, context)
  return string.format("(~uint[%d](%s))", expr[3], write(expr[2], context))
end
writers.neg = function(expr, context) return "(-" .. operand(expr[2], "-", nil, context) .. ")" end
writers.popcount = function(expr, context) return "popcount(" .. write(expr[2], context) .. ")" end
writers.cast = function(expr, context)
  if not context.casts then return operand(expr[2], nil, nil, context) end
  local width = expr[4] and expr[3] ~= "bool" and string.format("[%d]", expr[4]) or ""
  return string.format("%s%s(%s)", expr[3], width, write(expr[2], context))
end
writers.index = function(expr, context)
  return string.format("((%s >> %s) & 1)", operand(expr[2], ">>", nil, context), operand(expr[3], ">>", nil, context))
end

local function write_number(expr)
  if expr == math.mininteger then return "(-9223372036854775807 - 1)" end
  return type(expr) == "number" and expr < 0 and "(" .. expr .. ")" or tostring(expr)
end

local logic = { ["&&"] = true, ["||"] = true }

function write(expr, context)
  if type(expr) ~= "table" then return write_number(expr) end
  local writer, operator = writers[expr[1]], expr[1]
  if writer then return writer(expr, context) end
  local within = not logic[operator] and operator or nil
  return string.format("%s %s %s", operand(expr[2], within, expr[3], context), operator,
    operand(expr[3], within, expr[2], context))
end

-- An expression in the words of OpenQASM 3. rename: register or variable → its name there.
function M.source(expr, form, rename)
  return write(expr, { form = form, rename = rename, casts = true })
end

-- The right side of an assignment to { bit = } or { var = }.
function M.assigned(target, expr, form, rename)
  local written = M.source(expr, form, rename)
  if not target.bit or type(expr) ~= "table" then return written end
  return is_boolean[expr[1]] and written or "bit(" .. written .. ")"
end

-- An expression for people.
function M.label(expr, form)
  return write(expr, { form = form, casts = false })
end

return M
