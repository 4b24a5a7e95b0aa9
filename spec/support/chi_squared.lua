-- Whether counts may come from a distribution: Pearson's test, with bins under 5 expected merged.
-- SPDX-License-Identifier: Apache-2.0
local M = {}

local IMPOSSIBLE = 1e-9   -- below this an outcome must not be counted at all
local LEAST_EXPECTED = 5

-- log Γ(x) for x > 0, by Lanczos.
local function log_gamma(x)
  local c = { 76.18009172947146, -86.50532032941677, 24.01409824083091, -1.231739572450155, 0.1208650973866179e-2,
    -0.5395239384953e-5 }
  local sum, y = 1.000000000190015, x
  for _, term in ipairs(c) do
    y = y + 1
    sum = sum + term / y
  end
  local t = x + 5.5
  return (x + 0.5) * math.log(t) - t + math.log(2.5066282746310005 * sum / x)
end

-- The regularized lower incomplete gamma function by its series.
local function lower_gamma(a, x)
  local term, sum, n = 1 / a, 1 / a, a
  for _ = 1, 10000 do
    n = n + 1
    term = term * x / n
    sum = sum + term
    if term < sum * 1e-15 then break end
  end
  return sum * math.exp(-x + a * math.log(x) - log_gamma(a))
end

-- The upper one by its continued fraction.
local function upper_gamma(a, x)
  local tiny = 1e-300
  local b = x + 1 - a
  local c, d = 1 / tiny, 1 / b
  local h = d
  for i = 1, 10000 do
    local an = -i * (i - a)
    b = b + 2
    d = an * d + b
    d = 1 / (math.abs(d) < tiny and tiny or d)
    c = b + an / c
    c = math.abs(c) < tiny and tiny or c
    h = h * d * c
    if math.abs(d * c - 1) < 1e-14 then break end
  end
  return math.exp(-x + a * math.log(x) - log_gamma(a)) * h
end

-- The probability of a statistic at least this large, with so many degrees of freedom.
function M.tail(statistic, freedom)
  if freedom < 1 or statistic <= 0 then return 1.0 end
  local a, x = freedom / 2, statistic / 2
  if x < a + 1 then return math.max(0.0, 1 - lower_gamma(a, x)) end
  return upper_gamma(a, x)
end

-- The p-value of counts (by bitstring) under these probabilities; nil and why when an outcome without one was counted.
function M.test(counts, probabilities)
  local total = 0
  for bits, count in pairs(counts) do
    if (probabilities[bits] or 0) < IMPOSSIBLE then return nil, ("%s was counted %d times"):format(bits, count) end
    total = total + count
  end
  local statistic, bins, rest_expected, rest = 0, 0, 0, 0
  for bits, p in pairs(probabilities) do
    local expected, count = p * total, counts[bits] or 0
    if expected < LEAST_EXPECTED then
      rest_expected, rest = rest_expected + expected, rest + count
    else
      statistic, bins = statistic + (count - expected) ^ 2 / expected, bins + 1
    end
  end
  if rest_expected > 0 and (rest_expected >= LEAST_EXPECTED or bins == 0 or rest > 0) then
    statistic, bins = statistic + (rest - rest_expected) ^ 2 / math.max(rest_expected, 1), bins + 1
  end
  return M.tail(statistic, bins - 1)
end

return M
