-- A real PostgreSQL for specs: a cluster of Debian's packages in a temporary folder, on a unix socket, and for TLS on a
-- free port of 127.0.0.1 as well. The server is a child of this process and is told to quit when this process ends,
-- however it ends, so nothing is left running after a spec that fails or is killed; the folder that such a spec leaves
-- is removed when the next cluster starts. Started by root, it runs as an ordinary user, since PostgreSQL refuses root.
--   local c = cluster.start({ fsync = true, settings = { max_connections = 20 } })
--   c:sql("CREATE TABLE t (k int)")  ...  c:restart("immediate")  ...  c:remove()
-- SPDX-License-Identifier: Apache-2.0
local socket = require "socket"

local M = {}
local Cluster = {}
Cluster.__index = Cluster

local START_TIMEOUT = 60.0   -- seconds; a server that recovers on a busy machine takes some
local SIGNALS = { smart = "TERM", fast = "INT", immediate = "QUIT" }
local PORT = 5432            -- only a part of the socket's name, where there is no TCP
local PORTS_TRIED = 5        -- a free port may be taken before the server has it
local FOLDERS = (os.getenv("TEST_CLUSTERS") or os.getenv("TMPDIR") or "/tmp") .. "/arvak-cluster-"

local function quote(text) return "'" .. text:gsub("'", "'\\''") .. "'" end

-- What a command writes, with both of its outputs; nil and the same where it fails.
local function read(command)
  local pipe = assert(io.popen("{ " .. command .. "; } 2>&1 </dev/null"))
  local output = pipe:read("a"):gsub("%s+$", "")
  if pipe:close() then return output end
  return nil, output
end

local function must(command)
  local output, err = read(command)
  if not output then error(("%s: %s"):format(command, err), 2) end
  return output
end

-- The newest PostgreSQL that is installed.
local function find_programs()
  local newest, folder = -1, nil
  for line in must("ls -d /usr/lib/postgresql/*/bin; :"):gmatch("%S+") do
    local version = tonumber(line:match("^/usr/lib/postgresql/([%d.]+)/bin$"))
    if version and version > newest then newest, folder = version, line end
  end
  return assert(folder or read("pg_config --bindir"), "no PostgreSQL here: the Debian package is postgresql")
end

-- How a program is run as somebody who may run PostgreSQL: what stands before its name, and who that is.
local function find_user()
  if must("id -u") ~= "0" then return "", nil end
  local user = read("id -un postgres") or "nobody"
  return ("setpriv --reuid=%s --regid=%s --clear-groups "):format(user, must("id -gn " .. user)), user
end

local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

local function read_file(path)
  local file = io.open(path)
  local text = file and file:read("a")
  if file then file:close() end
  return text
end

