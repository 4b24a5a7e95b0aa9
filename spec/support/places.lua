-- Random batches that take places (batch/places.lua), wait for them, lend them and leave.
-- SPDX-License-Identifier: Apache-2.0
-- The part, with what it requires: it is embedded in the library, where nobody outside finds it.
local load_part

function load_part(name)
  local env = setmetatable({ require = function(wanted) return load_part((wanted:gsub("^arvak%.", ""))) end },
    { __index = _G })
  return assert(loadfile("lua/arvak/" .. name:gsub("%.", "/") .. ".lua", "t", env))()
end

local places = load_part "batch.places"

local M = {}

local happen = {}

-- A batch draws, if it may; else it stands in line.
function happen.draw(self, run)
  if run.is_lending then return end
  if self:free(run) > 0 then
    self:take(run)
    run.held, run.was_woken = run.held + 1, false
  else
    self:stand_in_line(run)
  end
end

function happen.finish(self, run)
  if run.held == 0 or run.is_lending then return end
  run.held = run.held - 1
  self:give_back(run)
end

function happen.report(self, run)
  run.is_lending = not run.is_lending
  if run.is_lending then self:lend(run) else self:take_home(run) end
end

local names = { "draw", "draw", "draw", "draw", "finish", "finish", "finish", "report" }

local function new_run() return { held = 0, is_lending = false, wake = function(run) run.was_woken = true end } end

local function check(self, runs, limit)
  local held, lent = 0, 0
  for _, run in ipairs(runs) do
    held = held + run.held
    if run.is_lending then lent = lent + run.held end
  end
  assert(self.taken == held - lent, "the places that are taken")
  assert(self.taken <= limit or lent > 0 or self.was_lent, "more places than there are")
  if held <= limit and lent == 0 then self.was_lent = false end
  if lent > 0 then self.was_lent = true end
  local first = self.line:peek()
  if first and self.is_in_line[first] and self.taken < limit then
    assert(first.was_woken, "the first in line was not told of a free place")
  end
end

-- So many events.
function M.run(seed, count)
  math.randomseed(seed)
  local limit = math.random(4)
  local self, runs = places.new(limit), {}
  for i = 1, 4 do
    runs[i] = new_run()
    self:enter(runs[i])
  end
  for _ = 1, count do
    local i = math.random(4)
    if math.random(50) == 1 and not runs[i].is_lending then
      self:leave(runs[i])
      runs[i] = new_run()
      self:enter(runs[i])
    else
      happen[names[math.random(#names)]](self, runs[i])
    end
    check(self, runs, limit)
  end
end

return M
