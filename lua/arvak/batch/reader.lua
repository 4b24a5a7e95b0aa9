-- A journal that is read: what arvak.journal gives.
-- Invariant: reading leaves the journal as it is, and one that a batch is using is not opened.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local check = require "arvak.base.check"
local database = require "arvak.batch.journal.database"
local dialect = require "arvak.batch.journal.dialect"
local dsn = require "arvak.base.dsn"
local entries = require "arvak.streams.entries"
local identities = require "arvak.batch.journal.identity"
local place = require "arvak.batch.journal.place"
local plans = require "arvak.batch.journal.plan"
local rows = require "arvak.batch.journal.rows"
local shared = require "arvak.batch.shared.reader"

local M = {}

local PAGE = 256   -- rows that are read together

local ask, failure, statements = database.ask, database.failure, dialect.statements

local Reader = core.metatables["arvak.journal"]
local methods = {}
Reader.__index, Reader.methods = methods, methods

function Reader.__tostring(self)
  return string.format("arvak.journal %s%s", self.path, (self._connection or self._shared) and "" or " (closed)")
end

local function is_open(self) return self._connection ~= nil or self._shared ~= nil end

-- ---- opening

-- The batch that stands in it, and what it is (as of dialect.identify, with the log); nil and a problem.
local function read_head(connection)
  local list = { dialect.prepare_reader, table.unpack(dialect.look_around) }
  local found, problem = ask(connection, "raw", list)
  if not found then return nil, problem end
  local kind
  kind, problem = dialect.identify({ found[2], found[3], found[4] })
  if not kind then return nil, problem end
  if not kind.has_batch then return nil, "it holds no batch" end
  found, problem = ask(connection, "raw", { statements.read_format })
  if not found then return nil, problem end
  if not found[1][1] then return nil, "it holds no batch" end
  kind.format = found[1][1].format
  problem = dialect.refuse_format(kind.format)
  if problem then return nil, problem end
  found, problem = ask(connection, "raw", { statements.read_batch, statements.last_slot,
    kind.has_log and statements.read_log or nil })
  if not found then return nil, problem end
  kind.log = found[3] and found[3][1]
  local batch = found[1][1]
  batch.total = identities.total_of(batch.total, found[2][1].slot or 0)
  return batch, kind
end

local function open_shared(name)
  local opened, row = shared.open(name)
  if not opened then return nil, row end
  return setmetatable({ path = opened.path, _shared = opened, backend_id = row.backend_id, total = row.total,
    created_at = row.created_at, on_unknown = row.on_unknown }, Reader)
end

-- Opens a journal for looking: its path, fingerprint, backend_id, total (nil when not known) and created_at. nil and an
-- error when there is none, or a batch is using it. A shared batch in PostgreSQL may be in use. Waits.
function M.journal(path)
  check.path(path, "path")
  core.check_wait("journal")
  if dsn.is_name(path) then return open_shared(path) end
  local ok, problem = database.check()
  if ok then ok, problem = database.await(path) end
  if not ok then return nil, problem end
  local obstacle = place.find_obstacle_to_read(path)   -- connecting would make a file
  if obstacle then return nil, failure(path, "cannot be read", obstacle) end
  local real = core.real_path(path)
  local had_log = place.has_log(real)
  local connection
  connection, problem = database.open(real)
  if not connection then return nil, failure(path, "cannot be read", problem) end
  local self = setmetatable({ path = path, _connection = connection, _real = real }, Reader)
  local batch, kind = read_head(connection)
  if not batch then
    self:close()
    return nil, failure(path, "cannot be read", kind)
  end
  for name, value in pairs(batch) do self[name] = value end
  kind.had_log, self._kind, self.format = had_log, kind, kind.format
  return self
end

-- ---- methods

local function check_reader(self, method)
  if core.metatable_of(self) ~= Reader then
    check.misuse("%s: got %s, expected a journal", method, core.describe(self))
  end
  if not is_open(self) then check.misuse("%s: the journal was closed", method) end
  core.check_wait(method)
end

-- The rows of one statement. What the database says instead is raised, as an error object.
local function read(self, sql, ...)
  local found, problem = ask(self._connection, "raw", { table.pack(sql, ...) })
  if not found then error(failure(self.path, "cannot be read", problem), 0) end
  return found[1]
end

