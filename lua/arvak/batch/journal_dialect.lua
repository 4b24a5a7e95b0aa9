-- What a journal says to its database: the schema, every statement, and the only things about which databases differ.
-- LuaDBI binds and reads integers with 32 bits, so larger ones go as text, both ways.
-- Invariant: the texts fit SQLite and PostgreSQL; what fits one of them only is in its table below.
-- SPDX-License-Identifier: Apache-2.0
local M = {}

M.FORMAT = 1

-- One row for the batch, one for each input. slot counts from 1; times are Unix seconds; counts and error are JSON.
-- reading is how the answer of a circuit is read, as JSON, and raw_counts what the service said of it; NULL for a text.
-- arvak_log tells whether the write-ahead log that belongs to the file was there: see sqlite.checkpoint.
M.schema = {
  [[CREATE TABLE IF NOT EXISTS arvak_batch (
    batch INTEGER PRIMARY KEY CHECK (batch = 1), format INTEGER NOT NULL, fingerprint TEXT NOT NULL, backend_id TEXT,
    total BIGINT, created_at BIGINT NOT NULL, opened_at BIGINT NOT NULL)]],
  [[CREATE TABLE IF NOT EXISTS arvak_item (
    slot INTEGER PRIMARY KEY, circuit_id TEXT, circuit_hash TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('intent', 'submitted', 'completed', 'failed', 'unknown')),
    attempts INTEGER NOT NULL, job_id TEXT, counts TEXT, shots BIGINT, execution_time_ms BIGINT, metadata_json TEXT,
    error TEXT, sent_at BIGINT, ended_at BIGINT, reading TEXT, raw_counts TEXT)]],
  [[CREATE TABLE IF NOT EXISTS arvak_log (
    log INTEGER PRIMARY KEY CHECK (log = 1), announced BIGINT NOT NULL, begun BIGINT NOT NULL)]],
}

-- The columns that journals of early versions lack.
M.later_columns = {
  "ALTER TABLE arvak_item ADD COLUMN reading TEXT", "ALTER TABLE arvak_item ADD COLUMN raw_counts TEXT",
}

local early_columns = [[slot, circuit_id, circuit_hash, state, attempts, job_id, counts, CAST(shots AS TEXT) AS shots,
  CAST(execution_time_ms AS TEXT) AS execution_time_ms, metadata_json, error, CAST(sent_at AS TEXT) AS sent_at,
  CAST(ended_at AS TEXT) AS ended_at]]
local item_columns = early_columns .. ", reading, raw_counts"

M.statements = {
  read_format = "SELECT format FROM arvak_batch",
  read_batch = [[SELECT fingerprint, backend_id, CAST(total AS TEXT) AS total,
    CAST(created_at AS TEXT) AS created_at FROM arvak_batch]],
  insert_batch = [[INSERT INTO arvak_batch (batch, format, fingerprint, backend_id, total, created_at, opened_at)
    VALUES (1, ?, ?, ?, ?, ?, ?)]],
  open_batch = "UPDATE arvak_batch SET opened_at = ?",
  set_total = "UPDATE arvak_batch SET total = ?",
  read_log = "SELECT CAST(announced AS TEXT) AS announced, CAST(begun AS TEXT) AS begun FROM arvak_log",
  insert_log = "INSERT INTO arvak_log (log, announced, begun) VALUES (1, 0, 0)",
  announce_log = "UPDATE arvak_log SET announced = announced + 1",
  begin_log = "UPDATE arvak_log SET begun = announced",
  last_slot = "SELECT MAX(slot) AS slot FROM arvak_item",
  read_item = "SELECT " .. item_columns .. " FROM arvak_item WHERE slot = ?",
  read_items = "SELECT " .. item_columns .. " FROM arvak_item ORDER BY slot",
  read_items_in = "SELECT " .. item_columns .. " FROM arvak_item WHERE state = ? ORDER BY slot",
  count_states = "SELECT state, CAST(COUNT(*) AS TEXT) AS count FROM arvak_item GROUP BY state",
  -- The columns in the order in which the journal binds them, the slot last.
  insert_item = [[INSERT INTO arvak_item (circuit_id, circuit_hash, state, attempts, job_id, counts, shots,
    execution_time_ms, metadata_json, error, sent_at, ended_at, reading, raw_counts, slot)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)]],
  update_item = [[UPDATE arvak_item SET state = ?, attempts = ?, job_id = ?, counts = ?, shots = ?,
    execution_time_ms = ?, metadata_json = ?, error = ?, sent_at = ?, ended_at = ?, reading = ?, raw_counts = ?
    WHERE slot = ?]],
}

