-- What a shared batch says to PostgreSQL: the tables and every statement. docs/internals/shared-batches.md has the
-- protocol that they carry.
-- No foreign keys: a worker that joins would lock the batch's row with one.
-- Invariant: each write of a worker, a claim too, first moves its own row from one seq to the next, and fails as a
-- whole when the row has another epoch, session or seq; no statement holds the batch's row and waits for a client.
-- SPDX-License-Identifier: Apache-2.0
local M = {}

M.FORMAT = 2
M.LOCK = 7021794361   -- of pg_advisory_xact_lock, while the tables are made

-- owner of an item: the worker that answers for it; 0 while it is free; NULL once it has ended. So the index holds the
-- open items alone, and a change of state alone touches no index. A worker's row is written by each turn: space is left
-- in its page for its versions.
M.schema = {
  [[CREATE TABLE IF NOT EXISTS arvak_batch (
    batch BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, format INTEGER NOT NULL, name TEXT NOT NULL UNIQUE,
    backend_id TEXT, on_unknown TEXT NOT NULL CHECK (on_unknown IN ('fail', 'resubmit')), total BIGINT,
    next_slot BIGINT NOT NULL DEFAULT 1, created_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp())
    WITH (fillfactor = 50)]],
  [[CREATE TABLE IF NOT EXISTS arvak_worker (
    worker BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, batch BIGINT NOT NULL,
    name TEXT NOT NULL, epoch INTEGER NOT NULL DEFAULT 1, session INTEGER NOT NULL DEFAULT 1,
    seq BIGINT NOT NULL DEFAULT 0,
    state TEXT NOT NULL DEFAULT 'alive' CHECK (state IN ('alive', 'leaving', 'left', 'dead')),
    lease DOUBLE PRECISION NOT NULL, ended BIGINT NOT NULL DEFAULT 0,
    joined_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(), seen_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    turned_at TIMESTAMPTZ, left_at TIMESTAMPTZ)
    WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000)]],
  "CREATE INDEX IF NOT EXISTS arvak_worker_batch ON arvak_worker (batch)",
  [[CREATE TABLE IF NOT EXISTS arvak_claim (
    batch BIGINT NOT NULL, first_slot BIGINT NOT NULL, last_slot BIGINT NOT NULL, worker BIGINT NOT NULL, hash TEXT,
    PRIMARY KEY (batch, first_slot))]],
  [[CREATE TABLE IF NOT EXISTS arvak_item (
    batch BIGINT NOT NULL, slot BIGINT NOT NULL, owner BIGINT, epoch INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('claimed', 'intent', 'submitted', 'completed', 'failed', 'unknown')),
    attempts INTEGER NOT NULL DEFAULT 0, circuit_id TEXT, circuit_hash TEXT, job_id TEXT, counts TEXT, shots BIGINT,
    execution_time_ms BIGINT, metadata_json TEXT, error TEXT, sent_at TIMESTAMPTZ, ended_at TIMESTAMPTZ,
    ended_by BIGINT, is_passing BOOLEAN, reading TEXT, raw_counts TEXT,
    PRIMARY KEY (batch, slot)) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05)]],
  [[CREATE INDEX IF NOT EXISTS arvak_item_open ON arvak_item (batch, owner, slot) WHERE owner IS NOT NULL]],
  [[CREATE INDEX IF NOT EXISTS arvak_item_passing ON arvak_item (batch) WHERE is_passing]],
}

-- The columns of an item as rows.lua reads them.
M.item_columns = [[slot, circuit_id, circuit_hash, state, attempts, job_id, counts, shots, execution_time_ms,
  metadata_json, error, EXTRACT(EPOCH FROM sent_at)::bigint AS sent_at,
  EXTRACT(EPOCH FROM ended_at)::bigint AS ended_at, reading, raw_counts]]

local item_columns = M.item_columns

-- ---- joining

M.find_tables = [[SELECT to_regclass('arvak_item_passing') IS NOT NULL AS exist, to_regclass('arvak_batch') IS NOT NULL
  AS exist_partly, current_setting('server_version_num')::int AS version,
  current_setting('server_encoding') AS encoding, pg_is_in_recovery() AS is_standby,
  current_setting('default_transaction_isolation') AS isolation,
  current_schema() AS place]]