-- Of a process: its id, state, start and parent. Without such a process: nothing.
local function stat_of(pid)
  local id, rest = (read_file(("/proc/%s/stat"):format(pid)) or ""):match("^(%d+) .*%) (.*)$")
  local fields = {}
  for field in (rest or ""):gmatch("%S+") do fields[#fields + 1] = field end
  return id, fields[1], fields[20], fields[2]
end

-- Whether a process has ended, even if nobody has waited for it: in a container there may be nobody who does.
function M.is_over(pid)
  local id, state = stat_of(pid)
  return not id or state == "Z"
end

-- A server that was frozen when its program was killed has not heard that it is to quit. The owner's name goes last, so
-- that what cannot be removed yet is found again.
local function remove_dead(folder)
  local pid = (read_file(folder .. "/data/postmaster.pid") or ""):match("^%d+")
  local command = pid and read_file(("/proc/%s/cmdline"):format(pid))
  if command and command:find(folder, 1, true) then setmetatable({ pid = pid }, Cluster):resume() end
  read(("rm -rf %s && rm -rf %s"):format(quote(folder .. "/data"), quote(folder)))
end

-- A folder of our own, with the name of its owner: a process's namespace, its id there, and when it began. No folder is
-- removed whose owner lives, or is of another namespace, where nobody can tell; or has not written its name yet.
local function make_folder()
  local namespace = must("readlink /proc/self/ns/pid")
  for path in must(("ls -d %s*/owner 2>/dev/null; :"):format(quote(FOLDERS))):gmatch("[^\n]+") do
    local of, pid, start = (read_file(path) or ""):match("^(%S+) (%d+) (%d+)\n$")
    if of == namespace and (M.is_over(pid) or select(3, stat_of(pid)) ~= start) then
      remove_dead(path:match("^(.*)/owner$"))
    end
  end
  local folder = must("mktemp -d " .. quote(FOLDERS .. "XXXXXX"))
  local pid, _, start = stat_of("self")
  write(folder .. "/owner", ("%s %s %s\n"):format(namespace, pid, start))
  return folder
end

local function free_port()
  local listener = assert(socket.bind("127.0.0.1", 0))
  local _, port = listener:getsockname()
  listener:close()
  return math.tointeger(port) or math.tointeger(tonumber(port))
end

local function settings_of(folder, options)
  local all = {
    listen_addresses = "", unix_socket_directories = folder, shared_buffers = "16MB", lc_messages = "C",
    fsync = options.fsync and "on" or "off", full_page_writes = options.fsync and "on" or "off",
    logging_collector = "off", max_connections = 60,
  }
  if options.tls then
    all.listen_addresses, all.ssl, all.ssl_cert_file, all.ssl_key_file = "127.0.0.1", "on", "cert.pem", "key.pem"
  end
  for name, value in pairs(options.settings or {}) do all[name] = value end
  local lines = {}
  for name, value in pairs(all) do lines[#lines + 1] = ("%s = '%s'\n"):format(name, value) end
  return table.concat(lines)
end

-- Makes a cluster and starts it. options: fsync (false), settings (a table for postgresql.conf), tls (paths of cert and
-- key). Everybody may come in without a password, but for the user "locked".
function M.start(options)
  options = options or {}
  local prefix, user = find_user()
  local self = setmetatable({ programs = find_programs(), prefix = prefix }, Cluster)
  self.folder = make_folder()
  self.data = self.folder .. "/data"
  if user then must(("chown %s %s"):format(user, self.folder)) end
  must(("cd %s && %s%s/initdb -N -A trust -U arvak -E UTF8 --no-locale --wal-segsize=1 -D %s"):format(
    self.folder, prefix, self.programs, self.data))
  write(self.data .. "/postgresql.conf", settings_of(self.folder, options))
  write(self.data .. "/pg_hba.conf",
    "local all locked scram-sha-256\nlocal all all trust\nhostssl all all all trust\n")
  if options.tls then
    for kind, path in pairs(options.tls) do
      must(("install -m 600 %s %s %s/%s.pem"):format(user and "-o " .. user or "", path, self.data, kind))
    end
  end
  for attempt = 1, options.tls and PORTS_TRIED or 1 do
    self.port = options.tls and free_port() or PORT
    local ok, err = pcall(self.launch, self)
    if ok then return self end
    if attempt == PORTS_TRIED or not options.tls then error(err, 0) end
  end
end

-- The status line of the server's own file, which says when it takes connections.
local function status_of(self)
  local file = io.open(self.data .. "/postmaster.pid")
  if not file then return nil end
  local lines = {}
  for line in file:lines() do lines[#lines + 1] = line end
  file:close()
  return lines[8] and lines[8]:match("%S+")
end

function Cluster:log()
  return assert(read_file(self.folder .. "/log"))
end

-- A program that ends without having stopped the server waits for it, in the finalizer of the pipe. This one is called
-- before, as it is made later.
local function guard(pid)
  return setmetatable({}, { __gc = function() os.execute(("kill -CONT %s; kill -QUIT %s"):format(pid, pid)) end })
end

-- Starts the server of a cluster that was stopped, and waits until it takes connections.
function Cluster:launch()
  assert(not self.process, "the cluster runs already")
  os.remove(self.data .. "/postmaster.pid")
  self.process = assert(io.popen(
    ("cd %s && echo $$ && exec %ssetpriv --pdeathsig=QUIT %s/postgres -D %s -p %d </dev/null >>%s/log 2>&1"):format(
      self.folder, self.prefix, self.programs, self.data, self.port, self.folder)))
  self.pid = self.process:read("l")
  self.guard = guard(self.pid)
  local deadline = socket.gettime() + START_TIMEOUT
  repeat
    local status = status_of(self)
    if status == "ready" or status == "standby" then return self end
    socket.sleep(0.02)
  until M.is_over(self.pid) or socket.gettime() > deadline
  self:stop("immediate")
  error("the cluster does not start: " .. self:log())
end

-- Ends the server: "fast" (the default) ends sessions, "immediate" dies as in a crash, "smart" waits for sessions.
function Cluster:stop(mode)
  if not self.process then return end
  os.execute(("kill -%s %s 2>/dev/null"):format(assert(SIGNALS[mode or "fast"]), self.pid))
  self.process:close()
  setmetatable(self.guard, nil)
  self.process, self.guard = nil, nil
end

-- The ids of the server's processes but its first.
function Cluster:children()
  local ids = {}
  for pid in must("cd /proc && echo [0-9]*"):gmatch("%d+") do
    local id, _, _, parent = stat_of(pid)
    if parent == self.pid then ids[#ids + 1] = id end
  end
  return ids
end

-- A server that no longer does anything, as if its machine were gone, until resume; its sessions as well.
function Cluster:signal(name)
  must(("kill -%s %s"):format(name, self.pid))
  local sessions = table.concat(self:children(), " ")
  if sessions ~= "" then read(("kill -%s %s"):format(name, sessions)) end   -- one may just have ended
end
function Cluster:freeze() self:signal("STOP") end
function Cluster:resume() self:signal("CONT") end

function Cluster:restart(mode)
  self:stop(mode)
  self:launch()
end

-- Starts it anew as a standby, which has no primary: it can be read and not be written.
function Cluster:demote()
  self:stop()
  write(self.data .. "/standby.signal", "")
  self:launch()
end

-- Ends everything and removes the folder.
function Cluster:remove()
  if self.process then
    self:resume()
    self:stop("immediate")
  end
  must(("rm -rf %s/data && rm -rf %s"):format(self.folder, self.folder))
end

-- The name of a database of this cluster, as libpq reads it. more: parameters, such as user, host or port.
function Cluster:name(database, more)
  local parameters = { host = self.folder, port = self.port, user = "arvak" }
  for name, value in pairs(more or {}) do parameters[name] = value end
  local list = {}
  for name, value in pairs(parameters) do
    local encoded = tostring(value):gsub("[^%w._~-]", function(c) return ("%%%02X"):format(c:byte()) end)
    list[#list + 1] = name .. "=" .. encoded
  end
  table.sort(list)
  return ("postgresql:///%s?%s"):format(database or "postgres", table.concat(list, "&"))
end

-- The path of the socket, which a proxy connects to.
function Cluster:path() return ("%s/.s.PGSQL.%d"):format(self.folder, self.port) end

-- What psql, a client other than ours, answers to statements: lines of values with | between them.
function Cluster:sql(statements, database)
  return must(("printf %%s %s | %s/psql -XqAt -v ON_ERROR_STOP=1 -h %s -p %d -U arvak -d %s"):format(quote(statements),
    self.programs, self.folder, self.port, database or "postgres"))
end

return M
