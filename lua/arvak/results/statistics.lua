-- Computing with results: distributions over bitstrings whose rightmost character is qubit 0. Invariant: a share is a
-- count divided by the sum of the counts, never by the shots, and an outcome counted 0 times is as good as absent.
-- docs/results.md has the formulas. A result is known by its metatable, which results/records.lua fills, also with some
-- of these functions.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local check = require "arvak.base.check"
local errors = require "arvak.base.errors"
local text = require "arvak.base.text"

local M = {}
local Result = core.metatables["arvak.result"]

-- ---- what everything here stands on

local function is_result(value) return core.metatable_of(value) == Result end

local function check_result(value, name)
  if not is_result(value) then check.misuse("%s: got %s, expected a result", name, core.describe(value)) end
  return value
end

local function check_integer(value, name, least, most)
  local integer = math.type(value) and math.tointeger(value)
  if not integer or integer < least then
    check.misuse("%s: got %s, expected an integer from %d on", name, core.describe(value), least)
  end
  if most and integer > most then check.misuse("%s: got %d, expected at most %d", name, integer, most) end
  return integer
end

-- Outcomes in ascending order, without those counted 0 times.
local function outcomes_of(result)
  local next_outcome = result:pairs()
  return function()
    local bits, count
    repeat bits, count = next_outcome() until bits == nil or count ~= 0
    return bits, count
  end
end

local function no_use(result, format, ...)
  return nil, errors.new("rpc", string.format(format, ...), { job_id = result.job_id })
end

local function no_count(result, bits, count)
  return no_use(result, "the counts hold %s for %s, which is no count", core.describe(count), core.describe(bits))
end

-- The sum of the counts that a walk gives, as a float where it is too large for an integer; nil and an error when
-- something there is no count.
local function sum_of(result, ...)
  local total = 0
  for bits, count in ... do
    if not math.type(count) or not (count >= 0 and count < math.huge) then return no_count(result, bits, count) end
    local sum = total + count
    total = sum < total and total + 0.0 + count or sum
  end
  if total == math.huge then return no_use(result, "the counts hold more than a number can") end
  return total
end

-- The sum of the counts and the width of the bitstrings (nil when nothing was counted); nil and an error when they are
-- not what the service promises.
local function survey(result)
  local total, width = 0, nil
  for bits, count in outcomes_of(result) do
    width = width or #bits
    if #bits ~= width or string.find(bits, "[^01]") then
      return no_use(result, "the counts hold %s, which is no bitstring of %d qubits", core.describe(bits), width)
    end
    if math.type(count) ~= "integer" or count < 0 then return no_count(result, bits, count) end
    if total + count < 0 then return no_use(result, "the counts hold more in all than an integer can") end
    total = total + count
  end
  return total, width
end

-- The same job and run with other counts. registers: what their bits are, of a circuit; or nil.
local function derive(result, counts, shots, registers)
  return setmetatable({
    job_id = result.job_id, counts = counts, shots = shots, registers = registers,
    execution_time_ms = result.execution_time_ms, metadata_json = result.metadata_json,
  }, Result)
end

-- ---- shares

-- Bitstring → count / sum of counts. Empty when nothing was counted; nil and an error for counts that are none.
function M.probabilities(result)
  check_result(result, "probabilities")
  local total, err = sum_of(result, pairs(result.counts))
  if not total then return nil, err end
  local probabilities = {}
  if total == 0 then return probabilities end
  for bits, count in pairs(result.counts) do probabilities[bits] = count / total end
  return probabilities
end

-- The bitstring counted most often and its probability; of equals the smallest. nil when nothing was counted; nil and
-- an error for counts that are none.
function M.most_frequent(result)
  check_result(result, "most_frequent")
  local total, err = sum_of(result, pairs(result.counts))
  if not total then return nil, err end
  if total == 0 then return nil end
  local best, most = nil, -1
  for bits, count in pairs(result.counts) do
    if count > most or (count == most and bits < best) then best, most = bits, count end
  end
  return best, most / total
end

-- ---- registers