M.lock_schema = "SELECT pg_advisory_xact_lock($1)"

-- Of the batch itself, or else of any other: a later format may have other columns.
M.read_format = "SELECT format FROM arvak_batch ORDER BY name = $1 DESC, format DESC LIMIT 1"

-- name, format, backend, on_unknown, total
M.insert_batch = [[INSERT INTO arvak_batch (name, format, backend_id, on_unknown, total) VALUES ($1, $2, $3, $4, $5)
  ON CONFLICT (name) DO NOTHING]]
M.read_batch = [[SELECT batch, backend_id, on_unknown, total, next_slot,
  (SELECT i.slot FROM arvak_item i WHERE i.batch = arvak_batch.batch
    AND (i.state <> 'claimed' OR i.circuit_hash IS NOT NULL) ORDER BY i.slot DESC LIMIT 1) AS last_begun,
  EXTRACT(EPOCH FROM created_at)::bigint AS created_at FROM arvak_batch WHERE name = $1]]

-- batch, name, lease
M.insert_worker = [[INSERT INTO arvak_worker (batch, name, lease) VALUES ($1, $2, $3) RETURNING worker]]

-- batch, before a worker joins: where nobody lives, failures that a later run goes on with are open again.
M.reopen = [[UPDATE arvak_item i SET owner = 0, epoch = 0, ended_by = NULL, ended_at = NULL, is_passing = NULL,
  state = CASE WHEN job_id IS NULL THEN 'claimed' ELSE 'submitted' END,
  error = CASE WHEN job_id IS NULL THEN NULL ELSE error END
  WHERE i.batch = $1 AND i.is_passing AND NOT EXISTS (SELECT 1 FROM arvak_worker w WHERE w.batch = $1
    AND w.state IN ('alive', 'leaving') AND w.seen_at > clock_timestamp() - make_interval(secs => w.lease))]]

-- ---- the fence, which is also a sign of life

-- worker, epoch, session, the next seq, ends in this turn
M.fence = [[WITH me AS (UPDATE arvak_worker
    SET seq = $4::bigint, ended = ended + $5::bigint, seen_at = clock_timestamp()
    WHERE worker = $1 AND epoch = $2 AND session = $3 AND seq = $4::bigint - 1 RETURNING 1)
  SELECT 1 / (SELECT COUNT(*) FROM me) AS held]]

-- worker, epoch, seconds since the loop's last turn
M.beat = [[UPDATE arvak_worker SET seen_at = clock_timestamp(),
    turned_at = clock_timestamp() - make_interval(secs => $3::float8)
  WHERE worker = $1 AND epoch = $2]]

-- After a lost connection: waits for the old session, says how far it came, and moves on, so that nothing of it can be
-- carried out any more. seq stays, so that it tells the same when this answer is lost, too. worker, epoch
M.resync = [[UPDATE arvak_worker SET session = session + 1, seen_at = clock_timestamp() WHERE worker = $1 AND epoch = $2
  RETURNING seq, session]]
M.read_held = "SELECT " .. item_columns .. [[ FROM arvak_item WHERE batch = $1 AND owner = $2 AND epoch = $3
  ORDER BY slot]]

-- ---- claims

-- A fence inside one statement: no row where the worker was taken over.
local me = [[WITH me AS (UPDATE arvak_worker SET seq = $4::bigint, seen_at = clock_timestamp()
    WHERE worker = $1 AND epoch = $2 AND session = $3 AND seq = $4::bigint - 1 RETURNING worker, epoch, batch), ]]

-- A first row with slot NULL says that the worker holds; then what was taken.
local taken_rows = [[SELECT NULL AS slot, NULL AS circuit_id, NULL AS circuit_hash, NULL AS state, NULL AS attempts,
    NULL AS job_id, NULL AS counts, NULL AS shots, NULL AS execution_time_ms, NULL AS metadata_json, NULL AS error,
    NULL AS sent_at, NULL AS ended_at, NULL AS reading, NULL AS raw_counts FROM me
  UNION ALL SELECT ]] .. item_columns .. [[ FROM taken]]

