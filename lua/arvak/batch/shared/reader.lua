-- A shared batch that is looked at: what arvak.journal gives of a name of PostgreSQL.
-- Invariant: nothing is changed but by release, and that only as a takeover would.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local connection = require "arvak.store.connection"
local errors = require "arvak.base.errors"
local options = require "arvak.batch.shared.options"
local sql = require "arvak.batch.shared.sql"

local M = {}

M.states = { claimed = true, intent = true, submitted = true, completed = true, failed = true, unknown = true }

local Shared = {}
Shared.__index = Shared

function Shared:failure(what, problem)
  if errors.is_error(problem) and not problem.what then return problem end
  local message = type(problem) == "string" and problem or problem.message
  return errors.new("rpc", string.format("the journal %s %s: %s", self.path, what, self.name:hide(message)))
end

local function ask(self, mode, list)
  local transaction = self.connection:transaction()
  for _, statement in ipairs(list) do transaction:add(table.unpack(statement)) end
  local outcome, err = self.connection:run(transaction, mode)
  if not outcome then return nil, err end
  if not outcome.ok then return nil, outcome end
  return outcome
end

-- The rows of one statement. What the database says instead is raised, as an error object.
function Shared:read(...)
  local found, problem = ask(self, "read", { { ... } })
  if not found then error(self:failure("cannot be read", problem), 0) end
  return found[1]
end

-- Its row; nil and what is wrong, and true where nothing is: there is no such batch yet.
local function find_batch(self)
  local batch = self.name.batch or "default"
  local found, problem = ask(self, "read", { { sql.find_tables } })
  if not found then return nil, problem end
  local none = string.format("there is no batch %s", batch)
  if not found[1][1].exist then return nil, none, true end
  found, problem = ask(self, "read", { { sql.read_format, batch } })
  if not found then return nil, problem end
  local format = found[1][1] and found[1][1].format
  if format and format ~= sql.FORMAT then
    return nil, string.format("its format is %d, this library reads %d", format, sql.FORMAT)
  end
  found, problem = ask(self, "read", { { sql.read_batch, batch } })
  if not found then return nil, problem end
  if not found[1][1] then return nil, none, true end
  return found[1][1]
end

-- Opens a shared batch, and waits for it: what there is to read from, and its row; nil and an error.
function M.open(text)
  local name = options.check_name(text, "path")
  local self = setmetatable({ name = name, path = name.shown }, Shared)
  local problem
  self.connection, problem = connection.open("postgres", name:conninfo_with("application_name", "arvak journal"),
    { purpose = "a journal" })
  if not self.connection then return nil, self:failure("cannot be opened", problem) end
  local row, is_missing
  row, problem, is_missing = find_batch(self)
  if row then
    self.batch = row.batch
    return self, row
  end
  self:close(true)
  local err = self:failure("cannot be read", problem)
  err.is_missing = is_missing
  return nil, err
end

-- A page of items after a slot, of a state or of all.
function Shared:page(state, last, count)
  if state then return self:read(sql.page_items_in, self.batch, last, count, state) end
  return self:read(sql.page_items, self.batch, last, count)
end

function Shared:count_states() return self:read(sql.count_states, self.batch) end

-- Those that have ever worked on it: worker, name, state, lease, ended, joined_at, seen_at, silence, left_at.
function Shared:workers() return self:read(sql.list_workers, self.batch) end

-- Declares a worker dead: how many items became free; nil and an error when it does not live.
function Shared:release(worker)
  local found, problem = ask(self, "write", { { sql.release_worker, self.batch, worker },
    { sql.free_items, self.batch } })
  if not found then return nil, self:failure("cannot be written", problem) end
  if #found[1] == 0 then
    return nil, self:failure("has no such worker", string.format("the worker %d does not live", worker))
  end
  return #found[2]
end

function Shared:close(waits)
  local left = self.connection
  self.connection = nil
  if not left then return end
  if waits and core.protect(core.check_wait, "close") then left:close() else left:abandon() end
end

return M
