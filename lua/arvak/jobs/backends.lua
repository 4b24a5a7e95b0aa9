-- Which backends a server has, for the message about one that it does not have.
-- Invariant: a client asks for them only after a backend was not found, once a minute at most, and briefly; an error
-- that cannot be explained stays as it is.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local detached = require "arvak.async.detached"

local M = {}

local FRESH, PATIENCE = 60.0, 2.0   -- seconds: a list is good for, and is waited for

local known = setmetatable({}, { __mode = "k" })   -- client → names (false: could not be had) and at, a time

local call_options = { timeout = PATIENCE, queue_timeout = PATIENCE, retry = false }

local function is_fresh(list) return list and core.now() - list.at <= FRESH end

local function note(client, backends)
  local names = {}
  for i, backend in ipairs(backends or {}) do names[i] = backend.backend_id end
  known[client] = { names = backends and names or false, at = core.now() }
end

local function is_unexplained(err) return err.kind == "backend_not_found" and not err.backends end

local function add_names(err, names)
  if not names then return err end
  err.backends = table.move(names, 1, #names, 1, {})
  local list = #names > 0 and "the server has " .. table.concat(names, ", ") or "the server has none"
  err.message = string.format("%s (%s)", err.message or err.kind, list)
  return err
end

-- What a method gave; where that is a failure because of the backend's name, err.backends and the message say which
-- there are. Waits for the list.
function M.explain(client, value, err)
  if value ~= nil or err == nil then return value end
  if not is_unexplained(err) then return nil, err end
  if not is_fresh(known[client]) then
    note(client, not core.is_closed(client) and core.try.list_backends(client, call_options))
  end
  return nil, add_names(err, known[client].names)
end

-- ---- without a wait

local asking = setmetatable({}, { __mode = "k" })   -- client → what is told, in turn, once its list has come

-- The same for the future f of a job, whose submit has failed: on_end(f, nil, err) is told, now or when the list has
-- come. Of many that fail at once, one asks.
function M.explain_later(f, client, err, on_end)
  if not is_unexplained(err) or core.is_closed(client) then return on_end(f, nil, err) end
  if is_fresh(known[client]) then return on_end(f, nil, add_names(err, known[client].names)) end
  local told = asking[client]
  if told then
    told[#told + 1] = { f, err, on_end }
    return
  end
  told = { { f, err, on_end } }
  asking[client] = told
  detached.go_on(f, function(_, backends)
    note(client, backends)
    asking[client] = nil
    for _, one in ipairs(told) do one[3](one[1], nil, add_names(one[2], known[client].names)) end
  end, "list_backends", client, call_options)
end

return M