-- The next range of slots. worker, epoch, session, seq, how many, the last slot of this program (or NULL)
-- One row where the worker holds: first_slot and last_slot are NULL when there is nothing left.
M.claim_range = me .. [[b AS (SELECT b.batch, b.next_slot, b.total,
      LEAST(b.next_slot + $5::bigint - 1, b.total, $6::bigint) AS last_slot
    FROM arvak_batch b JOIN me ON b.batch = me.batch FOR NO KEY UPDATE OF b),
  moved AS (UPDATE arvak_batch SET next_slot = b.last_slot + 1 FROM b
    WHERE arvak_batch.batch = b.batch AND b.last_slot >= b.next_slot),
  claim AS (INSERT INTO arvak_claim (batch, first_slot, last_slot, worker)
    SELECT b.batch, b.next_slot, b.last_slot, me.worker FROM b, me WHERE b.last_slot >= b.next_slot),
  items AS (INSERT INTO arvak_item (batch, slot, owner, epoch, state)
    SELECT b.batch, s.slot, me.worker, me.epoch, 'claimed'
    FROM b, me, generate_series(b.next_slot, b.last_slot) s(slot))
  SELECT b.total, CASE WHEN b.last_slot >= b.next_slot THEN b.next_slot END AS first_slot,
    CASE WHEN b.last_slot >= b.next_slot THEN b.last_slot END AS last_slot FROM b]]

-- Free items. worker, epoch, session, seq, how many, the last slot of this program (or NULL), slots that it does not
-- take
M.claim_free = me .. [[free AS (SELECT i.batch, i.slot FROM arvak_item i WHERE i.batch = (SELECT batch FROM me)
      AND i.owner = 0 AND ($6::bigint IS NULL OR i.slot <= $6::bigint)
      AND i.slot <> ALL ($7::bigint[])
    ORDER BY i.slot LIMIT $5::bigint FOR UPDATE OF i SKIP LOCKED),
  taken AS (UPDATE arvak_item SET owner = me.worker, epoch = me.epoch FROM free, me
    WHERE arvak_item.batch = free.batch AND arvak_item.slot = free.slot RETURNING arvak_item.*)
  ]] .. taken_rows

-- Items that have ended as this program knows it, and are to run again; or free ones of them. Others that were told of
-- an end keep it. worker, epoch, session, seq, slots, the states and jobs with which they have ended, the states from
-- which they go on, hashes
M.claim_again = me .. [[taken AS (UPDATE arvak_item i SET owner = me.worker, epoch = me.epoch,
      state = CASE WHEN i.owner = 0 THEN i.state ELSE v.next END,
      job_id = CASE WHEN i.owner = 0 OR v.next = 'submitted' THEN i.job_id END,
      error = CASE WHEN i.owner = 0 OR v.next = 'submitted' THEN i.error END,
      ended_by = NULL, ended_at = NULL, is_passing = NULL
    FROM me, unnest($5::bigint[], $6::text[], $7::text[], $8::text[], $9::text[]) AS v(slot, state, job_id, next, hash)
    WHERE i.batch = me.batch AND i.slot = v.slot AND (i.circuit_hash IS NULL OR i.circuit_hash = v.hash)
      AND (i.owner = 0 OR (i.owner IS NULL AND i.state = v.state AND i.job_id IS NOT DISTINCT FROM v.job_id))
    RETURNING i.*)
  ]] .. taken_rows

-- What the claims say of the way: batch, the first slot of the last claim that is known (or 0), how many rows
M.read_claims = [[SELECT c.first_slot, c.last_slot, c.worker, c.hash FROM arvak_claim c
  WHERE c.batch = $1 AND c.first_slot > $2 ORDER BY c.first_slot LIMIT $3]]

-- A claim that this program has passed and that had no hash gets its own, if there is still none, and if the one
-- before has its hash: so all hashes of a batch are of the same circuits. Outside a turn, so that no transaction that
-- waits for its client holds a claim's row. batch, first slot, last one, hash; of the claim before, which may have been
-- without, first slot and hash (or NULL)
M.settle = [[UPDATE arvak_claim c SET hash = $4 FROM arvak_batch b
  WHERE c.batch = $1 AND c.first_slot = $2 AND c.hash IS NULL AND b.batch = $1 AND LEAST(c.last_slot, b.total) = $3
    AND ($5::bigint IS NULL OR EXISTS (SELECT 1 FROM arvak_claim p
      WHERE p.batch = $1 AND p.first_slot = $5::bigint AND p.hash = $6))]]
