-- The subcommands by name: each is a function of the options that gives the exit code, or raises.
-- SPDX-License-Identifier: Apache-2.0
local batch = require "arvak.command.batch"
local jobs = require "arvak.command.jobs"
local journal = require "arvak.command.journal"
local ledger = require "arvak.command.ledger"
local look = require "arvak.command.look"
local report = require "arvak.command.report"
local run = require "arvak.command.run"
local shell = require "arvak.command.shell"

return {
  run = run.run, submit = run.submit,
  status = jobs.status, result = jobs.result, watch = jobs.watch, cancel = jobs.cancel, backends = jobs.backends,
  batch = batch.batch, journal = journal.journal, report = report.report, jobs = ledger.jobs,
  check = look.check, draw = look.draw, convert = look.convert,
  serve = shell.serve, completion = shell.completion, manual = shell.manual,
}
