-- How a program comes into a shared batch: it looks at the database, makes the tables where there are none, finds the
-- batch or makes it, and gets a row.
-- Invariant: nothing is written to a batch of another format, another backend or another on_unknown.
-- SPDX-License-Identifier: Apache-2.0
local sql = require "arvak.batch.shared.sql"

local M = {}

local OLDEST = 120000   -- the server's version
local TRIES = 3         -- connections that may be lost before a program has joined

local count = 0

-- For people, and for the server's views: host, process, and which batch of this process.
function M.worker_name()
  count = count + 1
  local function first_of(path, pattern)
    local file = io and io.open and io.open(path)
    if not file then return nil end
    local text = file:read "l"
    file:close()
    return text and string.match(text, pattern)
  end
  return string.format("%s:%s:%d", first_of("/proc/sys/kernel/hostname", "^[%w%.%-]+") or "host",
    first_of("/proc/self/stat", "^%d+") or "process", count)
end

-- Whether the server is what a shared batch needs: true, or nil and why not.
local function check_server(row)
  if row.version < OLDEST then
    return nil, string.format("the server is PostgreSQL %d, a shared batch needs 12 or newer", row.version // 10000)
  end
  if row.is_standby then
    return nil, "the server is a standby, which cannot be written: name the primary (target_session_attrs=read-write)"
  end
  if row.encoding ~= "UTF8" then
    return nil, string.format("the database's encoding is %s, expected UTF8", row.encoding)
  end
  if row.isolation ~= "read committed" then
    return nil, string.format("default_transaction_isolation is %s, expected read committed", row.isolation)
  end
  return true
end

local function make_tables(link, place)
  local list = { { sql.lock_schema, sql.LOCK } }
  for _, statement in ipairs(sql.schema) do list[#list + 1] = { statement } end
  local ok, problem = link:ask("write", list)
  if ok then return true end
  if problem.code == "42501" or problem.code == "3F000" then
    return nil, string.format("its tables are not there, and this user may not make them in the schema %s (%s)",
      place or "that the search_path names", problem.message)
  end
  return nil, problem
end

local function look(link)
  local found, problem = link:ask("raw", { { sql.find_tables } })
  if not found then return nil, problem end
  local row = found[1][1]
  local ok, why = check_server(row)
  if ok and not row.exist then ok, why = make_tables(link, row.place) end
  return ok, why
end

-- What stands in the way of this batch, or nil.
local function find_obstacle(row, claims, options)
  if row.backend_id ~= options.backend_id then
    return string.format("its backend is %s", row.backend_id or "named by each circuit")
  end
  if row.on_unknown ~= options.on_unknown then
    return string.format('its on_unknown is "%s", which is the same for all its programs', row.on_unknown)
  end
  local own, total = claims.own_total, row.total
  if not own or options.extend or own == total then return nil end
  if not total then
    return row.last_begun and row.last_begun > own
      and string.format("it has at least %d circuits, these are %d", row.last_begun, own) or nil
  end
  if own < total then
    return string.format("it has %d circuits, these are %d; extend = true takes part in the first of them", total, own)
  end
  return string.format("it has %d circuits, these are %d; extend = true takes on more", total, own)
end

local function find_batch(link, claims, options)
  local found, problem = link:ask("raw", { { sql.read_format, link.batch_name } })
  if not found then return nil, problem end
  local format = found[1][1] and found[1][1].format
  if format and format ~= sql.FORMAT then
    return nil, string.format("its format is %d, this library writes %d", format, sql.FORMAT)
  end
  found, problem = link:ask("raw", { { sql.insert_batch, link.batch_name, sql.FORMAT, options.backend_id,
    options.on_unknown, claims.own_total, n = 6 }, { sql.read_batch, link.batch_name } })
  if not found then return nil, problem end
  local row = found[2][1]
  local obstacle = find_obstacle(row, claims, options)
  if obstacle then return nil, obstacle end
  link.batch = row.batch
  return true
end

local function join(link, claims, options)
  local ok, problem = look(link)
  if ok then ok, problem = find_batch(link, claims, options) end
  if not ok then return nil, problem end
  ok, problem = link:ask("raw", link:join_statements { { sql.reopen, link.batch } })
  if not ok then return nil, problem end
  link:note_joined(ok)
  return true
end

-- Waits until this program has a row in the batch: true; nil, an error, and whether the batch is of others. A database
-- that cannot be reached is an error at once; a connection that is lost on the way is made once more.
-- options: backend_id, on_unknown, extend.
function M.open(link, claims, options)
  local ok, problem
  for _ = 1, TRIES do
    local err
    ok, err = link:open()
    if not ok then return nil, err end
    ok, problem = join(link, claims, options)
    if ok then return true end
    if type(problem) == "string" or not link.is_gone(problem) then break end
    link:forget()
  end
  local is_refused = type(problem) == "string"
  local err = link:failure(is_refused and "is refused" or "cannot be used", problem)
  link:close(true)
  return nil, err, is_refused
end

return M