M.read_settled = [[SELECT c.first_slot, c.hash, b.total FROM arvak_claim c JOIN arvak_batch b USING (batch)
  WHERE c.batch = $1 AND c.first_slot = ANY ($2::bigint[])]]

-- The circuits' hashes of a range that differs: batch, first, last
M.read_hashes = [[SELECT slot, circuit_hash FROM arvak_item WHERE batch = $1 AND slot BETWEEN $2 AND $3
  AND circuit_hash IS NOT NULL ORDER BY slot]]

-- What was begun or compared beyond an end shows that the batch goes on there: whoever ends before it is of another
-- batch, or a part of this one.
local nothing_beyond = [[NOT EXISTS (SELECT 1 FROM arvak_item i WHERE i.batch = $1 AND i.slot > $2::bigint
    AND (i.state <> 'claimed' OR i.circuit_hash IS NOT NULL))
  AND NOT EXISTS (SELECT 1 FROM arvak_claim c
    WHERE c.batch = $1 AND c.last_slot > $2::bigint AND c.hash IS NOT NULL)]]

-- A program has no more circuits: batch, its total.
M.end_batch = "UPDATE arvak_batch SET total = $2::bigint WHERE batch = $1 AND total IS NULL AND " .. nothing_beyond

-- The same of one that may be a part of the batch: not where another has claimed more, also while this waits for the
-- batch's row: then next_slot is another one. batch, its total, worker
M.end_part = [[UPDATE arvak_batch b SET total = $2::bigint FROM arvak_batch seen
  WHERE b.batch = $1 AND seen.batch = $1 AND b.total IS NULL AND b.next_slot = seen.next_slot AND ]] .. nothing_beyond
  .. [[ AND NOT EXISTS (SELECT 1 FROM arvak_item i
    WHERE i.batch = $1 AND i.slot > $2::bigint AND i.owner > 0 AND i.owner <> $3)]]

-- A program that may extend the batch has more circuits. What was begun beyond the end, by one that had claimed it when
-- the batch ended, is kept: a claim and free items reach up to there. batch, the total that it has seen, the new one
-- (or NULL)
M.extend = [[WITH grown AS (UPDATE arvak_batch b SET total = $3::bigint, next_slot = begun.slot + 1
      FROM (SELECT COALESCE(MAX(i.slot), $2::bigint) AS slot FROM arvak_item i
        WHERE i.batch = $1 AND i.slot > $2::bigint) begun
    WHERE b.batch = $1 AND b.total = $2::bigint RETURNING b.batch, b.next_slot),
  claim AS (INSERT INTO arvak_claim (batch, first_slot, last_slot, worker)
    SELECT batch, $2::bigint + 1, next_slot - 1, 0 FROM grown WHERE next_slot > $2::bigint + 1)
  INSERT INTO arvak_item (batch, slot, owner, epoch, state) SELECT grown.batch, s.slot, 0, 0, 'claimed'
    FROM grown, generate_series($2::bigint + 1, grown.next_slot - 1) s(slot) ON CONFLICT DO NOTHING]]

-- What was claimed beyond the batch's end, each by itself; all can be repeated. batch
M.cut_items = [[DELETE FROM arvak_item i USING arvak_batch b WHERE b.batch = $1 AND i.batch = $1 AND i.slot > b.total
  AND i.state = 'claimed' AND i.circuit_hash IS NULL]]
M.cut_claims = [[DELETE FROM arvak_claim c USING arvak_batch b WHERE b.batch = $1 AND c.batch = $1
  AND c.first_slot > b.total]]
M.shorten_claims = [[UPDATE arvak_claim c SET last_slot = b.total, hash = NULL FROM arvak_batch b
  WHERE b.batch = $1 AND c.batch = $1
  AND c.last_slot > b.total]]

