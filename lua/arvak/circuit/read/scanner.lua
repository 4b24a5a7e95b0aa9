-- Words of a text, one after the other: each is found when it is wanted, and there is no list of them.
-- Invariant: kind, value and at describe the word that comes next; what stands before at has been taken.
-- Kinds: "name", "integer", "large" (an integer of 2^63 or more and below 2^64, as Lua's of those bits), "real", "time"
-- (value: seconds), "string", "physical" (value: number), "end", and "sign", of which the value is the sign itself.
-- SPDX-License-Identifier: Apache-2.0
local fault = require "arvak.circuit.read.fault"
local words = require "arvak.circuit.read.words"

local Scanner = {}
Scanner.__index = Scanner

local M = {}
local find, sub, byte = string.find, string.sub, string.byte

local SECONDS = {   -- in a unit of time
  dt = 1e-9, ns = 1e-9, us = 1e-6, ["µs"] = 1e-6, ["μs"] = 1e-6, ms = 1e-3, s = 1.0,
}
M.SECONDS = SECONDS

local LONGEST = 200         -- of a number, in characters
local MOST_WORDS = 500000   -- of a statement that is read as a whole

-- base: what is added to places in this text, so that texts can be told apart.
function M.new(body, base)
  local self = setmetatable({ body = body, base = base, pos = 1, left = MOST_WORDS }, Scanner)
  self:set_line(1, 1)
  if sub(body, 1, 3) == "\xEF\xBB\xBF" then self.pos = 4 end
  self:next()
  return self
end

-- ---- places

-- Says that a line begins at a place.
function Scanner:set_line(line, from)
  self.line, self.line_at, self.line_end = line, from, find(self.body, "\n", from, true) or math.huge
end

-- Line and column of a place in this text that is not before one asked for earlier.
function Scanner:locate(place)
  while self.line_end < place do
    self:set_line(self.line + 1, self.line_end + 1)
  end
  return self.line, place - self.line_at + 1
end

function Scanner:fail(format, ...)
  fault.raise(self.base + self.at, format, ...)
end

-- Begins a statement: what was read before does not count any more.
function Scanner:begin() self.left = MOST_WORDS end

function Scanner:overflow()
  self:fail("a statement of more than %d words", MOST_WORDS)
end

-- ---- blanks and comments

local function skip_comment(self, pos)
  local second = byte(self.body, pos + 1)
  if second == 47 then return find(self.body, "\n", pos + 2, true) or #self.body + 1 end
  if second ~= 42 then return nil end
  local _, stop = find(self.body, "*/", pos + 2, true)
  if not stop then
    self.at = pos
    self:fail("this comment has no end, expected */")
  end
  return stop + 1
end

-- The place of the next word.
local function skip_blanks(self, pos)
  local body = self.body
  while true do
    pos = find(body, "[^ \t\r\n\f\v]", pos) or #body + 1
    if byte(body, pos) ~= 47 then return pos end
    local after = skip_comment(self, pos)
    if not after then return pos end
    pos = after
  end
end

-- ---- numbers

local RADIX = {
  x = { "^0[xX]([%x_]+)", 16 }, b = { "^0[bB]([01_]+)", 2 }, o = { "^0[oO]([0-7_]+)", 8 },
}

-- The kind and the value of an integer that 64 bits can hold, by its digits; of a greater one as a real number.
local function whole_number(digits, radix)
  local value, most = 0, radix == 10 and 0x1999999999999999 or -1 >> (radix == 16 and 4 or radix == 8 and 3 or 1)
  local real = 0.0
  for digit in string.gmatch(digits, "%x") do
    digit = tonumber(digit, 16)
    local sum = value * radix + digit
    if math.ult(most, value) or math.ult(sum, digit) then most = -1 end
    if most == -1 then value = 0 else value = sum end
    real = real * radix + digit
  end
  if most == -1 then return "integer", real end
  return value < 0 and "large" or "integer", value
end

-- The end of the digits of a decimal number at pos, and whether it has a point or an exponent.
local function decimal_end(body, pos)
  local _, stop = find(body, "^[%d_]*", pos)
  local is_real = false
  if byte(body, stop + 1) == 46 then
    _, stop = find(body, "^[%d_]*", stop + 2)
    is_real = true
  end
  local _, exponent = find(body, "^[eE][+-]?%d[%d_]*", stop + 1)
  return exponent or stop, is_real or exponent ~= nil
end

local function read_digits(self, pos, stop, is_real)
  local digits = string.gsub(sub(self.body, pos, stop), "_", "")
  if #digits > LONGEST then self:fail("a number of %d characters, expected %d at most", #digits, LONGEST) end
  local value = tonumber(digits)
  if not value then self:fail("%s is not a number", digits) end
  self.kind, self.value = is_real and "real" or "integer", value
  if not is_real and math.type(value) ~= "integer" then self.kind, self.value = whole_number(digits, 10) end
end

-- What stands right behind a number: a unit of time, or a mistake.
local function read_suffix(self, stop)
  local _, last = find(self.body, "^[%a_\x80-\xff][%w_\x80-\xff]*", stop + 1)
  if not last then return stop end
  local suffix = sub(self.body, stop + 1, last)
  local seconds = SECONDS[suffix]
  if not seconds then
    if suffix == "im" or suffix == "j" then self:fail("complex numbers are not supported") end
    self:fail("%s after a number, expected a unit of time (dt, ns, us, ms, s) or none", suffix)
  end
  if self.kind == "large" then self:fail("a time of 2^63 units or more, expected a smaller one") end
  self.kind, self.value = "time", self.value * seconds
  return last
end

local function read_number(self, pos)
  local form = RADIX[string.lower(sub(self.body, pos + 1, pos + 1))]
  if form and byte(self.body, pos) == 48 then
    local _, stop, digits = find(self.body, form[1], pos)
    if not stop then self:fail("a number without digits") end
    if #digits > LONGEST then self:fail("a number of %d characters, expected %d at most", #digits, LONGEST) end
    self.kind, self.value = whole_number(digits, form[2])
    if find(self.body, "^[%w_]", stop + 1) then self:fail("a digit that does not belong to this number") end
    return stop + 1
  end
  local stop, is_real = decimal_end(self.body, pos)
  read_digits(self, pos, stop, is_real)
  return read_suffix(self, stop) + 1
end

-- ---- the other words

local SIGNS = {
  ["<<="] = true, [">>="] = true, ["**="] = true,
  ["->"] = true, ["=="] = true, ["!="] = true, ["<="] = true, [">="] = true, ["<<"] = true, [">>"] = true,
  ["&&"] = true, ["||"] = true, ["++"] = true, ["**"] = true, ["+="] = true, ["-="] = true, ["*="] = true,
  ["/="] = true, ["%="] = true, ["&="] = true, ["|="] = true, ["^="] = true, ["~="] = true,
}

-- Characters beyond ASCII that are no letters, but come from word processors.
local function is_letters(name)
  if utf8 and not utf8.len(name) then return false end
  return not find(name, "\xC2[\x80-\xA9\xAB-\xB4\xB6-\xB9\xBB-\xBF]") and not find(name, "\xE2[\x80\x81\x86-\x8B]")
    and not find(name, "\xC3[\x97\xB7]") and not find(name, "\xEF\xBB\xBF") and not find(name, "\xE3\x80")
end

-- A name with characters beyond ASCII.
local function read_foreign_name(self, pos)
  local _, stop = find(self.body, "^[%w_\x80-\xff]*", pos)
  local name = sub(self.body, pos, stop)
  if not is_letters(name) then
    self:fail("%s is not a name: a character that is not a letter of the language", name)
  end
  self.kind, self.value = "name", name
  return stop + 1
end

local function read_name(self, pos)
  local body = self.body
  local _, stop = find(body, "^[%w_]*", pos)
  local after = byte(body, stop + 1)
  if after and after >= 128 then return read_foreign_name(self, pos) end
  self.kind, self.value = "name", sub(body, pos, stop)
  return stop + 1
end

local function read_string(self, pos)
  local quote = sub(self.body, pos, pos)
  local stop = find(self.body, quote, pos + 1, true)
  local value = stop and sub(self.body, pos + 1, stop - 1)
  if not value or find(value, "\n", 1, true) then self:fail("a string without its closing %s", quote) end
  self.kind, self.value = "string", value
  return stop + 1
end

local function read_sign(self, pos)
  local sign = sub(self.body, pos, pos + 2)
  if not SIGNS[sign] then sign = sub(self.body, pos, pos + 1) end
  if not SIGNS[sign] then sign = sub(self.body, pos, pos) end
  if #sign == 1 and not find(sign, "[][(){};:,.=+%-*/%%&|^~!<>@#]") then
    self:fail("the character %s has no meaning in the language", sign)
  end
  self.kind, self.value = "sign", sign
  return pos + #sign
end

local function read_physical(self, pos)
  local _, stop, digits = find(self.body, "^%$(%d+)", pos)
  if not stop or #digits > 9 then self:fail("expected a physical qubit: $ and its number") end
  self.kind, self.value = "physical", math.tointeger(tonumber(digits))
  return stop + 1
end

-- The place behind blanks and comments.
function Scanner:behind_blanks(pos) return skip_blanks(self, pos) end

-- What reads a word that begins with this byte; a string where the byte is the whole word.
local FIRST = {}
for char = 1, 255 do FIRST[char] = char >= 128 and read_name or read_sign end
for char in string.gmatch("abcdefghijklmnopqrstuvwxyz_", ".") do
  FIRST[byte(char)], FIRST[byte(string.upper(char))] = read_name, read_name
end
for char in string.gmatch("0123456789", ".") do FIRST[byte(char)] = read_number end
for char in string.gmatch("()[]{};,:@#", ".") do FIRST[byte(char)] = char end
FIRST[byte '"'], FIRST[byte "'"], FIRST[byte "$"], FIRST[0] = read_string, read_string, read_physical, read_sign

-- Takes the word that comes next, and finds the one after it.
function Scanner:next()
  local body, pos = self.body, self.pos
  local char = byte(body, pos)
  self.left = self.left - 1
  if self.left < 0 then self:overflow() end
  if not char or char <= 32 or char == 47 then
    pos = skip_blanks(self, pos)
    char = byte(body, pos)
  end
  self.at = pos
  local first = FIRST[char or -1]
  if not char then
    self.kind, self.value, self.pos = "end", "the end of the text", pos
  elseif type(first) == "string" then
    self.kind, self.value, self.pos = "sign", first, pos + 1
  elseif char == 46 and find(body, "^%d", pos + 1) then
    self.pos = read_number(self, pos)
  else
    self.pos = first(self, pos)
  end
end

-- Goes to a place, which may be before this one.
function Scanner:seek(place)
  self.pos = place
  self:next()
end

-- The place behind the end of the line that the next word is on.
function Scanner:next_line()
  return find(self.body, "\n", self.at, true) or #self.body + 1
end

-- ---- what comes next

-- The next word, for messages.
function Scanner:shown()
  if self.kind == "end" then return "the end of the text" end
  local word = sub(self.body, self.at, math.min(self.pos - 1, self.at + 39))
  return word
end

function Scanner:expected(what)
  self:fail("got %s, expected %s", self:shown(), what)
end

-- Whether the next word is this sign or name.
function Scanner:is(word)
  return self.value == word and (self.kind == "sign" or self.kind == "name")
end

-- Takes this sign or name if it is next.
function Scanner:accept(word)
  if not self:is(word) then return false end
  self:next()
  return true
end

-- Takes this sign or name, which has to be next. after: for the message.
function Scanner:expect(word, after)
  if self.value == word and (self.kind == "sign" or self.kind == "name") then return self:next() end
  self:expected(after and word .. " " .. after or word)
end

-- Takes a name. what: for the message.
function Scanner:name(what)
  if self.kind ~= "name" then self:expected(what) end
  local name = self.value
  if words[self.version][name] and name ~= "gphase" then
    self:fail("got %s, which is a word of the language, expected %s", name, what)
  end
  self:next()
  return name
end

return M
