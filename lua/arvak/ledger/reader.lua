-- A ledger that is read: what arvak.ledger gives.
-- Invariant: reading leaves the ledger as it is; items come in pages, so a long ledger takes little memory.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local check = require "arvak.base.check"
local connections = require "arvak.store.connection"
local errors = require "arvak.base.errors"
local places = require "arvak.ledger.place"

local M = {}

local PAGE = 500   -- items

local Reader = core.metatables["arvak.ledger"]
local methods = {}
Reader.__index, Reader.methods = methods, methods

function Reader.__tostring(self)
  return string.format("arvak.ledger %s%s", self.name, self._connection and "" or " (closed)")
end

local function failure(place, message, fields)
  return errors.new("rpc", string.format("the ledger %s cannot be read: %s", place.shown, place.hide(message)), fields)
end

-- The rows of a statement; nil and an error.
local function query(place, connection, sql, values)
  local tx = connection:transaction()
  tx:add(sql, table.unpack(values, 1, values.n))
  local outcome, err = connection:run(tx, "read")
  if not outcome then return nil, err end
  if outcome.ok then return outcome[1] end
  return nil, failure(place, outcome.message, { what = outcome.what })
end

-- Opens a ledger for reading, and waits for that. nil and an error when there is none.
function M.ledger(name)
  local place = places.of(name, "name")
  core.check_wait("ledger")
  local options = {}
  for key, value in pairs(place.options) do options[key] = value end
  if place.kind == "sqlite" then options.must_exist = true end
  local connection, err = connections.open(place.kind, place.where, options)
  if not connection then
    err.message = err.what and failure(place, err.message).message or err.message
    return nil, err
  end
  local rows
  rows, err = query(place, connection, place.dialect.look, { n = 0 })
  local verdict = rows and place.dialect.verdict(rows[1])
  if rows and not verdict then
    return setmetatable({ name = place.shown, _place = place, _connection = connection }, Reader)
  end
  connection:abandon()
  return nil, err or failure(place, verdict)
end

local function check_reader(self, method)
  if core.metatable_of(self) ~= Reader then
    check.misuse("%s: got %s, expected a ledger", method, core.describe(self))
  end
  if not self._connection then check.misuse("%s: the ledger was closed", method) end
end

-- ---- filters

local filters = {
  { "label", "label = ?" }, { "state", "state = ?" }, { "backend_id", "backend_id = ?" },
  { "since", "submitted_at >= ?" },
}
local filter_names = { label = true, state = true, backend_id = true, since = true }
local states = { QUEUED = true, RUNNING = true, COMPLETED = true, FAILED = true, CANCELED = true,
  RESULT_EXPIRED = true }

local function check_filter(filter, method)
  filter = check.options(filter, method, filter_names)
  for _, name in ipairs { "label", "backend_id" } do
    if filter[name] ~= nil then check.text(filter[name], name) end
  end
  if filter.state ~= nil and not states[filter.state] then
    check.misuse('state: got %s, expected "QUEUED", "RUNNING", "COMPLETED", "FAILED", "CANCELED" or "RESULT_EXPIRED"',
      core.describe(filter.state))
  end
  local since = filter.since
  if since ~= nil and (type(since) ~= "number" or since ~= since) then
    check.misuse("since: got %s, expected seconds since 1970", core.describe(since))
  end
  return filter
end

-- The conditions of a filter, as a list of texts, and their values.
local function conditions_of(filter)
  local list, values = {}, { n = 0 }
  for _, known in ipairs(filters) do
    local value = filter[known[1]]
    if value ~= nil then
      if known[1] == "since" then value = value + 0.0 end
      list[#list + 1], values.n = known[2], values.n + 1
      values[values.n] = value
    end
  end
  return list, values
end

-- ---- reading

local function item_of(row)
  return { job_id = row.job_id, address = row.address, backend_id = row.backend_id, shots = row.shots,
    label = row.label, submitted_at = row.submitted_at, state = row.state, seen_at = row.seen_at }
end

-- The rows before this number, the newest first; raises what the database says instead.
local function next_page(self, filter, before)
  local list, values = conditions_of(filter)
  if before then
    list[#list + 1], values.n = "n < ?", values.n + 1
    values[values.n] = before
  end
  local dialect = self._place.dialect
  local sql = dialect.select .. (#list > 0 and " WHERE " .. table.concat(list, " AND ") or "")
    .. string.format(" ORDER BY n DESC LIMIT %d", PAGE)
  local rows, err = query(self._place, self._connection, dialect.mark(sql), values)
  if not rows then error(err, 0) end
  for _, row in ipairs(rows) do
    if before and row.n >= before then error(failure(self._place, "it is damaged: its jobs are out of order"), 0) end
    before = row.n
  end
  return rows
end

-- An iterator over the jobs, the newest first: job_id, address, backend_id, shots, label, submitted_at, state, seen_at.
-- filter: label, state, backend_id, since (Unix seconds). A ledger that cannot be read any more raises an error object.
function methods:items(filter)
  check_reader(self, "items")
  local asked = {}
  for name, value in pairs(check_filter(filter, "items")) do asked[name] = value end
  local page, at, before, is_over = {}, 0, nil, false
  return function()
    if at == #page and not is_over then
      if not self._connection then return nil end
      core.check_wait("items")
      page, at = next_page(self, asked, before), 0
      is_over = #page < PAGE
    end
    at = at + 1
    local row = page[at]
    if not row then return nil end
    before = row.n
    return item_of(row)
  end
end

-- How many jobs are in each state, of all or of those of a filter. Raises as items does.
function methods:counts(filter)
  check_reader(self, "counts")
  core.check_wait("counts")
  local list, values = conditions_of(check_filter(filter, "counts"))
  local dialect = self._place.dialect
  local sql = dialect.count .. (#list > 0 and " WHERE " .. table.concat(list, " AND ") or "") .. " GROUP BY state"
  local rows, err = query(self._place, self._connection, dialect.mark(sql), values)
  if not rows then error(err, 0) end
  local counts = {}
  for state in pairs(states) do counts[state] = 0 end
  for _, row in ipairs(rows) do counts[row.state] = math.tointeger(row.count) end
  return counts
end

-- Idempotent, never waits.
function methods:close()
  if not self._connection then return end
  self._connection:abandon()
  self._connection = nil
end

Reader.__close, Reader.__gc = methods.close, methods.close

return M
