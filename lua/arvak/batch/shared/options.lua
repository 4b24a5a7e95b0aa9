-- The options of a batch that need a journal, or one that is shared, checked.
-- Invariant: an option that would do nothing is a mistake, and no message shows a password.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local check = require "arvak.base.check"
local dsn = require "arvak.base.dsn"

local M = {}

local SHORTEST_LEASE, LONGEST_LEASE = 0.5, 86400.0
local LONGEST_NAME = 200   -- bytes

M.names = { lease = true, reconnect = true, share = true }

local function check_lease(lease)
  check.seconds(lease, "lease", true)
  if lease and (lease < SHORTEST_LEASE or lease > LONGEST_LEASE) then
    check.misuse("lease: got %s, expected a number of seconds from %s to %s", core.describe(lease), SHORTEST_LEASE,
      LONGEST_LEASE)
  end
end

-- The name of a shared batch, parsed; what: of the argument.
function M.check_name(text, what)
  local name, problem = dsn.parse(text)
  if not name then check.misuse("%s: got a name of a database that cannot be read: %s", what, problem) end
  local batch = name.batch
  if batch and (batch == "" or #batch > LONGEST_NAME or (utf8 and not utf8.len(batch))) then
    check.misuse("%s: got batch=%s, expected 1 to %d bytes of UTF-8", what, core.describe(batch), LONGEST_NAME)
  end
  return name
end

-- Whether these options name a batch that is shared.
function M.is_shared(options) return options.journal ~= nil and dsn.is_name(options.journal) end

function M.check(options)
  if M.is_shared(options) then
    M.check_name(options.journal, "journal")
    check_lease(options.lease)
    check.seconds(options.reconnect, "reconnect", false)
    if options.share ~= nil and options.share ~= "all" and options.share ~= "mine" then
      check.misuse('share: got %s, expected "all" or "mine"', core.describe(options.share))
    end
    return
  end
  for name in pairs(M.names) do
    if options[name] ~= nil then check.misuse("%s: needs a journal in PostgreSQL (postgresql://...)", name) end
  end
  if options.extend and options.journal == nil then check.misuse("extend: needs a journal, which it takes on") end
end

return M
