-- arvak batch: many circuits, with a journal that the same command goes on with.
-- Invariant: however it ends, whoever gave a journal is told the command that goes on, and no output claims more than
-- has ended.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local database = require "arvak.command.database"
local ends = require "arvak.command.ends"
local out = require "arvak.command.out"
local source = require "arvak.command.source"
local system = require "arvak.command.system"
local where = require "arvak.command.where"

local M = {}

local SHOWN_FAILURES = 3

-- ---- the command that goes on

local function escape(character) return ("\\%03o"):format(character:byte()) end

-- As a shell reads it; in one line, and with nothing that a terminal would act upon.
local function quote(word)
  if word:find "^[%w_./:=,@%%+-]+$" then return word end
  if word:find "%c" then return "$'" .. word:gsub("[%c\\']", escape) .. "'" end
  return system.word(word)
end

local function same_command(arguments)
  local words = { "arvak" }
  for _, word in ipairs(arguments) do words[#words + 1] = quote(word) end
  return table.concat(words, " ")
end

local function tell_how_to_go_on(options)
  if options.journal then
    io.stderr:write("What has ended is in ", quote(options.journal), ". To go on:\n  ",
      same_command(options.arguments), "\n")
  else
    io.stderr:write("Without a journal it begins anew; with --journal it could go on.\n")
  end
end

-- ---- the output

-- A line of CSV for each outcome, one for each circuit without any.
local function csv_writer()
  out.csv { "id", "job_id", "bitstring", "count", "shots", "error", "message" }
  return function(item)
    local result, err = item.result, item.err
    if result then
      for bits, count in result:pairs() do out.csv({ item.id, item.job_id, bits, count, result.shots }, 7) end
    else
      out.csv({ item.id, item.job_id, nil, nil, nil, err.kind, err.message }, 7)
    end
  end
end

local function json_writer()
  return function(item)
    local result = item.result
    out.line("id", item.id, "index", item.index, "job_id", item.job_id, "attempts", item.attempts, "shots",
      result and result.shots, "counts", result and out.counts(result), "error", out.error(item.err))
  end
end

local writers = { csv = csv_writer, json = json_writer }

local function print_items(r, options)
  local write = writers[options.format]()
  for _, item in ipairs(r.items) do write(item) end
end

-- ---- the end

-- How many failed of which nobody knows whether the server has made a job.
local function count_unknown(r)
  local count = 0
  for _, failure in ipairs(r.failures) do
    if failure.err.maybe_executed and not failure.job_id then count = count + 1 end
  end
  return count
end

local function exit_code(r)
  if r.err and r.err.kind ~= "timeout" then return ends.code_of(r.err) end
  if r.err then return ends.codes.pending end
  local code = ends.codes.ok
  for _, failure in ipairs(r.failures) do code = ends.join(code, ends.code_of(failure.err)) end
  return code
end

local function tell_failures(r)
  local count = 0
  for _, failure in ipairs(r.failures) do
    if not (r.err and r.err.kind == failure.err.kind) then   -- the reason why the batch stopped is told once
      count = count + 1
      if count <= SHOWN_FAILURES then
        out.complain(out.printable(tostring(failure.id)) .. ": " .. ends.in_options(tostring(failure.err)))
      end
    end
  end
  if count > SHOWN_FAILURES then out.complain(("and %d more"):format(count - SHOWN_FAILURES)) end
end

local function tell_how_to_retry(r, options)
  if not options.journal then return end
  local unknown = count_unknown(r)
  if unknown > 0 then
    out.note("Of %d nobody knows whether they were submitted. To submit them once more, %s.", unknown,
      database.is_postgres(options.journal) and "run those circuits with another batch= in the name of the journal"
        or "add --on-unknown resubmit to the same command")
  end
  if options.retry_failed or unknown == r.failure_count then return end
  out.note("To run what failed once more, add --retry-failed to the same command.")
end

local function tell_end(r, options)
  out.note("%d of %d circuits completed, %d failed", r.success_count, r.total_count, r.failure_count)
  if r.failure_count == 0 and not r.err then return end
  tell_failures(r)
  if r.err then
    out.complain("stopped: " .. ends.in_options(tostring(r.err)))
    if #r.items > 0 then tell_how_to_go_on(options) end   -- else the journal was refused, and would be again
  else
    tell_how_to_retry(r, options)
  end
end

-- ---- running

local function batch_options(options)
  return { journal = options.journal, transport = options.transport, on_unknown = options.on_unknown,
    timeout = options.max_wait, extend = options.extend, label = options.label,
    progress_callback = not out.is_quiet() and arvak.print_progress_bar or nil }
end

local function execute(client, inputs, backend, options)
  local manager = arvak.batch_manager(client, { max_workers = options.workers })
  local r, err = manager:execute_batch(inputs, backend, batch_options(options))
  if not r then return nil, err end
  local kept = options.on_unknown == "resubmit" and 0 or count_unknown(r)   -- these are failed again, and not run
  if options.retry_failed and r.failure_count > kept and not r.err then return r:retry_failed() end
  return r, err
end

local function check_journal(options)
  if not options.journal then
    if options.extend then ends.usage "--extend: there is no --journal that could be extended" end
    return
  end
  database.check(options.journal, "--journal")
  if not database.is_postgres(options.journal) then database.check_folder(options.journal) end
end

-- Whether the journal has an end for each of so many circuits, so that no server is needed.
local function is_done(options, count)
  local journal = options.journal and arvak.journal(options.journal)
  if not journal then return false end
  local counts = journal:counts()
  journal:close()
  return counts.completed + (options.retry_failed and 0 or counts.failed) >= count
end

-- ---- a plan

-- Whether a journal cannot be read since the batch would make it. Of a file the library gives nothing but a text. A
-- database whose socket is missing "cannot be opened", with the same end, and is not new.
local function is_new(err)
  local message = tostring(err.message)
  return err.is_missing or message:find "cannot be read: No such file or directory$"
    or message:find ": it holds no batch$"
end

local function fresh_plan(inputs)
  return { total = #inputs, kept = 0, followed = 0, to_send = #inputs, unknown = 0, invalid = 0 }
end

-- What the journal lets the batch do, and how many of what is kept have failed.
local function make_plan(inputs, backend, options)
  local journal, err
  if options.journal then journal, err = arvak.journal(options.journal) end
  if err and not is_new(err) then ends.fail(err) end
  if err and not database.is_postgres(options.journal) then database.check_new(options.journal) end
  if not journal then return fresh_plan(inputs), 0 end
  local plan
  plan, err = journal:plan(inputs, backend, { on_unknown = options.on_unknown, extend = options.extend })
  local failed = journal:counts().failed
  journal:close()
  if not plan then ends.fail(err) end
  return plan, failed
end

-- 1,940
local function grouped(count)
  local digits = ("%d"):format(count)
  return (digits:reverse():gsub("(%d%d%d)", "%1,"):reverse():gsub("^,", ""))
end

local function print_plan_text(plan, id, failed, options)
  local line = ("%s kept, %s followed, %s to send, %s unknown"):format(grouped(plan.kept), grouped(plan.followed),
    grouped(plan.to_send), grouped(plan.unknown))
  if plan.invalid > 0 then line = line .. (", %s invalid"):format(grouped(plan.invalid)) end
  if options.retry_failed and failed > 0 then line = line .. ("; %s failed, once more"):format(grouped(failed)) end
  out.write(line, "\n")
  local differs = plan.differs
  if not differs then return end
  local name = id and " (" .. out.printable(id) .. ")" or ""
  local place = differs.index and ("circuit %d%s: "):format(differs.index, name) or ""
  out.write("The batch would be refused: ", place, ends.in_options(differs.why), "\n")
end

local function print_plan(inputs, backend, options)
  local plan, failed = make_plan(inputs, backend, options)
  local differs = plan.differs
  local input = differs and differs.index and inputs[differs.index]
  local id = input and input.id
  if options.format == "json" then
    out.line("total", plan.total, "kept", plan.kept, "followed", plan.followed, "to_send", plan.to_send, "unknown",
      plan.unknown, "invalid", plan.invalid, "failed", failed, "differs",
      differs and out.raw(out.object(table.pack("index", differs.index, "id", id, "message", differs.why))) or nil)
  else
    print_plan_text(plan, id, failed, options)
  end
  return differs and ends.codes.failed or ends.codes.ok
end

-- ---- the subcommand

function M.batch(options)
  local settings = where.settings(options)
  check_journal(options)
  local inputs = source.inputs(options, settings.shots)
  if options.dry_run then return print_plan(inputs, settings.backend, options) end
  local client <close> = where.connect(settings, true)
  if not is_done(options, #inputs) then where.reach(client, settings, options.max_wait) end
  local ok, r, err = ends.steadily(execute, client, inputs, settings.backend, options)
  if not ok then
    if ends.is_interrupt(r) then tell_how_to_go_on(options) end
    error(r, 0)
  end
  if not r then ends.fail(err) end
  print_items(r, options)
  out.flush()
  tell_end(r, options)
  return exit_code(r)
end

return M