-- ---- what a turn writes, after the fence: each changes as many rows as it was given, or the transaction fails

local function counted(update)
  return string.format("WITH v AS (%s RETURNING 1) SELECT 1 / (COUNT(*) = $1)::int AS held FROM v", update)
end

local held = "i.batch = $2 AND i.slot = v.slot AND i.owner = $3 AND i.epoch = $4"

-- how many, batch, worker, epoch, slots, ids, hashes, attempts, readings
M.write_intents = counted([[UPDATE arvak_item i SET state = 'intent', circuit_id = v.id, circuit_hash = v.hash,
    attempts = v.attempts, job_id = NULL, error = NULL, sent_at = clock_timestamp(), reading = v.reading
  FROM unnest($5::bigint[], $6::text[], $7::text[], $8::int[], $9::text[]) AS v(slot, id, hash, attempts, reading)
  WHERE ]] .. held)

-- how many, batch, worker, epoch, slots, attempts, job ids, errors
M.write_submitted = counted([[UPDATE arvak_item i SET state = 'submitted', attempts = v.attempts, job_id = v.job_id,
    error = v.error
  FROM unnest($5::bigint[], $6::int[], $7::text[], $8::text[]) AS v(slot, attempts, job_id, error)
  WHERE ]] .. held)

-- how many, batch, worker, epoch, slots, states, attempts, job ids, counts, shots, times, metadata, errors, whether a
-- later run goes on with it, ids, hashes and readings (where no intent has written them), raw counts
M.write_ends = counted([[UPDATE arvak_item i SET owner = NULL, state = v.state, attempts = v.attempts,
    job_id = v.job_id, counts = v.counts, shots = v.shots, execution_time_ms = v.ms, metadata_json = v.metadata,
    error = v.error, is_passing = v.is_passing, circuit_id = COALESCE(v.id, i.circuit_id),
    circuit_hash = COALESCE(v.hash, i.circuit_hash), reading = COALESCE(v.reading, i.reading), raw_counts = v.raw,
    ended_at = clock_timestamp(), ended_by = $3
  FROM unnest($5::bigint[], $6::text[], $7::int[], $8::text[], $9::text[], $10::bigint[], $11::bigint[], $12::text[],
    $13::text[], $14::boolean[], $15::text[], $16::text[], $17::text[], $18::text[])
    AS v(slot, state, attempts, job_id, counts, shots, ms, metadata, error, is_passing, id, hash, reading, raw)
  WHERE ]] .. held)

-- What this program does not go on with, for others: how many, batch, worker, epoch, slots, states, job ids, errors
M.write_releases = counted([[UPDATE arvak_item i SET owner = 0, epoch = 0, state = v.state, job_id = v.job_id,
    error = v.error
  FROM unnest($5::bigint[], $6::text[], $7::text[], $8::text[]) AS v(slot, state, job_id, error)
  WHERE ]] .. held)

-- ---- ends of workers

-- batch, own worker, seconds for which the own connection has stood. One transaction of two statements: the second sees
-- what the first has waited for.
M.declare_dead = [[WITH expired AS (SELECT worker FROM arvak_worker WHERE batch = $1 AND worker <> $2
      AND state IN ('alive', 'leaving') AND lease <= $3
      AND seen_at < clock_timestamp() - make_interval(secs => lease)
    ORDER BY worker FOR UPDATE SKIP LOCKED)
  UPDATE arvak_worker w SET epoch = w.epoch + 1, state = 'dead', left_at = clock_timestamp()
  FROM expired WHERE w.worker = expired.worker RETURNING w.worker, w.name]]
M.free_items = [[WITH lost AS (SELECT i.batch, i.slot FROM arvak_item i JOIN arvak_worker w ON w.worker = i.owner
    WHERE i.batch = $1 AND i.owner > 0 AND w.state IN ('left', 'dead') FOR UPDATE OF i SKIP LOCKED)
  UPDATE arvak_item SET owner = 0, epoch = 0 FROM lost
  WHERE arvak_item.batch = lost.batch AND arvak_item.slot = lost.slot RETURNING arvak_item.slot]]

