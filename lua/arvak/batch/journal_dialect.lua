-- What a journal says to its database: the schema, every statement, and the only things about which databases differ.
-- LuaDBI binds and reads integers with 32 bits, so larger ones go as text, both ways.
-- Invariant: the texts fit SQLite and PostgreSQL; what fits one of them only is in its table below.
-- SPDX-License-Identifier: Apache-2.0
local M = {}

M.FORMAT = 1

-- One row for the batch, one for each input. slot counts from 1; times are Unix seconds; counts and error are JSON.
M.schema = {
  [[CREATE TABLE IF NOT EXISTS arvak_batch (
    batch INTEGER PRIMARY KEY CHECK (batch = 1), format INTEGER NOT NULL, fingerprint TEXT NOT NULL, backend_id TEXT,
    total BIGINT, created_at BIGINT NOT NULL, opened_at BIGINT NOT NULL)]],
  [[CREATE TABLE IF NOT EXISTS arvak_item (
    slot INTEGER PRIMARY KEY, circuit_id TEXT, circuit_hash TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('intent', 'submitted', 'completed', 'failed', 'unknown')),
    attempts INTEGER NOT NULL, job_id TEXT, counts TEXT, shots BIGINT, execution_time_ms BIGINT, metadata_json TEXT,
    error TEXT, sent_at BIGINT, ended_at BIGINT)]],
}

local item_columns = [[slot, circuit_id, circuit_hash, state, attempts, job_id, counts, CAST(shots AS TEXT) AS shots,
  CAST(execution_time_ms AS TEXT) AS execution_time_ms, metadata_json, error, CAST(sent_at AS TEXT) AS sent_at,
  CAST(ended_at AS TEXT) AS ended_at]]

M.statements = {
  read_format = "SELECT format FROM arvak_batch",
  read_batch = [[SELECT fingerprint, backend_id, CAST(total AS TEXT) AS total,
    CAST(created_at AS TEXT) AS created_at FROM arvak_batch]],
  insert_batch = [[INSERT INTO arvak_batch (batch, format, fingerprint, backend_id, total, created_at, opened_at)
    VALUES (1, ?, ?, ?, ?, ?, ?)]],
  open_batch = "UPDATE arvak_batch SET opened_at = ?",
  set_total = "UPDATE arvak_batch SET total = ?",
  last_slot = "SELECT MAX(slot) AS slot FROM arvak_item",
  read_item = "SELECT " .. item_columns .. " FROM arvak_item WHERE slot = ?",
  read_items = "SELECT " .. item_columns .. " FROM arvak_item ORDER BY slot",
  read_items_in = "SELECT " .. item_columns .. " FROM arvak_item WHERE state = ? ORDER BY slot",
  count_states = "SELECT state, CAST(COUNT(*) AS TEXT) AS count FROM arvak_item GROUP BY state",
  -- The columns in the order in which the journal binds them, the slot last.
  insert_item = [[INSERT INTO arvak_item (circuit_id, circuit_hash, state, attempts, job_id, counts, shots,
    execution_time_ms, metadata_json, error, sent_at, ended_at, slot) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)]],
  update_item = [[UPDATE arvak_item SET state = ?, attempts = ?, job_id = ?, counts = ?, shots = ?,
    execution_time_ms = ?, metadata_json = ?, error = ?, sent_at = ?, ended_at = ? WHERE slot = ?]],
}

-- ---- SQLite

local sqlite = { name = "SQLite", driver = "SQLite3", module = "dbd.sqlite3", package = "lua-dbi-sqlite3" }
M.sqlite = sqlite

-- journal_mode = WAL fails inside a transaction, and LuaDBI is in one until autocommit(true). The exclusive lock keeps
-- a second process out; it is taken by the first statement that writes.
function sqlite.prepare(connection, query)
  connection:autocommit(true)
  for _, pragma in ipairs { "PRAGMA locking_mode = EXCLUSIVE", "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL" } do
    local row, message = query(connection, pragma)
    if not row then return nil, message end
    if row.journal_mode and row.journal_mode ~= "wal" then return nil, "there can be no write-ahead log" end
  end
  connection:autocommit(false)
  return true
end

-- Readers leave everything as it is.
function sqlite.prepare_reader(connection, query)
  connection:autocommit(true)
  return query(connection, "PRAGMA query_only = ON")
end

-- What a message of the database means to people, or nil.
function sqlite.explain(message)
  if message:find("database is locked", 1, true) then return "another process is using it" end
  if message:find("readonly database", 1, true) then return "it cannot be written (read-only)" end
  if message:find("file is not a database", 1, true) then return "it is no SQLite file" end
  if message:find("disk is full", 1, true) then return "the disk is full" end
end

return M
