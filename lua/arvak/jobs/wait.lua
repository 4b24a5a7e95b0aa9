-- Waiting for a job in the caller, who is a task or is not: the calls and the sleeps that jobs/poll.lua wants.
-- Invariant: an error of a wait names the job, whatever it is.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local check = require "arvak.base.check"
local chunks = require "arvak.jobs.chunks"
local durations = require "arvak.jobs.durations"
local poll = require "arvak.jobs.poll"
local program = require "arvak.results.program"
local strays = require "arvak.async.strays"
local task = require "arvak.async.task"

local M = {}

-- ---- options

M.option_names = check.pick_call_options(check.call_options, {
  max_wait = true, poll_interval = true, on_progress = true,
})

-- The same, where the job may have been made from a circuit.
M.names_with_circuit = program.with_circuit_names(M.option_names)

-- Checks the options of a wait, a table of its own or nil.
function M.check_options(options, method)
  check.options(options, method, M.option_names)
  options = options or {}
  check.seconds(options.max_wait, "max_wait", true)
  check.seconds(options.poll_interval, "poll_interval", true)
  check.seconds(options.timeout, "timeout", true)
  check.seconds(options.attempt_timeout, "attempt_timeout", true)
  check.seconds(options.queue_timeout, "queue_timeout", true)
  if options.on_progress ~= nil then check.callable(options.on_progress, "on_progress") end
end

-- The rules of jobs/poll.lua for these options, and what the calls need besides: calls (options of each, or nil),
-- on_progress, and the longest timeout and queue_timeout that the client's host allows, where it allows not any.
-- target and timeout are those of the client.
function M.rules(client, target, timeout, options)
  local calls = options and check.pick_call_options(options)
  if calls and next(calls) == nil then calls = nil end
  options = options or {}
  local max_wait, longest, longest_queue = core.limit_wait(client, options.max_wait)
  return {
    target = target, interval = options.poll_interval or poll.POLL_INTERVAL,
    patience = options.timeout or timeout, max_wait = max_wait ~= math.huge and max_wait or nil,
    on_progress = options.on_progress, durations = durations.of(client), calls = calls,
    longest = longest, longest_queue = longest_queue,
  }
end

-- ---- what waits and job futures share

-- The end of a wait that begins now, or nil.
function M.end_time(rules, now) return rules.max_wait and now + rules.max_wait end

-- The options of one call: its time never reaches past the end of the wait.
function M.call_options(rules, ends_at)
  if not ends_at then return rules.calls end
  local left = math.max(ends_at - core.now(), 0.001)
  local options = rules.calls and check.pick_call_options(rules.calls) or {}
  options.timeout = math.min(options.timeout or left, left, rules.longest or left)
  options.queue_timeout = math.min(options.queue_timeout or left, left, rules.longest_queue or left)
  return options
end

function M.report_progress(rules, job)
  if not rules.on_progress then return end
  local ok, err = core.hook(rules.on_progress, job)
  if not ok then strays.add(err) end
end

-- ---- waiting

local steps = {}

function steps.look(wait, rules)
  local job, err = core.try.get_job_status(wait.client, wait.job_id, M.call_options(rules, wait._ends_at))
  if not job then return "error", err end
  if rules.on_progress then M.report_progress(rules, job) end
  return "status", job
end

function steps.fetch(wait, rules)
  local result, err = core.try.get_job_result(wait.client, wait.job_id, M.call_options(rules, wait._ends_at))
  if not result then return "error", err end
  return "result", result
end

function steps.chunks(wait, rules)
  local result, err = chunks.fetch(wait.client, rules, wait.job_id, M.call_options(rules, wait._ends_at))
  if not result then return "error", err end
  return "result", result
end

function steps.rest() return "rested" end

local function follow(wait, rules, now)
  local step, at, err = "look", poll.start(wait, rules, now), nil
  while step ~= "end" do
    local slept, canceled = true, nil
    if at > now then slept, canceled = task.pause(at - now) end
    if not slept then return nil, canceled end
    local event, value = steps[step](wait, rules)
    now = core.now()
    step, at, err = poll.decide(wait, rules, now, event, value)
  end
  return at, err
end

-- Waits for a job and fetches its result: result, or nil and an error. That the client has been closed meanwhile is an
-- outcome here, and no misuse. way: of reading it, as of program.lua, or nil. submitted_at: a time, where it is known.
function M.wait_for_job(client, target, timeout, job_id, options, way, submitted_at)
  local rules, now = M.rules(client, target, timeout, options), submitted_at or core.now()
  local wait = { client = client, job_id = job_id, _since = submitted_at, _ends_at = M.end_time(rules, now) }
  local result, err = follow(wait, rules, now)
  if result then result, err = program.read(result, way) end
  if result then return result end
  err.job_id = err.job_id or job_id
  err.target = err.target or target
  return nil, err
end

return M