-- For those who may not add what a journal of an early version lacks.
M.early_statements = {
  read_items = "SELECT " .. early_columns .. " FROM arvak_item ORDER BY slot",
  read_items_in = "SELECT " .. early_columns .. " FROM arvak_item WHERE state = ? ORDER BY slot",
}

-- ---- SQLite

local sqlite = { name = "SQLite", driver = "SQLite3", module = "dbd.sqlite3", package = "lua-dbi-sqlite3" }
M.sqlite = sqlite

local APPLICATION_ID = 0x4172766b   -- "Arvk", in the file's header

local BATCH_COLUMNS = "batch,format,fingerprint,backend_id,total,created_at,opened_at"
local ITEM_COLUMNS = "slot,circuit_id,circuit_hash,state,attempts,job_id,counts,shots,execution_time_ms,metadata_json,"
  .. "error,sent_at,ended_at"   -- of early versions

local look_around = [[SELECT (SELECT COUNT(*) FROM sqlite_master) AS objects,
  (SELECT group_concat(name) FROM pragma_table_info('arvak_batch')) AS batch,
  (SELECT group_concat(name) FROM pragma_table_info('arvak_item')) AS item]]

-- What the file is, before anything is written to it: "journal"; "empty"; or nil and a message. Journals of early
-- versions have no application_id and are known by their tables; of a later format, by the first of them.
function sqlite.identify(connection, query)
  local header, message = query(connection, "PRAGMA application_id")
  if not header then return nil, message end
  local id = tonumber(header.application_id)
  if id == APPLICATION_ID then return "journal" end
  local found
  found, message = query(connection, look_around)
  if not found then return nil, message end
  header, message = query(connection, "PRAGMA user_version")
  if not header then return nil, message end
  if id == 0 and tonumber(found.objects) == 0 and tonumber(header.user_version) == 0 then return "empty" end
  if id == 0 and found.batch == BATCH_COLUMNS and found.item == ITEM_COLUMNS then return "journal" end
  if id == 0 and found.batch and string.find(found.batch, "^batch,format") and found.batch ~= BATCH_COLUMNS then
    return "journal"   -- whose format will be refused
  end
  return nil, "it is a database of something else, and no journal"
end

-- journal_mode = WAL fails inside a transaction, and LuaDBI is in one until autocommit(true). The exclusive lock keeps
-- other programs out; it is taken by the first statement that writes. SQLite makes no checkpoints of its own.
function sqlite.prepare(connection, query)
  connection:autocommit(true)
  local row, message = query(connection, "PRAGMA locking_mode = EXCLUSIVE")
  if row then row, message = sqlite.identify(connection, query) end
  if not row then return nil, message end
  for _, pragma in ipairs { "PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL",
    "PRAGMA wal_autocheckpoint = 0" } do
    row, message = query(connection, pragma)
    if not row then return nil, message end
    if row.journal_mode and row.journal_mode ~= "wal" then return nil, "there can be no write-ahead log" end
  end
  connection:autocommit(false)
  return true
end

-- Whether the table of items lacks the later columns, or nil and a message.
function sqlite.is_early(connection, query)
  local row, message = query(connection,
    "SELECT COUNT(*) AS found FROM pragma_table_info('arvak_item') WHERE name = 'reading'")
  if not row then return nil, message end
  return tonumber(row.found) == 0
end

-- In the transaction that makes the tables.
function sqlite.stamp(connection, query)
  return query(connection, string.format("PRAGMA application_id = %d", APPLICATION_ID))
end

-- Brings what is in the write-ahead log into the file itself. What comes after is in the log alone, so the file says
-- first that a log was announced, and the log then, before anything is sent, that it has begun: a file without its log,
-- copied or left alone, is known by having announced one that never began. The caller has announced and committed.
-- A failure is none of the journal's: the log has everything.
function sqlite.checkpoint(connection, query)
  query(connection, "PRAGMA wal_checkpoint(PASSIVE)")
  local row, message = query(connection, M.statements.begin_log)
  if not row then return nil, message end
  if not connection:commit() then return nil end
  return true
end

-- Readers leave everything as it is.
function sqlite.prepare_reader(connection, query)
  connection:autocommit(true)
  local row, message = query(connection, "PRAGMA query_only = ON")
  if not row then return nil, message end
  row, message = sqlite.identify(connection, query)
  if row == "empty" then return nil, "it holds no batch" end
  return row, message
end

-- What a message of the database means to people, or nil.
function sqlite.explain(message)
  if string.find(message, "database is locked", 1, true) then return "another process is using it" end
  if string.find(message, "readonly database", 1, true) then return "it cannot be written (read-only)" end
  if string.find(message, "file is not a database", 1, true) then return "it is no SQLite file" end
  if string.find(message, "disk is full", 1, true) then return "the disk is full" end
end

return M