-- A bitstring as people read it: with blanks between the registers of a circuit's result, the last one leftmost.
function M.spaced(result, bits)
  local registers, parts, last = rawget(result, "registers"), {}, #bits
  for i, register in ipairs(registers or {}) do
    parts[#registers - i + 1] = string.sub(bits, last - register.size + 1, last)
    last = last - register.size
  end
  return last == 0 and table.concat(parts, " ") or bits
end

local function same_registers(a, b)
  if not a or not b or #a ~= #b then return false end
  for i, register in ipairs(a) do
    if register.name ~= b[i].name or register.size ~= b[i].size then return false end
  end
  return true
end

-- ---- the most frequent, and a picture

-- The n most frequent outcomes, and the sum of all counts. nil and an error for counts that are none.
local function list_most_frequent(result, n)
  local total, err = sum_of(result, outcomes_of(result))
  if not total then return nil, err end
  local groups, sizes = {}, {}   -- different counts are few, and bitstrings of one count come in order
  for bits, count in outcomes_of(result) do
    local group = groups[count]
    if not group then
      group = {}
      groups[count], sizes[#sizes + 1] = group, count
    end
    group[#group + 1] = bits
  end
  table.sort(sizes, function(a, b) return a > b end)
  local list = {}
  for _, count in ipairs(sizes) do
    for _, bits in ipairs(groups[count]) do
      if #list == n then return list, total end
      list[#list + 1] = { bits = bits, count = count, probability = count / total }
    end
  end
  return list, total
end

-- The n most frequent outcomes: a list of { bits =, count =, probability = }; of equals the smallest bitstring first.
-- nil and an error for counts that are none.
function M.top(result, n)
  check_result(result, "top")
  local list, total_or_error = list_most_frequent(result, check_integer(n, "n", 0))
  if not list then return nil, total_or_error end
  return list
end

local COLUMNS, MOST_COLUMNS, LEAST_BAR, MOST_LINES = 72, 10000, 10, 32

-- One line for each of the most frequent outcomes, and one for what is left.
local function histogram_rows(result)
  local rows, total = list_most_frequent(result, MOST_LINES)
  if not rows then return nil, total end
  table.sort(rows, function(a, b) return a.bits < b.bits end)
  local left, others = total, -#rows
  for _, row in ipairs(rows) do
    left = left - row.count
    row.bits = text.printable(M.spaced(result, tostring(row.bits)))
  end
  for _ in outcomes_of(result) do others = others + 1 end
  if others > 0 then
    rows[#rows + 1] = { bits = string.format("(%d others)", others), count = left, has_no_bar = true }
  end
  return rows, total
end

local function widest(rows, field)
  local width = 0
  for _, row in ipairs(rows) do width = math.max(width, #tostring(row[field])) end
  return width
end

local function pad_left(value, width) return string.rep(" ", width - #value) .. value end

-- The outcomes as lines of bitstring, count, share and bar, in ascending order. Of more than 32 the 32 most frequent
-- have lines of their own, and a last line holds the others together. columns: of the text as a whole (72). nil and an
-- error for counts that are none.
function M.histogram(result, columns)
  check_result(result, "histogram")
  columns = columns == nil and COLUMNS or check_integer(columns, "columns", 1, MOST_COLUMNS)
  local rows, total = histogram_rows(result)
  if not rows then return nil, total end
  if total == 0 then return "nothing was counted\n" end
  local bits_width, count_width, most = widest(rows, "bits"), widest(rows, "count"), 0
  local bar_width = math.max(LEAST_BAR, columns - bits_width - count_width - #"    100.0 %  ")
  for _, row in ipairs(rows) do most = math.max(most, row.has_no_bar and 0 or row.count) end
  for i, row in ipairs(rows) do
    local bar = row.has_no_bar and "" or string.rep("#", math.floor(row.count / most * bar_width + 0.5))
    local line = string.format("%s  %s  %s %%  %s", pad_left(row.bits, bits_width),
      pad_left(tostring(row.count), count_width), text.format_number("%5.1f", 100 * (row.count / total)), bar)
    rows[i] = string.gsub(line, "%s+$", "")
  end
  return table.concat(rows, "\n") .. "\n"
end

-- ---- some of the qubits

-- The list as a plain one, read once, raw. width is nil when nothing was counted: then any qubit will do.
local function check_qubits(qubits, width)
  if type(qubits) ~= "table" then
    check.misuse("qubits: got %s, expected a list of qubit numbers", core.describe(qubits))
  end
  local seen, plain = {}, {}
  for i = 1, rawlen(qubits) do
    local name = string.format("qubits[%d]", i)
    local qubit = check_integer(rawget(qubits, i), name, 0)
    if width and qubit >= width then check.misuse("%s: got %d, expected 0 to %d", name, qubit, width - 1) end
    if seen[qubit] then check.misuse("%s: got %d for the second time", name, qubit) end
    seen[qubit] = true
    plain[i] = qubit
  end
  return plain
end

-- Where in a bitstring the qubits stand, the last one first, as runs of neighbors: { { first, last }, ... }.
local function runs_of(qubits, width)
  local runs = {}
  for i = #qubits, 1, -1 do
    local place, run = width - qubits[i], runs[#runs]
    if run and run[2] + 1 == place then
      run[2] = place
    else
      runs[#runs + 1] = { place, place }
    end
  end
  return runs
end

-- Counts of the bitstrings that are left when only these qubits are looked at.
local function tally(result, qubits, width)
  local counts, runs, parts = {}, runs_of(qubits, width), {}
  for bits, count in outcomes_of(result) do
    for i, run in ipairs(runs) do parts[i] = string.sub(bits, run[1], run[2]) end
    local key = table.concat(parts)
    counts[key] = (counts[key] or 0) + count
  end
  return counts
end

-- The result for some of the qubits, the others summed over. The first of the list becomes qubit 0, the rightmost.
function M.marginal(result, qubits)
  check_result(result, "marginal")
  local total, width = survey(result)
  if not total then return nil, width end
  qubits = check_qubits(qubits, width)
  if #qubits == 0 then check.misuse("qubits: got an empty list, expected at least one qubit") end
  return derive(result, width and tally(result, qubits, width) or {}, result.shots)
end

-- The result of one register of a circuit, the others summed over.
function M.of(result, name)
  check_result(result, "of")
  local registers, first, names = rawget(result, "registers"), 0, {}
  if not registers then check.misuse("of: got a result without registers, expected one of a circuit that measures") end
  for _, register in ipairs(registers) do
    if register.name == name then
      local total, width = survey(result)
      if not total then return nil, width end
      local bits = {}
      for bit = first, first + register.size - 1 do bits[#bits + 1] = bit end
      return derive(result, width and tally(result, bits, width) or {}, result.shots, { register })
    end
    first, names[#names + 1] = first + register.size, register.name
  end
  check.misuse("of: got %s, expected a register: %s", core.describe(name), table.concat(names, ", "))
end

-- The mean of the product of Z over these qubits (nil: all; none: 1), where 0 counts as +1 and 1 as -1: from -1 to 1.
function M.expectation(result, qubits)
  check_result(result, "expectation")
  local total, width = survey(result)
  if not total then return nil, width end
  if qubits == nil then
    qubits = {}
    for qubit = 0, (width or 0) - 1 do qubits[#qubits + 1] = qubit end
  end
  qubits = check_qubits(qubits, width)
  if total == 0 then return no_use(result, "nothing was counted") end
  local sum = 0
  for bits, count in pairs(tally(result, qubits, width)) do
    local ones = #string.gsub(bits, "0", "")
    sum = sum + (ones % 2 == 0 and count or -count)
  end
  return sum / total
end

-- ---- several results

-- All of them as one: counts and shots summed up. The list may be empty; results of different widths raise.
function M.merge(list)
  if type(list) ~= "table" or is_result(list) then
    check.misuse("merge: got %s, expected a list of results", core.describe(list))
  end
  local counts, sum, shots, width, common = {}, 0, 0, nil, nil
  for i = 1, rawlen(list) do
    local result = check_result(list[i], string.format("merge: list[%d]", i))
    local total, own = survey(result)
    if not total then return nil, own end
    if sum + total < 0 or shots + result.shots < 0 then return no_use(result, "the sum is too large for an integer") end
    sum = sum + total
    if width and own and own ~= width then
      check.misuse("merge: list[%d] has %d qubits, expected %d as those before it", i, own, width)
    end
    local registers = rawget(result, "registers")
    if i == 1 then common = registers elseif not same_registers(common, registers) then common = nil end
    width, shots = width or own, shots + result.shots
    for bits, count in outcomes_of(result) do counts[bits] = (counts[bits] or 0) + count end
  end
  return setmetatable({ job_id = "", counts = counts, shots = shots, metadata_json = "", registers = common }, Result)
end

-- a × b // c and its remainder, for 0 ≤ a ≤ c, also where the product has more than 63 bits.
local function multiply_divide(a, b, c)
  if b == 0 or a <= math.maxinteger // b then return a * b // c, a * b % c end
  local quotient, rest = 0, 0
  local function add(value)   -- 0 ≤ value ≤ c, to the rest, which stays below c
    if rest < c - value then
      rest = rest + value
    else
      quotient, rest = quotient + 1, rest - (c - value)
    end
  end
  for bit = 62, 0, -1 do
    quotient = 2 * quotient
    add(rest)
    if b >> bit & 1 == 1 then add(a) end
  end
  return quotient, rest
end

-- The result as it would be with this many shots: each count its share of them, rounded down, and what is missing then
-- given to those that lost most by it, of equals to the smallest bitstring. The counts sum to shots exactly.
function M.scale(result, shots)
  check_result(result, "scale")
  shots = check_integer(shots, "shots", 0)
  local total, err = survey(result)
  if not total then return nil, err end
  if total == 0 and shots > 0 then return no_use(result, "nothing was counted") end
  local counts, losers, missing = {}, {}, shots
  for bits, count in outcomes_of(result) do
    local whole, rest = multiply_divide(count, shots, total)
    missing = missing - whole
    if whole > 0 then counts[bits] = whole end
    if rest > 0 then losers[#losers + 1] = { bits = bits, rest = rest } end
  end
  table.sort(losers, function(a, b)
    if a.rest ~= b.rest then return a.rest > b.rest end
    return a.bits < b.bits
  end)
  for i = 1, missing do
    local bits = losers[i].bits
    counts[bits] = (counts[bits] or 0) + 1
  end
  return derive(result, counts, shots, rawget(result, "registers"))
end

-- ---- distances

-- A table of weights by bitstring, read once, raw: the bitstrings in ascending order, and a table of its own.
local function check_weights(weights, name)
  if type(weights) ~= "table" then
    check.misuse("distance: %s: got %s, expected a result or a table of bitstrings", name, core.describe(weights))
  end
  local keys, plain, width = {}, {}, nil
  for bits, weight in next, weights do
    if type(bits) ~= "string" or string.find(bits, "[^01]") or #bits ~= (width or #bits) then
      check.misuse("distance: %s: got the key %s, expected bitstrings of one width", name, core.describe(bits))
    end
    if not math.type(weight) or not (weight >= 0 and weight < math.huge) then
      check.misuse("distance: %s[%q]: got %s, expected a number from 0 on", name, bits, core.describe(weight))
    end
    keys[#keys + 1], plain[bits], width = bits, weight, #bits
  end
  table.sort(keys)
  return keys, plain
end

-- Something to compare: its walk in ascending order, the sum and the width; nil and an error.
local function distribution_of(value, name)
  if is_result(value) then
    local total, width = survey(value)
    if not total then return nil, width end
    return { walk = function() return outcomes_of(value) end, total = total, width = width }
  end
  local keys, weights = check_weights(value, name)
  local total = 0.0
  for _, bits in ipairs(keys) do total = total + weights[bits] end
  if total == math.huge then check.misuse("distance: %s: the sum is too large for a number", name) end
  local function walk()
    local i = 0
    return function()
      i = i + 1
      return keys[i], weights[keys[i]]
    end
  end
  return { walk = walk, total = total, width = total > 0 and #keys[1] or nil }
end

-- Calls visit(p, q) with the shares of each outcome that either has, in ascending order: so sums are reproducible.
local function walk_both(a, b, visit)
  local next_a, next_b = a.walk(), b.walk()
  local bits_a, count_a = next_a()
  local bits_b, count_b = next_b()
  while bits_a or bits_b do
    if bits_a == bits_b then
      visit(count_a / a.total, count_b / b.total)
      bits_a, count_a = next_a()
      bits_b, count_b = next_b()
    elseif not bits_b or (bits_a and bits_a < bits_b) then
      visit(count_a / a.total, 0)
      bits_a, count_a = next_a()
    else
      visit(0, count_b / b.total)
      bits_b, count_b = next_b()
    end
  end
end

local function entropy_part(p, mean) return p > 0 and p * math.log(p / mean, 2) or 0 end

-- What each kind sums up, and what it makes of the sum.
local kinds = {
  tvd = { part = function(p, q) return math.abs(p - q) end, whole = function(sum) return sum / 2 end },
  hellinger = {
    part = function(p, q) return (math.sqrt(p) - math.sqrt(q)) ^ 2 end,
    whole = function(sum) return math.sqrt(sum / 2) end,
  },
  js = {
    part = function(p, q) return entropy_part(p, (p + q) / 2) + entropy_part(q, (p + q) / 2) end,
    whole = function(sum) return sum / 2 end,
  },
}

-- How far two distributions are apart, from 0 to 1: "tvd" total variation, "hellinger", "js" Jensen-Shannon divergence
-- in bits. a and b: results, or tables of bitstring → weight. Two empty ones are 0 apart, an empty one from another 1.
function M.distance(a, b, kind)
  local how = type(kind) == "string" and kinds[kind]
  if not how then
    check.misuse('distance: kind: got %s, expected "tvd", "hellinger" or "js"', core.describe(kind))
  end
  local one, err = distribution_of(a, "a")
  if not one then return nil, err end
  local other
  other, err = distribution_of(b, "b")
  if not other then return nil, err end
  if one.width and other.width and one.width ~= other.width then
    check.misuse("distance: b has %d qubits, expected %d as a has", other.width, one.width)
  end
  if one.total == 0 or other.total == 0 then return one.total == other.total and 0.0 or 1.0 end
  local sum = 0.0
  walk_both(one, other, function(p, q) sum = sum + how.part(p, q) end)
  return math.min(1.0, math.max(0.0, how.whole(sum)))   -- what rounding adds is taken off
end

return M
