-- Words of the command line as values: numbers, and expressions over pi as OpenQASM writes them.
-- Invariant: each function gives a value, or nil and a message that quotes the word and says what was expected.
-- SPDX-License-Identifier: Apache-2.0
local ends = require "arvak.command.ends"

local M = {}

-- A converter for whole numbers from this one on, to the other one if it is given.
function M.whole(least, most)
  return function(text)
    local value = math.tointeger(tonumber(text))
    if value and value >= least and value <= (most or value) then return value end
    return nil, ("got '%s', expected a whole number from %d %s"):format(text, least, most and "to " .. most or "on")
  end
end

M.MOST_SHOTS = 4294967295   -- that the protocol has a number for
M.shots = M.whole(1, M.MOST_SHOTS)

function M.level(text)
  local value = math.tointeger(tonumber(text))
  if value and value >= 0 and value <= 3 then return value end
  return nil, ("got '%s', expected 0, 1, 2 or 3"):format(text)
end

function M.number(text)
  local value = tonumber(text)
  if value then return math.tointeger(value) or value end
  return nil, ("got '%s', expected a number"):format(text)
end

function M.seconds(text)
  local value = tonumber(text)
  if value and value > 0 and value < math.huge then return value end
  return nil, ("got '%s', expected a number of seconds above 0"):format(text)
end

-- The same, where 0 is to look once.
function M.seconds_or_none(text)
  if tonumber(text) == 0 then return 0 end
  return M.seconds(text)
end

-- ---- jobs

-- As people type them.
M.states = { "queued", "running", "completed", "failed", "canceled", "result_expired" }

local spans = { m = 60, h = 3600, d = 86400, w = 604800 }

-- A moment: 30m, 12h, 7d or 2w ago, or a day of the local calendar.
function M.since(text)
  local count, unit = text:match "^(%d+)([mhdw])$"
  if count and #count < 10 then return os.time() - tonumber(count) * spans[unit] end
  local year, month, day = text:match "^(%d%d%d%d)-(%d%d)-(%d%d)$"
  local moment = year and os.time { year = tonumber(year), month = tonumber(month), day = tonumber(day), hour = 0 }
  if moment and os.date("%Y-%m-%d", moment) == text then return moment end
  return nil, ("got '%s', expected such as 30m, 12h, 7d, 2w or 2026-03-01"):format(text)
end

-- ---- expressions

local MAX_LENGTH = 1000   -- bytes; brackets nest no deeper

local constants = { pi = math.pi, tau = 2 * math.pi, euler = math.exp(1), ["π"] = math.pi, ["τ"] = 2 * math.pi,
  ["ℇ"] = math.exp(1) }

local functions = { sin = math.sin, cos = math.cos, tan = math.tan, arcsin = math.asin, arccos = math.acos,
  arctan = math.atan, exp = math.exp, ln = math.log, log = math.log, sqrt = math.sqrt }

-- A reader of a text: at is the place of the next character. What it cannot read raises, which expression() catches.
local Reader = {}
Reader.__index = Reader

-- The text that matches here, which is passed over; or nil.
function Reader:take(pattern)
  local from, to, found = self.text:find("^%s*(" .. pattern .. ")", self.at)
  if from then self.at = to + 1 end
  return found
end

function Reader:need(pattern)
  return self:take(pattern) or error("unreadable", 0)
end

local NUMBER = { "%d+%.?%d*[eE][+-]?%d+", "%.%d+[eE][+-]?%d+", "%d+%.?%d*", "%.%d+" }

function Reader:atom()
  for _, pattern in ipairs(NUMBER) do
    local number = self:take(pattern)
    if number then return tonumber(number) + 0.0 end   -- whole numbers of Lua wrap around
  end
  if self:take "%(" then
    local value = self:sum()
    self:need "%)"
    return value
  end
  local name = self:need "[%a\128-\255]+"
  if constants[name] then return constants[name] end
  if not functions[name] then error("unreadable", 0) end
  self:need "%("
  local value = functions[name](self:sum())
  self:need "%)"
  return value
end

function Reader:power()
  local base = self:atom()
  if self:take "%*%*" or self:take "%^" then return base ^ self:signed() end
  return base
end

function Reader:signed()
  if self:take "%-" then return -self:signed() end
  if self:take "%+" then return self:signed() end
  return self:power()
end

function Reader:product()
  local value = self:signed()
  while true do
    local operator = self:take "[*/]"
    if not operator then return value end
    local other = self:signed()
    if operator == "*" then value = value * other else value = value / other end
  end
end

function Reader:sum()
  local value = self:product()
  while true do
    local operator = self:take "[+-]"
    if not operator then return value end
    local other = self:product()
    if operator == "+" then value = value + other else value = value - other end
  end
end

local function evaluate(text)
  local reader = setmetatable({ text = text, at = 1 }, Reader)
  local value = reader:sum()
  if not text:find("^%s*$", reader.at) then error("unreadable", 0) end
  return value
end

-- The finite number that a text means, or nil: 0.5, pi/2, -3*pi/4, sqrt(2).
function M.expression(text)
  local value = tonumber(text)
  if not value and #text <= MAX_LENGTH then
    local ok, found = ends.try(evaluate, text)
    value = ok and found or nil
  end
  if value and value == value and value > -math.huge and value < math.huge then return value end
  return nil
end

-- ---- pairs of a name and values

function M.parameter(text)
  local name, value = text:match "^([%a_][%w_]*)=(.+)$"
  value = value and M.expression(value)
  if value then return { name, value } end
  return nil, ("got '%s', expected name=number, such as theta=0.5 or theta=pi/2"):format(text)
end

-- The most circuits of one batch, so that a typing mistake takes no machine down: they are all in memory.
M.MOST_CIRCUITS = 1000000

-- What is wrong with the numbers of a sweep, or nil.
local function find_fault(from, to, count)
  if not count or count < 1 or count > M.MOST_CIRCUITS then
    return ("expected a count from 1 to %d"):format(M.MOST_CIRCUITS)
  end
  if (to - from) - (to - from) ~= 0 then return "expected numbers that are less far apart" end
  if to == from and count > 1 then return "expected two different numbers, or a count of 1" end
end

function M.sweep(text)
  local name, first, last, word = text:match "^([%a_][%w_]*)=([^:]+):([^:]+):([^:]+)$"
  local from, to = name and M.expression(first), name and M.expression(last)
  if not (from and to) then
    return nil, ("got '%s', expected name=from:to:count, such as theta=0:2*pi:64"):format(text)
  end
  from, to = from + 0.0, to + 0.0
  local count = math.tointeger(tonumber(word))
  local fault = find_fault(from, to, count)
  if fault then return nil, ("got '%s', %s"):format(text, fault) end
  return { name, from, to, count }
end

return M
