-- How far a batch is, for people. Invariant: completed, failed, running and pending are disjoint, and their sum is the
-- total once that is known.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"

local M = {}

M.INTERVAL = 0.1   -- seconds between two reports

-- counts: total (nil while an iterator goes on), drawn, completed, failed, kept (those of them that an earlier run has
-- left, which say nothing about how fast this one is), running, started_at, trouble (what keeps it from its end, or
-- nil); of a shared batch workers, how many programs live, and mine, how many ends are this one's.
function M.of(counts)
  local total, finished = counts.total, counts.completed + counts.failed
  local elapsed = core.now() - counts.started_at
  local throughput = elapsed > 0 and (finished - (counts.kept or 0)) / elapsed or 0.0
  local eta
  if total and finished >= total then
    eta = 0.0
  elseif total and throughput > 0 then
    eta = (total - finished) / throughput
  end
  return {
    total = total, completed = counts.completed, failed = counts.failed, running = counts.running,
    pending = (total or counts.drawn) - finished - counts.running,
    percent_complete = total and (total > 0 and 100.0 * finished / total or 100.0) or nil,
    elapsed_time = elapsed, throughput = throughput, eta = eta,
    success_rate = finished > 0 and 100.0 * counts.completed / finished or 0.0,
    is_complete = total ~= nil and finished >= total, trouble = counts.trouble, workers = counts.workers,
    mine = counts.mine,
  }
end

return M
