-- What a gate looks like: its controls, and the symbol or the words for the rest of it.
-- Invariant: a text for a picture holds nothing that a terminal would act upon, and has a bounded width.
-- SPDX-License-Identifier: Apache-2.0
local parameters = require "arvak.circuit.parameters"
local text = require "arvak.base.text"

local M = {}

-- How many controls a gate of the library has, and the gate that they control.
local controlled = {
  cx = { 1, "x" }, CX = { 1, "x" }, ccx = { 2, "x" }, c3x = { 3, "x" }, c4x = { 4, "x" }, cy = { 1, "y" },
  cz = { 1, "z" }, ccz = { 2, "z" }, ch = { 1, "h" }, cs = { 1, "s" }, csdg = { 1, "sdg" }, csx = { 1, "sx" },
  c3sx = { 3, "sx" }, c3sqrtx = { 3, "sx" }, cp = { 1, "p" }, cphase = { 1, "p" }, cu1 = { 1, "p" },
  crx = { 1, "rx" }, cry = { 1, "ry" }, crz = { 1, "rz" }, cu3 = { 1, "u" }, cu = { 1, "u" }, cswap = { 1, "swap" },
}

local shown_as = { u1 = "p", u3 = "u", phase = "p", gphase = "p" }
local daggers = { sdg = "S", tdg = "T", sxdg = "Sx" }

-- ---- characters

local wide = {
  { 0x1100, 0x115f }, { 0x2e80, 0xa4cf }, { 0xac00, 0xd7a3 }, { 0xf900, 0xfaff }, { 0xfe30, 0xfe6f },
  { 0xff00, 0xff60 }, { 0xffe0, 0xffe6 }, { 0x1f300, 0x1faff }, { 0x20000, 0x3fffd },
}

local function is_wide(code)
  for _, range in ipairs(wide) do
    if code >= range[1] and code <= range[2] then return true end
  end
  return false
end

local function is_mark(code)
  return (code >= 0x300 and code <= 0x36f) or (code >= 0x200b and code <= 0x200d)
    or (code >= 0x20d0 and code <= 0x20ff) or (code >= 0xfe00 and code <= 0xfe0f)
end

local CHARACTER = "[\0-\127\194-\244][\128-\191]*"

-- The code point of a character, whose bytes are whole: printable has seen them.
local function code_of(char)
  local code = string.byte(char)
  if code < 128 then return code end
  code = code & (0x7f >> #char)
  for i = 2, #char do code = code << 6 | (string.byte(char, i) & 0x3f) end
  return code
end

-- The characters of a text as columns of a terminal: a wide one is followed by an empty one.
function M.cells(value)
  local cells = {}
  for char in string.gmatch(value, CHARACTER) do
    local code = code_of(char)
    if is_mark(code) and #cells > 0 then
      cells[#cells] = cells[#cells] .. char
    else
      cells[#cells + 1] = char
      if is_wide(code) then cells[#cells + 1] = "" end
    end
  end
  return cells
end

local function escape(char)
  return #char > 1 and string.format("\\u{%x}", code_of(char)) or char
end

-- Whether words are in ASCII: on request, and in a Lua state without utf8, where nobody can tell characters from broken
-- ones.
local function is_plain(style) return style.ascii or not utf8 end
M.is_plain = is_plain

-- A text for a picture, cut to a width. style: { ascii =, width = of a label at most }.
function M.fit(value, style, width)
  value = text.printable(value)
  if style.ascii then value = string.gsub(value, CHARACTER, escape) end
  local cells = M.cells(value)
  if #cells <= width then return value end
  local dots = is_plain(style) and ".." or "…"
  local kept = width - (is_plain(style) and 2 or 1)
  if cells[kept + 1] == "" then kept = kept - 1 end   -- half of a wide character
  return table.concat(cells, "", 1, kept) .. dots
end

-- ---- gates

local function angles_of(op, style, arguments)
  local parts = {}
  for i = 2, op[1].params + 1 do
    parts[i - 1] = parameters.label(op[i], is_plain(style) and "pi" or "π", arguments)
  end
  return #parts > 0 and "(" .. table.concat(parts, ",") .. ")" or ""
end

-- The word for a gate without controls.
local function word_of(base, style)
  local name = base.library and shown_as[base.name] or base.name
  if not base.library then return name end
  if daggers[name] and not is_plain(style) then return daggers[name] .. "†" end
  return string.upper(string.sub(name, 1, 1)) .. string.sub(name, 2)
end

-- The modifiers in one: a list of controls (true, or false for those that have to be 0), and what follows the word.
local function read_modifiers(gate, style)
  local controls, is_inverse, powers = {}, false, ""
  for _, modifier in ipairs(gate.modifiers or {}) do
    local kind, value = modifier[1], modifier[2]
    if kind == "inv" then
      is_inverse = not is_inverse
    elseif kind == "pow" then
      powers = powers .. "^" .. parameters.label(value, is_plain(style) and "pi" or "π")
    else
      for _ = 1, value do controls[#controls + 1] = kind == "ctrl" end
    end
  end
  local dagger = is_inverse and (is_plain(style) and "^-1" or "†") or ""
  return controls, dagger .. powers
end

-- A gate's operation for a picture: { controls, symbol, label }. symbol: "x", "z" or "swap" where it has one, else nil.
-- The qubits are the operation's: first those of the controls.
function M.read(op, style, arguments)
  local gate = op[1]
  local base = gate.base or gate
  local controls, suffix = read_modifiers(gate, style)
  local known = base.library and controlled[base.name]
  if known then
    for _ = 1, known[1] do controls[#controls + 1] = true end
    base = { name = known[2], library = true }
  end
  local symbol
  if base.library and (suffix == "" or suffix == "†" or suffix == "^-1") then
    symbol = base.name == "swap" and "swap" or #controls > 0 and (base.name == "x" or base.name == "z") and base.name
      or nil
  end
  local label = M.fit(word_of(base, style) .. suffix .. angles_of(op, style, arguments), style, style.width)
  return { controls = controls, symbol = symbol, label = label }
end

return M
