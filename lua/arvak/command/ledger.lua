-- arvak jobs, and the ledger in which the command notes what it submits.
-- Invariant: a ledger that cannot be kept makes no command fail, and none wait for more than PATIENCE.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local database = require "arvak.command.database"
local ends = require "arvak.command.ends"
local out = require "arvak.command.out"
local system = require "arvak.command.system"

local M = {}

-- ---- where it is

local function env(name)
  local value = os.getenv(name)
  return value ~= "" and value or nil
end

-- The folder of the default ledger, or nil where nothing says where it is. A relative $XDG_STATE_HOME does not count.
local function default_folder()
  local states, home = env "XDG_STATE_HOME", env "HOME"
  if states and states:find "^/" then return states .. "/arvak" end
  return home and home .. "/.local/state/arvak" or nil
end

local function exists(path)
  local file = io.open(path, "rb")
  if file then file:close() end
  return file ~= nil
end

-- The default ledger, whose folder is made when it is missing; nil where there can be none.
function M.default()
  local folder = default_folder()
  if not folder then return nil end
  local path = folder .. "/jobs.db"
  if exists(path) then return path end
  return system.succeeds("mkdir -p -m 700 -- " .. system.word(folder) .. " 2>/dev/null") and path or nil
end

local function has_store() return (ends.try(require, "arvak.store.sqlite")) end

-- Options of a client with which its jobs are noted, where that is possible.
function M.note_in_default(options)
  local path = has_store() and M.default()
  if path then options.ledger = path end
end

local PATIENCE = 10   -- seconds, which only a disk or a database that does not answer takes

-- Waits until the notes of closed clients are written. The end of a program would give them 50 ms, which is too little
-- for a busy machine or a slow disk.
function M.rest()
  local ends_at = os.time() + PATIENCE
  while arvak.poll() and os.time() < ends_at do arvak.poll(0.05) end   -- which waits, whether for something or not
end

-- ---- arvak jobs

local function moment(seconds) return os.date("!%Y-%m-%dT%H:%M:%SZ", math.floor(seconds)) end

local printers = {}

function printers.json(items)
  for item in items do
    out.line("job_id", item.job_id, "state", item.state, "label", item.label, "backend", item.backend_id, "shots",
      item.shots, "submitted_at", item.submitted_at, "seen_at", item.seen_at, "address", item.address)
  end
end

function printers.csv(items)
  out.csv { "job_id", "state", "label", "backend", "shots", "submitted_at", "seen_at", "address" }
  for item in items do
    out.csv({ item.job_id, item.state, item.label, item.backend_id, item.shots, item.submitted_at, item.seen_at,
      item.address }, 8)
  end
end

function printers.table(items)
  local rows = {}
  for item in items do
    rows[#rows + 1] = { item.job_id, item.state, item.label or false, item.backend_id or false, tostring(item.shots),
      moment(item.submitted_at), item.address }
  end
  if #rows > 0 then out.table({ "job", "state", "label", "backend", "shots", "submitted", "address" }, rows) end
end

-- The first so many of an iterator; 0: all. Whether it went on is told by the second function.
local function first(items, limit)
  if limit == 0 then return items, function() return false end end
  local count = 0
  local function next_item()
    if count == limit then return nil end
    count = count + 1
    return items()
  end
  return next_item, function() return count == limit and items() ~= nil end
end

local function is_empty(path)
  local file <close> = io.open(path, "rb")
  return not file or file:seek "end" == 0
end

-- The default ledger, if there is one; a command that could send nothing leaves an empty file.
local function find_default()
  local folder = default_folder()
  if not folder then ends.usage "--ledger: neither $XDG_STATE_HOME nor $HOME says where the ledger is" end
  local path = folder .. "/jobs.db"
  return not is_empty(path) and path or nil
end

function M.jobs(options)
  local name = options.ledger or find_default()
  if options.ledger then database.check(name, "--ledger") end
  if not name then
    printers[options.format](function() end)
    out.note(has_store() and "No job was submitted from here yet."
      or "No job is noted, since arvak was built without SQLite: install libsqlite3-dev, build and install it again.")
    return ends.codes.ok
  end
  local ledger, err = arvak.ledger(name)
  if not ledger then ends.fail(err) end
  local items = ledger:items { label = options.label, state = options.state and options.state:upper(),
    backend_id = options.backend, since = options.since }
  local some, goes_on = first(items, options.limit)
  printers[options.format](some)
  if goes_on() then out.note("Only the newest %d; --limit 0 prints all.", options.limit) end
  ledger:close()
  return ends.codes.ok
end

return M
