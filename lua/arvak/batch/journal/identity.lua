-- What a journal knows a batch by: a hash of each circuit with all that is sent of it, and a fingerprint of the whole.
-- Invariant: the fingerprint of a list is a chain of its hashes, so what was made for its first circuits can be told
-- from the whole list. Pure but for the rows that compare draws.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local entries = require "arvak.streams.entries"
local program = require "arvak.results.program"

local M = {}

local MOST_KEPT = 1 << 16   -- bytes of a text that is kept with its hash
local CIRCUIT = "arvak.circuit 1"   -- begins what stands for a circuit in place of its text: of what kind, which format

local function hash_of(backend_id, identity, circuit)
  return core.sha256(string.pack("<s8s8I4I4", backend_id, identity, circuit.shots, circuit.optimization_level))
end

-- The hash is of the circuit's canonical form, not of the text that lowering makes of it. A circuit that cannot be
-- lowered is never sent, and counts as empty.
local function hash_circuit(input)
  return hash_of(input.backend_id, CIRCUIT .. "\0" .. (program.canonical(input.source) or ""), input.circuit)
end

-- The text that was hashed last, with all that goes into its hash: a batch often runs one text many times, and looks at
-- each twice.
local last_qasm, last_shots, last_level, last_backend_id, last_hash

-- What tells one circuit from another: everything that is sent of it.
function M.hash(input)
  if input.source then return hash_circuit(input) end
  local circuit, backend_id = input.circuit, input.backend_id
  local qasm, shots, level = circuit.qasm, circuit.shots, circuit.optimization_level
  if last_qasm == qasm and last_shots == shots and last_level == level and last_backend_id == backend_id then
    return last_hash
  end
  local hash = hash_of(backend_id, qasm, circuit)
  if #qasm <= MOST_KEPT then
    last_qasm, last_shots, last_level, last_backend_id, last_hash = qasm, shots, level, backend_id, hash
  end
  return hash
end

local function first_link(kind, backend_id) return core.sha256(string.pack("<s8s8", kind, backend_id or "")) end

-- A chain that grows with each circuit of a list, in order: chain(input) adds one, chain() is the fingerprint so far.
function M.chain(backend_id)
  local print = first_link("list", backend_id)
  return function(input)
    if input then print = core.sha256(print .. M.hash(input)) end
    return print
  end
end

-- Of a whole list: the hashes of its circuits, in order. Of an iterator, of which nothing is known: its backend.
function M.fingerprint(backend_id, hashes)
  local print = first_link(hashes and "list" or "iterator", backend_id)
  for hash in hashes or function() end do print = core.sha256(print .. hash) end
  return print
end

-- The hashes of a list's circuits, in order.
local function hashes_of(list, backend_id)
  local i = 0
  return function()
    i = i + 1
    return list[i] ~= nil and M.hash(entries.read(list[i], i, backend_id)) or nil
  end
end

-- What a journal knows a batch by. list: nil for an iterator; chain: through which all of the list went, or nil.
function M.of(list, backend_id, chain)
  return { backend_id = backend_id, total = list and #list or nil, list = list,
    fingerprint = list and chain and chain() or M.fingerprint(backend_id, list and hashes_of(list, backend_id)) }
end

-- How many circuits a journal's batch has, or nil: where rows are beyond what it says, an iterator was extended, and
-- stopped before its end.
function M.total_of(total, last_slot)
  return (not total or last_slot <= total) and total or nil
end

-- ---- comparing

-- Whether the fingerprint is that of the first circuits of the list, as many as count.
local function is_prefix(identity, fingerprint, count)
  local left, next_hash = count, hashes_of(identity.list, identity.backend_id)
  return fingerprint == M.fingerprint(identity.backend_id, function()
    left = left - 1
    return left >= 0 and next_hash() or nil
  end)
end

M.ANOTHER_CIRCUIT = "the circuit, its shots, its level or its backend differs"

-- What is said of a journal of another batch. index: the first place that differs, or nil.
function M.refusal(why, index)
  local where = index and string.format("circuit %d is the first that differs: ", index) or ""
  return string.format("it belongs to another batch (other circuits, shots or backend): %s%s", where, why)
end

function M.ends_early(count) return string.format("the journal has more circuits, these are only %d", count) end
function M.is_longer(count) return string.format("the journal was made for %d; extend = true takes on more", count) end

-- The first row whose circuit is not the list's: its place and why. rows(): slot and hash, in order.
local function find_difference(identity, batch, rows)
  local next_hash, last, gap = hashes_of(identity.list, identity.backend_id), 0, nil
  for slot, hash in rows do
    local own
    if slot > last + 1 then gap = gap or last + 1 end
    while last < math.min(slot, identity.total) do own, last = next_hash(), last + 1 end
    if slot > identity.total then break end
    if own ~= hash then return slot, M.ANOTHER_CIRCUIT end
  end
  if batch.total > identity.total then return identity.total + 1, M.ends_early(identity.total) end
  return gap or last + 1, "a circuit differs that was not sent yet, here or later"
end

-- Whether a journal is of this batch: "same"; "prefix", when it was made for the first circuits of the list; or nil,
-- what is wrong, and the first place that differs, if there is one. batch: its fingerprint, backend_id and total.
function M.compare(identity, batch, rows)
  if batch.fingerprint == identity.fingerprint then return "same" end
  if batch.backend_id ~= identity.backend_id then
    return nil, string.format("its backend is %s", batch.backend_id or "named by each circuit")
  end
  local is_of_iterator = batch.fingerprint == M.fingerprint(batch.backend_id)
  if not identity.list then return nil, "it was made for a list of circuits, and these come from an iterator" end
  if is_of_iterator then return nil, "it was made for circuits from an iterator, and these are a list" end
  if not batch.total then return nil, M.ANOTHER_CIRCUIT, 1 end
  if batch.total < identity.total and is_prefix(identity, batch.fingerprint, batch.total) then return "prefix" end
  local place, why = find_difference(identity, batch, rows)
  return nil, why, place
end

return M