-- Whose transaction holds the row of a worker that has been silent for two leases, in the middle of what it was
-- sending: the row names the transaction, the server's view the session; so neither a pooler nor a name is in the way.
-- pid is NULL where this user does not see the session. batch, own worker, seconds for which the own connection stood
M.end_sessions = [[WITH held AS (SELECT w.worker, w.name, a.pid, a.usename::text AS usename,
      a.xact_start IS NULL OR a.xact_start < clock_timestamp() - make_interval(secs => w.lease * 2) AS is_old,
      pg_has_role(a.usesysid, 'MEMBER') OR pg_has_role('pg_signal_backend', 'MEMBER') AS may_end
    FROM arvak_worker w LEFT JOIN pg_stat_activity a ON a.backend_xid = w.xmax
    WHERE w.batch = $1 AND w.worker <> $2 AND w.state IN ('alive', 'leaving') AND w.lease * 2 <= $3
      AND w.seen_at < clock_timestamp() - make_interval(secs => w.lease * 2))
  SELECT worker, name, pid, usename, CASE WHEN may_end THEN pg_terminate_backend(pid) END AS is_ended
  FROM held WHERE is_old]]

-- The last transaction of a worker, after its fence: batch, worker, epoch
M.free_own = "UPDATE arvak_item SET owner = 0, epoch = 0 WHERE batch = $1 AND owner = $2 AND epoch = $3"
M.leave = [[UPDATE arvak_worker SET state = 'left', epoch = epoch + 1, left_at = clock_timestamp() WHERE worker = $1]]

-- Which of those that stop is the last: first each says that it leaves, then it counts the others. worker, epoch
M.say_leaving = "UPDATE arvak_worker SET state = 'leaving' WHERE worker = $1 AND epoch = $2 AND state = 'alive'"
M.count_others = [[SELECT COUNT(*) AS others FROM arvak_worker WHERE batch = $1 AND worker <> $2 AND state = 'alive'
  AND seen_at > clock_timestamp() - make_interval(secs => lease)]]

-- For people who know that a machine is gone: batch, worker
M.release_worker = [[UPDATE arvak_worker SET epoch = epoch + 1, state = 'dead', left_at = clock_timestamp()
  WHERE batch = $1 AND worker = $2 AND state IN ('alive', 'leaving') RETURNING worker]]

-- ---- what others do

-- batch
M.read_workers = [[SELECT worker, name, state, lease, ended,
    EXTRACT(EPOCH FROM clock_timestamp() - seen_at)::float8 AS age
  FROM arvak_worker WHERE batch = $1 AND state IN ('alive', 'leaving') ORDER BY worker]]
M.read_state = [[SELECT total, next_slot, (SELECT COUNT(*) FROM (SELECT 1 FROM arvak_item i
    WHERE i.batch = $1 AND i.owner = 0 LIMIT 1000) f) AS free FROM arvak_batch WHERE batch = $1]]

-- batch, slots: those of them that have ended
M.read_ends = "SELECT " .. item_columns .. [[ FROM arvak_item
  WHERE batch = $1 AND slot = ANY ($2::bigint[]) AND owner IS NULL]]

-- ---- for arvak.journal

M.list_workers = [[SELECT worker, name, state, lease, ended, EXTRACT(EPOCH FROM joined_at)::bigint AS joined_at,
  EXTRACT(EPOCH FROM seen_at)::bigint AS seen_at, EXTRACT(EPOCH FROM clock_timestamp() - seen_at)::float8 AS silence,
  EXTRACT(EPOCH FROM left_at)::bigint AS left_at FROM arvak_worker WHERE batch = $1 ORDER BY worker]]
M.count_states = "SELECT state, COUNT(*) AS count FROM arvak_item WHERE batch = $1 GROUP BY state"

-- batch, the slot after which, how many; and a state
M.page_items = "SELECT " .. item_columns .. [[, owner, ended_by FROM arvak_item WHERE batch = $1 AND slot > $2
  ORDER BY slot LIMIT $3]]
M.page_items_in = "SELECT " .. item_columns .. [[, owner, ended_by FROM arvak_item WHERE batch = $1 AND slot > $2
  AND state = $4 ORDER BY slot LIMIT $3]]

return M
