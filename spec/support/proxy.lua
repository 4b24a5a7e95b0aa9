-- A proxy in front of a cluster (proxy.c), which breaks connections where a spec asks it to:
--   local p = proxy.start(cluster)           -- on 127.0.0.1; { unix = true }: on a socket beside the cluster's own
--   store.open(bell, p:name("lab"), …)
--   p:arm("answer", 7, "cut", "COMMIT")      -- the client gets 7 bytes of the answer after the word, and no more
--   p:arm("request", 0, "part", "COMMIT")    -- the server waits for the rest; p:deliver() gives it, late
--   p:stall() … p:resume(), p:cut(), p:refuse() … p:listen(), p:stats(), p:stop()
-- SPDX-License-Identifier: Apache-2.0
local build = os.getenv("ARVAK_BUILD") or "build"
local bind = assert(package.loadlib(build .. "/test/proxy.so", "luaopen_proxy"))()

local M = {}
local Proxy = {}

function Proxy.__index(_, key)
  return Proxy[key] or function(self, ...) return self.bound[key](self.bound, ...) end
end

-- The name of a database of the cluster behind, by way of the proxy.
function Proxy:name(database, more)
  local host, port = self.bound:where()
  local parameters = { host = port and host or self.cluster.folder, port = port or self.number }
  for name, value in pairs(more or {}) do parameters[name] = value end
  return self.cluster:name(database, parameters)
end

local numbers = 5432

function M.start(cluster, options)
  numbers = numbers + 1
  local path = options and options.unix and ("%s/.s.PGSQL.%d"):format(cluster.folder, numbers) or nil
  return setmetatable({ bound = bind(cluster:path(), path), cluster = cluster, number = numbers }, Proxy)
end

return M
