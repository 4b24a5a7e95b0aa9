-- arvak journal: what stands in the journal of a batch.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local database = require "arvak.command.database"
local ends = require "arvak.command.ends"
local out = require "arvak.command.out"

local M = {}

-- Opens the journal; ends the command when it cannot be read.
function M.open(path)
  database.check(path, "<name>")
  local journal, err = arvak.journal(path)
  if not journal then ends.fail(err) end
  return journal
end

local function message_of(item) return item.err and item.err.message end

local printers = {}

function printers.json(items)
  for item in items do
    out.line("index", item.index, "id", item.id, "state", item.state, "job_id", item.job_id, "attempts", item.attempts,
      "sent_at", item.sent_at, "ended_at", item.ended_at, "shots", item.result and item.result.shots,
      "counts", item.result and out.counts(item.result), "error", out.error(item.err))
  end
end

function printers.csv(items)
  out.csv { "index", "id", "state", "job_id", "attempts", "sent_at", "ended_at", "error", "message" }
  for item in items do
    out.csv({ item.index, item.id, item.state, item.job_id, item.attempts, item.sent_at, item.ended_at,
      item.err and item.err.kind, message_of(item) }, 9)
  end
end

function printers.table(items)
  local rows = {}
  for item in items do
    rows[#rows + 1] = { tostring(item.index), item.id and tostring(item.id) or false, item.state, item.job_id or false,
      tostring(item.attempts or 0), message_of(item) or false }
  end
  out.table({ "index", "id", "state", "job", "attempts", "message" }, rows)
end

local states = { "completed", "failed", "submitted", "intent", "unknown", "not sent" }

-- How many in each state, and as counts["not sent"] those that the journal has no line of: not yet sent, or refused
-- before.
function M.counts(journal)
  local counts, known = journal:counts(), 0
  for _, count in pairs(counts) do known = known + count end
  counts["not sent"] = math.max(0, (journal.total or known) - known)
  return counts
end

local function summary(journal)
  local counts, parts = M.counts(journal), {}
  for _, state in ipairs(states) do
    if (counts[state] or 0) > 0 then parts[#parts + 1] = ("%d %s"):format(counts[state], state) end
  end
  return ("%s circuits: %s"):format(journal.total and tostring(journal.total) or "an unknown number of",
    #parts > 0 and table.concat(parts, ", ") or "none sent")
end

function M.journal(options)
  local journal <close> = M.open(options.file)
  printers[options.format](journal:items(options.state))
  out.flush()
  if options.format == "table" then out.note(summary(journal)) end
  return ends.codes.ok
end

return M
