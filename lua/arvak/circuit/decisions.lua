-- Boolean functions of measurement outcomes as ordered binary decision diagrams: what a bit holds, and when a branch
-- runs. A function is a number: 0 and 1 are the constants, others are nodes of a store.
-- Invariant: equal functions of one store are equal numbers, so a condition that cannot hold is the number 0.
-- SPDX-License-Identifier: Apache-2.0
local refuse = require "arvak.circuit.refuse"

local M = {}
local Store = {}
Store.__index = Store

local MAX_NODES = 1 << 18   -- three of them fit in the key of a table
local MAX_KNOWN = 1 << 19   -- results of choose that are remembered
local MAX_LITERALS = 1 << 19   -- of all products of a function

-- A store of functions. Variables are numbers from 1 on; smaller ones are decided first.
function M.new()
  return setmetatable({
    variable = { [0] = math.maxinteger, math.maxinteger }, low = { [0] = 0, 1 }, high = { [0] = 0, 1 }, count = 1,
    unique = {}, memo = {}, known = 0,
  }, Store)
end

-- The function that is low where the variable is 0 and high where it is 1.
function Store:node(variable, low, high)
  if low == high then return low end
  local known = self.unique[variable]
  if not known then
    known = {}
    self.unique[variable] = known
  end
  local key = low << 21 | high
  local id = known[key]
  if id then return id end
  id = self.count + 1
  if id >= MAX_NODES then self:give_up() end
  self.count, known[key] = id, id
  self.variable[id], self.low[id], self.high[id] = variable, low, high
  return id
end

function Store.give_up()
  refuse("the values of bits and conditions are too complex functions of what was measured")
end

function Store:literal(variable) return self:node(variable, 0, 1) end

local function cofactors(self, f, variable)
  if self.variable[f] == variable then return self.low[f], self.high[f] end
  return f, f
end

-- f ? g : h
function Store:choose(f, g, h)
  if f == 1 or g == h then return g end
  if f == 0 then return h end
  if g == 1 and h == 0 then return f end
  local key = f << 42 | g << 21 | h
  local result = self.memo[key]
  if result then return result end
  local variable = math.min(self.variable[f], self.variable[g], self.variable[h])
  local f0, f1 = cofactors(self, f, variable)
  local g0, g1 = cofactors(self, g, variable)
  local h0, h1 = cofactors(self, h, variable)
  result = self:node(variable, self:choose(f0, g0, h0), self:choose(f1, g1, h1))
  self.known = self.known + 1
  if self.known > MAX_KNOWN then self.memo, self.known = {}, 0 end
  self.memo[key] = result
  return result
end

function Store:negate(f) return self:choose(f, 0, 1) end
function Store:both(f, g) return self:choose(f, g, 0) end
function Store:either(f, g) return self:choose(f, 1, g) end
function Store:differ(f, g) return self:choose(f, self:choose(g, 0, 1), g) end

-- The variable and the value (0 or 1) of a function that is a single literal; nil of others.
function Store:as_literal(f)
  if f < 2 then return nil end
  local low, high = self.low[f], self.high[f]
  if low == 0 and high == 1 then return self.variable[f], 1 end
  if low == 1 and high == 0 then return self.variable[f], 0 end
end

-- Adds the variables that a function depends on to a set. seen: functions whose variables are in it.
function Store:support(f, set, seen)
  if f < 2 or seen[f] then return set end
  seen[f] = true
  set[self.variable[f]] = true
  self:support(self.low[f], set, seen)
  return self:support(self.high[f], set, seen)
end

-- The disjoint products whose sum a function is: lists of { variable, value }, or nil when there are more than the
-- bound.
function Store:products(f, bound)
  local all, path, literals = {}, {}, 0
  local function walk(g)
    if g == 0 then return true end
    if g == 1 then
      literals = literals + #path
      if #all >= bound or literals > MAX_LITERALS then return false end
      all[#all + 1] = table.move(path, 1, #path, 1, {})
      return true
    end
    for value = 0, 1 do
      path[#path + 1] = { self.variable[g], value }
      if not walk(value == 0 and self.low[g] or self.high[g]) then return false end
      path[#path] = nil
    end
    return true
  end
  if walk(f) then return all end
end

local PRODUCT = 2.0 ^ 24   -- what a product costs, in literals

-- How a function is split when it is written as an exclusive sum of products: by the value of its variable, or into
-- what does not depend on it and what is added where it is 1, or where it is 0; whichever costs least.
local function best_split(self, f, costs)
  if f < 2 then return { cost = f * PRODUCT } end
  local known = costs[f]
  if known then return known end
  local low, high = self.low[f], self.high[f]
  local change = self:differ(low, high)
  local a, b, c = best_split(self, low, costs).cost, best_split(self, high, costs).cost,
    best_split(self, change, costs).cost
  local with_a, with_b, with_c = a + a // PRODUCT, b + b // PRODUCT, c + c // PRODUCT   -- a literal for each product
  local split = { cost = with_a + with_b, 0, low, 1, high }
  if a + with_c < split.cost then split = { cost = a + with_c, nil, low, 1, change } end
  if b + with_c < split.cost then split = { cost = b + with_c, nil, high, 0, change } end
  costs[f] = split
  return split
end

-- Products (lists of { variable, value }) whose exclusive sum a function is, few of them; nil when above the bound.
function Store:exclusive_products(f, bound)
  local all, path, costs = {}, {}, {}
  local cost = best_split(self, f, costs).cost
  if cost // PRODUCT > bound or cost % PRODUCT > MAX_LITERALS then return nil end
  local function walk(g)
    if g == 0 then return end
    if g == 1 then
      all[#all + 1] = table.move(path, 1, #path, 1, {})
      return
    end
    local split, variable = costs[g], self.variable[g]
    for part = 1, 3, 2 do
      local value = split[part]
      if value then path[#path + 1] = { variable, value } end
      walk(split[part + 1])
      if value then path[#path] = nil end
    end
  end
  walk(f)
  return all
end

return M
