-- arvak run, submit: circuits in files, each a job of its own.
-- Invariant: every file is read and understood before the first is sent; an interrupt cancels what run has submitted.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local ends = require "arvak.command.ends"
local out = require "arvak.command.out"
local results = require "arvak.command.results"
local source = require "arvak.command.source"
local where = require "arvak.command.where"

local M = {}

-- Submits the circuits; futures: the list that gets their futures.
local function submit_all(futures, client, circuits, settings, options)
  for i, circuit in ipairs(circuits) do
    futures[i] = client:submit_qasm_future(circuit, settings.backend, { shots = settings.shots,
      optimization_level = options.optimization, max_wait = options.max_wait, label = options.label })
  end
end

local function print_all(futures, options)
  local printer = results.printer(options.format, "file", #futures == 1)
  for i, future in ipairs(futures) do
    local result, err = future:result()
    printer:add(options.file[i], future.job_id, result, err)
  end
  return printer:exit_code()
end

local PATIENCE = 5   -- seconds in which the server has to hear of it

-- What is still running ends with the command: nobody will ask for it. All are canceled at once, since one answer may
-- take long. A future that was canceled has ended before the server has been told.
local function cancel_all(futures)
  for _, future in ipairs(futures) do
    if not future:done() then arvak.spawn(pcall, future.cancel, future) end
  end
  local deadline = os.time() + PATIENCE
  repeat
    local ok, goes_on = pcall(arvak.poll, 0.1)   -- it raises what nobody else is told
  until ok and not goes_on or os.time() >= deadline
end

local function run(client, circuits, settings, options)
  local futures = {}
  local ok, code = pcall(function()
    submit_all(futures, client, circuits, settings, options)
    return print_all(futures, options)
  end)
  if ok then return code end
  cancel_all(futures)
  error(code, 0)
end

function M.run(options)
  local settings = where.settings(options)
  local circuits = source.all(options.file, options.param)
  local client <close> = where.connect(settings, true)
  local ok, code = ends.steadily(run, client, circuits, settings, options)
  if not ok then error(code, 0) end
  return code
end

local function print_job(options, path, job_id, err)
  if options.format == "json" then
    out.line("file", path, "job_id", job_id, "error", out.error(err))
  elseif job_id then
    out.write(job_id, "\n")
  else
    out.complain(out.printable(path) .. ": " .. tostring(err))
  end
  out.flush()
end

function M.submit(options)
  local settings = where.settings(options)
  if settings.address == "embedded" then
    ends.usage "submit: the jobs of an embedded server end with this process: give the address of a server, or use run"
  end
  local circuits = source.all(options.file, options.param)
  local client <close> = where.connect(settings, true)
  local code = ends.codes.ok
  for i, circuit in ipairs(circuits) do
    local job_id, err = client:submit_qasm(circuit, settings.backend, { shots = settings.shots,
      optimization_level = options.optimization, label = options.label })
    print_job(options, options.file[i], job_id, err)
    if err then code = ends.join(code, ends.code_of(err)) end
  end
  return code
end

return M
