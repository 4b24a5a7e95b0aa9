-- The slow evaluator's lexer: OpenQASM 2 or 3 text to a list of tokens. It is written apart from the library's reader,
-- so that one error is not made twice. A token is { kind, value, at }; its kind is "name", "number", "string", "time",
-- "junk" or the sign itself.
-- SPDX-License-Identifier: Apache-2.0
local M = {}

local signs = {
  "<<=", ">>=", "**=", "->", "++", "==", "!=", "<=", ">=", "&&", "||", "<<", ">>", "**", "+=", "-=", "*=", "/=", "%=",
  "|=", "&=", "^=", "~=", ";", ",", "(", ")", "[", "]", "{", "}", ":", "=", "<", ">", "+", "-", "*", "/", "%", "^", "&",
  "|", "~", "!", "@", ".", "#",
}
local units = { ns = 1e-9, us = 1e-6, ["µs"] = 1e-6, ["μs"] = 1e-6, ms = 1e-3, s = 1, dt = 1e-9 }

local function fail(at, message) error({ evaluator = ("at %d: %s"):format(at, message) }, 0) end

-- An integer by its digits: Lua's, a uint of 64 bits, or a number with a point where it is even greater.
local function whole(text, base, at)
  local high, low, real = 0, 0, 0.0   -- high and low: 32 bits each
  for digit in text:gsub("_", ""):lower():gmatch "." do
    local value = ("0123456789abcdef"):find(digit, 1, true)
    if not value or value > base then fail(at, "a number that is none") end
    low, real = low * base + value - 1, real * base + value - 1
    high = math.min(high * base + (low >> 32), 1 << 32)
    low = low & 0xffffffff
  end
  if high == 1 << 32 then return real end
  local bits = high << 32 | low
  return bits >= 0 and bits or { whole = bits, base = "uint", width = 64 }
end

local prefixes = { x = 16, X = 16, o = 8, O = 8, b = 2, B = 2 }

-- The number that begins here: kind, value and the place behind it; or nothing.
local function number(text, at)
  local prefix, digits, behind = text:match("^0([xXoObB])([%x_]+)()", at)
  if prefix then return "number", whole(digits, prefixes[prefix], at), behind end
  local shape = text:match("^%d[%d_]*%.[%d_]*[eE][+-]?%d+", at) or text:match("^%.%d[%d_]*[eE][+-]?%d+", at)
    or text:match("^%d[%d_]*[eE][+-]?%d+", at) or text:match("^%d[%d_]*%.[%d_]*", at) or text:match("^%.%d[%d_]*", at)
  local plain = text:match("^%d[%d_]*", at)
  if not shape and not plain then return end
  local value
  if shape then value = tonumber((shape:gsub("_", ""))) + 0.0
  else value = whole(plain, 10, at) end
  if not value then fail(at, "a number that is none") end
  behind = at + #(shape or plain)
  local unit, after = text:match("^%s*([%w_\x80-\xff]+)()", behind)
  if unit and units[unit] and type(value) == "number" then return "time", value * units[unit], after end
  if text:find("^[%a_\x80-\xff]", behind) then return "junk", text:match("^[%w_\x80-\xff]+", behind), behind + 1 end
  return "number", value, behind
end

local function skip_blank(text, at)
  while true do
    local from = at
    at = text:match("^%s*()", at)
    if text:find("^//", at) then at = text:find("[\r\n]", at) or #text + 1 end
    if text:find("^/%*", at) then
      at = (select(2, text:find("*/", at + 2, true)) or fail(at, "a comment without end")) + 1
    end
    local rest = text:match("^#?pragma[^\n]*()", at) or text:match("^@[%a_][^\n]*()", at)
    if rest and text:sub(1, at - 1):find("[\n;{}]%s*$") then at = rest end
    if at == from then return at end
  end
end

local function sign(text, at)
  for _, s in ipairs(signs) do
    if text:sub(at, at + #s - 1) == s then return s, s, at + #s end
  end
  return "junk", text:sub(at, at), at + 1
end

local function next_token(text, at)
  local name, behind = text:match("^([%a_\x80-\xff][%w_\x80-\xff]*)()", at)
  if name then return "name", name, behind end
  name, behind = text:match("^(%$%d+)()", at)
  if name then return "name", name, behind end
  local quoted
  quoted, behind = text:match('^"([^"\n]*)"()', at)
  if not quoted then quoted, behind = text:match("^'([^'\n]*)'()", at) end
  if quoted then return "string", quoted, behind end
  local kind, value, last = number(text, at)
  if kind then return kind, value, last end
  return sign(text, at)
end

-- All tokens, and one of kind "end" behind them.
function M.read(text)
  local all, at = {}, skip_blank(text, 1)
  while at <= #text do
    local kind, value, behind = next_token(text, at)
    all[#all + 1] = { kind = kind, value = value, at = at }
    at = skip_blank(text, behind)
  end
  all[#all + 1] = { kind = "end", value = "the end", at = #text + 1 }
  return all
end

M.fail = fail

return M
