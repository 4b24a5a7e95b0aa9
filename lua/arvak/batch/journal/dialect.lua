-- What a journal says to SQLite: its formats, the schema and every statement.
-- Invariant: what a format means never changes. Format 1 may lack the columns reading and raw_counts, the table
-- arvak_log and the application_id; format 2 has them all.
-- SPDX-License-Identifier: Apache-2.0
local M = {}

M.FORMAT, M.OLDEST_FORMAT = 2, 1
M.APPLICATION_ID = 0x4172766b   -- "Arvk", in the file's header

-- One row for the batch, one for each input. slot counts from 1; times are Unix seconds; counts and error are JSON.
-- reading is how the answer of a circuit is read, as JSON, and raw_counts what the service said of it; NULL for a text.
-- arvak_log tells whether the write-ahead log that belongs to the file was there: see announce_log.
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
  "INSERT OR IGNORE INTO arvak_log (log, announced, begun) VALUES (1, 0, 0)",
  string.format("PRAGMA application_id = %d", M.APPLICATION_ID),
}

-- What journals of the first versions lack.
M.later_columns = {
  "ALTER TABLE arvak_item ADD COLUMN reading TEXT", "ALTER TABLE arvak_item ADD COLUMN raw_counts TEXT",
}

local early_columns = "slot, circuit_id, circuit_hash, state, attempts, job_id, counts, shots, execution_time_ms, "
  .. "metadata_json, error, sent_at, ended_at"
local columns = early_columns .. ", reading, raw_counts"

-- A page of items: those after a slot, at most so many, of all states or of one.
local function pages_of(names)
  local text = "SELECT " .. names .. " FROM arvak_item WHERE slot > ? %sORDER BY slot LIMIT ?"
  return { all = string.format(text, ""), of_state = string.format(text, "AND state = ? ") }
end

M.pages, M.early_pages = pages_of(columns), pages_of(early_columns)

-- Bytes that a row keeps free, where its counts will stand.
local function room(bytes) return "x'" .. string.rep("00", bytes) .. "'" end

M.statements = {
  read_format = "SELECT format FROM arvak_batch",
  read_batch = "SELECT fingerprint, backend_id, total, created_at FROM arvak_batch",
  insert_batch = [[INSERT INTO arvak_batch (batch, format, fingerprint, backend_id, total, created_at, opened_at)
    VALUES (1, ?, ?, ?, ?, ?, ?)]],
  open_batch = "UPDATE arvak_batch SET format = ?, fingerprint = ?, total = ?, opened_at = ?",
  set_total = "UPDATE arvak_batch SET total = ?",
  read_log = "SELECT announced, begun FROM arvak_log",
  announce_log = "UPDATE arvak_log SET announced = announced + 1",
  begin_log = "UPDATE arvak_log SET begun = announced",
  last_slot = "SELECT MAX(slot) AS slot FROM arvak_item",
  read_hashes = "SELECT slot, circuit_hash FROM arvak_item WHERE slot > ? ORDER BY slot LIMIT ?",
  count_states = "SELECT state, COUNT(*) AS count FROM arvak_item GROUP BY state",
  -- Rows that will grow keep room for that: otherwise SQLite moves rows at every end.
  insert_intent = [[INSERT INTO arvak_item (circuit_id, circuit_hash, state, attempts, sent_at, reading, slot, counts)
    VALUES (?, ?, 'intent', ?, ?, ?, ?, ]] .. room(120) .. ")",
  note_submitted = "UPDATE arvak_item SET state = 'submitted', attempts = ?, job_id = ?, counts = " .. room(84)
    .. " WHERE slot = ?",
  -- The columns in the order of rows.values_of, the slot last.
  insert_item = [[INSERT INTO arvak_item (circuit_id, circuit_hash, state, attempts, job_id, counts, shots,
    execution_time_ms, metadata_json, error, sent_at, ended_at, reading, raw_counts, slot)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)]],
  update_item = [[UPDATE arvak_item SET state = ?, attempts = ?, job_id = ?, counts = ?, shots = ?,
    execution_time_ms = ?, metadata_json = ?, error = ?, sent_at = ?, ended_at = ?, reading = ?, raw_counts = ?
    WHERE slot = ?]],
  delete_item = "DELETE FROM arvak_item WHERE slot = ?",
}

-- ---- what a file is

-- These come first, before anything is written to the file.
M.look_around = {
  "PRAGMA application_id", "PRAGMA user_version",
  [[SELECT (SELECT COUNT(*) FROM sqlite_master) AS objects,
    (SELECT group_concat(name) FROM pragma_table_info('arvak_batch')) AS batch,
    (SELECT group_concat(name) FROM pragma_table_info('arvak_item')) AS item,
    (SELECT COUNT(*) FROM pragma_table_info('arvak_log')) AS log]],
}

-- The exclusive lock keeps other programs out; the log's first use takes it. SQLite makes no checkpoints of its own. It
-- would build a table in memory for the CHECK of each row's state, a third of what a row costs: what we write keeps it.
M.prepare_writer = { "PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "PRAGMA wal_autocheckpoint = 0",
  "PRAGMA ignore_check_constraints = ON" }
M.lock_writer = "PRAGMA locking_mode = EXCLUSIVE"
M.prepare_reader = "PRAGMA query_only = ON"
M.checkpoint = "PRAGMA wal_checkpoint(PASSIVE)"

local BATCH_COLUMNS = "batch,format,fingerprint,backend_id,total,created_at,opened_at"
local ITEM_COLUMNS = "slot,circuit_id,circuit_hash,state,attempts,job_id,counts,shots,execution_time_ms,metadata_json,"
  .. "error,sent_at,ended_at"   -- of the first versions
local FOREIGN = "it is a database of something else, and no journal"
local LEDGER_ID = 0x41726c67   -- "Arlg"
local LEDGER = "it is a ledger of jobs, which arvak.ledger reads, and no journal"

-- From what was found: is_empty, has_batch, is_early (the later columns are missing), has_log; or nil and a message.
-- Journals of the first versions have no application_id and are known by their tables; of a later format, by the first
-- of them.
function M.identify(found)
  local id, version, tables = found[1][1].application_id, found[2][1].user_version, found[3][1]
  local kind = {
    is_empty = tables.objects == 0, has_batch = tables.batch ~= nil, has_log = tables.log > 0,
    is_early = tables.item ~= nil and not string.find("," .. tables.item .. ",", ",reading,", 1, true),
  }
  if id == M.APPLICATION_ID then return kind end
  if id ~= 0 then return nil, id == LEDGER_ID and LEDGER or FOREIGN end
  if kind.is_empty and version == 0 then return kind end
  if tables.batch == BATCH_COLUMNS and tables.item == ITEM_COLUMNS then return kind end
  if tables.batch and string.find(tables.batch, "^batch,format") and tables.batch ~= BATCH_COLUMNS then return kind end
  return nil, FOREIGN
end

-- Why a journal of this format is not read: a message, or nil.
function M.refuse_format(format)
  if format and format >= M.OLDEST_FORMAT and format <= M.FORMAT then return nil end
  return string.format("its format is %s, this library writes %d", format, M.FORMAT)
end

return M
