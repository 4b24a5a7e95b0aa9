-- The counts of a job in chunks. Invariant: a stream that ends without an error has given every chunk once, in order.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local check = require "arvak.base.check"
local chunks = require "arvak.jobs.chunks"
local program = require "arvak.results.program"
local result = require "arvak.jobs.result"
local stream = require "arvak.streams.stream"

local M = {}

local names = program.with_circuit_names(stream.names_with "chunk_size")

local function refuse(self, flaw) return nil, chunks.flaw_error(flaw, self._target, self._job_id) end

local function on_chunk(self, counts, is_final, index, total)
  local flaw = chunks.find_flaw(self._order, is_final, index, total)
  if flaw then return refuse(self, flaw) end
  local err
  counts, err = program.read_counts(counts, self._way, self._job_id)
  if not counts then return nil, err end
  return counts, is_final, index, total
end

local advance

local function on_event(self, what, ...)
  if what == "message" then return on_chunk(self, ...) end
  local err = (...)
  if what == "end" and err then
    local goes_on
    goes_on, err = stream.retry(self, self._job_id, err)
    if goes_on then return advance(self) end
  end
  if what == "end" and not err then
    local flaw = chunks.find_flaw_at_end(self._order)
    if flaw then return refuse(self, flaw) end
    return nil
  end
  err.job_id = err.job_id or self._job_id
  local has_completed
  err, has_completed = result.refine(self._client, self._job_id, err, { metadata = self._options.metadata })
  if not has_completed or self._is_second or self._order.expected > 0 then return nil, err end
  self._is_second = true   -- it has completed since the request
  stream.close_rpc(self)
  return advance(self)
end

function advance(self)
  if self._unreadable then return nil, self._unreadable end
  local ok, err = stream.open(self, self._job_id)
  if not ok then return nil, err end
  return on_event(self, stream.receive(self))
end

-- counts (bitstring → integer, of this chunk alone), is_final, index (from 0), total. options: a chunk size (outcomes
-- in a chunk; 0, the default: the server's 1000), or a table: chunk_size, idle_timeout, timeout, metadata; circuit,
-- from which the job was made, and its optimization_level. Then a bitstring may come in several chunks.
function M.stream_results(client, job_id, options)
  local target = core.check_client(client, "stream_results")
  check.text(job_id, "job_id")
  if type(options) == "number" then options = { chunk_size = options } end
  local made
  options, made = program.take_circuit(options, "stream_results", names)
  options = stream.options(options, "stream_results", "chunk_size")
  local size = options.chunk_size
  if size ~= nil and (type(size) ~= "number" or not math.tointeger(size) or size < 0 or size > 4294967295) then
    check.misuse("chunk_size: got %s, expected an integer from 0 to 4294967295", core.describe(size))
  end
  local ok, way = program.way_of(made)
  return stream.for_loop(stream.new(client, "stream_results", advance, {
    _job_id = job_id, _options = options, _target = target, _rpc = "StreamResults", _order = chunks.new_order(),
    _way = ok and way, _unreadable = not ok and way,
  }))
end

return M