-- An iterator over the rows of all items, or of those of a state, in order. It ends when the journal is closed.
local function read_page(self, state, last)
  if self._shared then return self._shared:page(state, last, PAGE) end
  local pages = self._kind.is_early and dialect.early_pages or dialect.pages
  local page = state and read(self, pages.of_state, last, state, PAGE) or read(self, pages.all, last, PAGE)
  local disorder = rows.find_disorder(page, last)
  if disorder then error(failure(self.path, "cannot be read", disorder), 0) end
  return page
end

local function rows_of(self, state)
  local page, i, last = {}, 0, 0
  return function()
    if not is_open(self) then return nil end
    i = i + 1
    if i > #page and (last == 0 or #page == PAGE) then page, i = read_page(self, state, last), 1 end
    local row = page[i]
    if row then last = row.slot end
    return row
  end
end

local states = { intent = true, submitted = true, completed = true, failed = true, unknown = true }

-- An iterator over the items of a state, or of all: index, id, state, attempts, job_id, result or err, circuit_hash,
-- sent_at, ended_at. A journal that is damaged raises an error object.
function methods:items(state)
  check_reader(self, "items")
  if state ~= nil and not (self._shared and shared.states or states)[state] then
    check.misuse('items: got %s, expected %s"intent", "submitted", "completed", "failed" or "unknown"',
      core.describe(state), self._shared and '"claimed", ' or "")
  end
  local next_row = rows_of(self, state)
  return function()
    local row = next_row()
    local item = row and rows.item_of(row)
    if not item then return nil end
    item.way, item.has_lost_way, item.worker = nil, nil, row.ended_by or (row.owner ~= 0 and row.owner or nil)
    return item
  end
end

-- How many items are in each state. A journal that is damaged raises an error object.
function methods:counts()
  check_reader(self, "counts")
  local counts, known = {}, self._shared and shared.states or states
  for state in pairs(known) do counts[state] = 0 end
  for _, row in ipairs(self._shared and self._shared:count_states() or read(self, statements.count_states)) do
    if known[row.state] then counts[row.state] = row.count end
  end
  return counts
end

-- The programs that have worked on a shared batch, in the order in which they joined: worker (a number), name, state
-- ("alive", "leaving", "left" or "dead"), lease, ended, joined_at, seen_at, silence (seconds), left_at. Of a file:
-- none.
function methods:workers()
  check_reader(self, "workers")
  return self._shared and self._shared:workers() or {}
end

-- Declares a worker of a shared batch dead, for people who know that its machine is gone: how many items others may go
-- on with now; nil and an error when no such worker lives.
function methods:release(worker)
  check_reader(self, "release")
  if math.type(worker) ~= "integer" then
    check.misuse("release: got %s, expected the number of a worker", core.describe(worker))
  end
  if not self._shared then check.misuse("release: a journal in a file has no workers") end
  return self._shared:release(worker)
end

-- What others have only claimed, nobody knows anything of.
local function plan_shared(self, asked)
  asked.resubmits, asked.is_shared = self.on_unknown == "resubmit", true
  if asked.list then
    local list, i = asked.list, 0
    asked.list = nil
    function asked.draw()
      i = i + 1
      return entries.copy(list[i])
    end
  end
  return plans.make(asked, self, function()
    local next_row = rows_of(self)
    return function()
      local row = next_row()
      while row and row.state == "claimed" do row = next_row() end
      return row
    end
  end)
end

-- What execute_batch would do with these circuits and this journal, without doing it: a table; nil and an error where
-- it would be refused for another reason than the circuits. options: on_unknown, extend.
function methods:plan(circuits, backend_id, options)
  check_reader(self, "plan")
  local asked = plans.check(circuits, backend_id, options)
  if self._shared then return plan_shared(self, asked) end
  if self._kind.log and self._kind.log.announced ~= self._kind.log.begun and not self._kind.had_log
    and not asked.resubmits then
    return nil, failure(self.path, "is refused", place.lost_log(self._real))
  end
  return plans.make(asked, self, function() return rows_of(self) end)
end

-- Waits until the file is free. Idempotent.
function methods:close()
  if self._shared then self._shared:close(true) end
  local connection = self._connection
  self._shared = nil
  if not connection then return end
  self._connection = nil
  database.close(connection, self._real, (core.protect(core.check_wait, "close")))
end

-- Where nobody may wait, it is closed soon.
function Reader.__gc(self)
  if self._shared then self._shared:close(false) end
  if not self._connection then return end
  database.close(self._connection, self._real, false)
  self._connection = nil
end

Reader.__close = methods.close

return M
