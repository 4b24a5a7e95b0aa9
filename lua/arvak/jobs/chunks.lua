-- The counts of a job in chunks: which chunk fits, and all of them put together, for a result that no single message
-- holds. Invariant: counts are whole only when every chunk came once, in order, up to the final one.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local errors = require "arvak.base.errors"
local future = require "arvak.async.future"
local records = require "arvak.results.records"
local task = require "arvak.async.task"

local M = {}

-- ---- the order of chunks

-- What is known of the chunks so far.
function M.new_order() return { expected = 0, total = false, has_final = false } end

-- Takes note of a chunk: nil, or what does not fit.
function M.find_flaw(order, is_final, index, total)
  if index ~= order.expected then
    return string.format("chunk %d came where chunk %d was expected", index, order.expected)
  end
  if order.total and total ~= order.total then
    return string.format("the number of chunks changed from %d to %d", order.total, total)
  end
  if index >= total then return string.format("chunk %d came of only %d", index, total) end
  if is_final ~= (index == total - 1) then
    return string.format("chunk %d of %d is %s the final one", index, total, is_final and "called" or "not called")
  end
  order.expected, order.total, order.has_final = index + 1, total, is_final
end

-- What does not fit at the end, or nil.
function M.find_flaw_at_end(order)
  if order.has_final then return nil end
  return string.format("it ended after %d chunks, before the final one", order.expected)
end

function M.flaw_error(flaw, target, job_id)
  return errors.new("rpc", "the stream of results does not fit: " .. flaw,
    { rpc = "StreamResults", target = target, job_id = job_id })
end

-- ---- all of them

-- The next message: "message" and its values, "end" and an error or nil, or nil and an error.
local function receive(raw, rules, job_id)
  core.stream_read(raw)
  while true do
    local taken = table.pack(core.stream_take(raw))
    if taken[1] then return table.unpack(taken, 1, taken.n) end
    local woken, err = core.stream_wait(raw, "wait_for_job", rules.patience)
    if woken == nil then return nil, err end
    if not woken then
      return nil, errors.new("timeout", string.format("no chunk of the result within %s s",
        errors.seconds(rules.patience)),
        { scope = "call", rpc = "StreamResults", target = rules.target, job_id = job_id, elapsed = rules.patience })
    end
  end
end

local function read_all(raw, rules, job_id)
  local order, all = M.new_order(), {}
  while true do
    local what, counts_or_err, is_final, index, total = receive(raw, rules, job_id)
    if what ~= "message" then
      if counts_or_err then return nil, counts_or_err end
      local flaw = M.find_flaw_at_end(order)
      if flaw then return nil, M.flaw_error(flaw, rules.target, job_id) end
      return all
    end
    local flaw = M.find_flaw(order, is_final, index, total)
    if flaw then return nil, M.flaw_error(flaw, rules.target, job_id) end
    for bits, count in pairs(counts_or_err) do all[bits] = count end
  end
end

local Raw = { __close = function(box) core.stream_cancel(box.raw) end }

-- The result of a completed job by StreamResults: result, or nil and an error; waits. rules: patience (seconds between
-- two chunks at most) and target. The stream says no more than the counts: shots is their sum, execution_time_ms is 0
-- (unknown), metadata_json is "".
function M.fetch(client, rules, job_id, options)
  if core.is_closed(client) then return nil, errors.new("closed", "the client was closed; the job goes on") end
  local raw, err = core.stream_open(client, "stream_results", job_id, options)
  if not raw then
    err.job_id = err.job_id or job_id
    return nil, err
  end
  local box <close> = setmetatable({ raw = raw }, Raw)
  local counts
  counts, err = read_all(box.raw, rules, job_id)
  if not counts then
    err.job_id = err.job_id or job_id
    return nil, err
  end
  local shots = 0
  for _, count in pairs(counts) do shots = shots + count end
  return records.new_result { job_id = job_id, counts = counts, shots = shots, execution_time_ms = 0,
    metadata_json = "" }
end

-- The same in a task of its own: on_end(result | nil, err) is told from within the loop. What a function raised that
-- gives headers is the end of this call, and of nothing else.
function M.start(on_end, ...)
  local fetching = task.spawn_detached(M.fetch, ...)
  future.observe(fetching, { note = function()
    local result, err = fetching:result(0)
    if not result and not errors.is_error(err) then
      err = errors.new("unauthenticated", tostring(err), { cause = err, attempts = 0 })
    end
    on_end(result, err)
  end })
end

return M
