-- Which backends a server has, for the message about one that it does not have.
-- Invariant: a client asks for them only after a backend was not found, once a minute at most, and briefly; an error
-- that cannot be explained stays as it is.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"

local M = {}

local FRESH, PATIENCE = 60.0, 2.0   -- seconds: a list is good for, and is waited for

local known = setmetatable({}, { __mode = "k" })   -- client → names (false: could not be had) and at, a time

local function ask(client)
  if core.is_closed(client) then return false end
  local backends = core.try.list_backends(client, { timeout = PATIENCE, queue_timeout = PATIENCE, retry = false })
  if not backends then return false end
  local names = {}
  for i, backend in ipairs(backends) do names[i] = backend.backend_id end
  return names
end

local function names_of(client)
  local list = known[client]
  if not list or core.now() - list.at > FRESH then
    list = { names = ask(client), at = core.now() }
    known[client] = list
  end
  return list.names
end

-- What a method gave; where that is a failure because of the backend's name, err.backends and the message say which
-- there are. Waits for the list.
function M.explain(client, value, err)
  if value ~= nil or err == nil then return value end
  if err.kind ~= "backend_not_found" or err.backends then return nil, err end
  local names = names_of(client)
  if not names then return nil, err end
  err.backends = table.move(names, 1, #names, 1, {})
  local list = #names > 0 and "the server has " .. table.concat(names, ", ") or "the server has none"
  err.message = string.format("%s (%s)", err.message or err.kind, list)
  return nil, err
end

return M
