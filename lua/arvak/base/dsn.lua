-- Names of PostgreSQL databases, as libpq reads them: a URL, or keywords and values. What is ours in one (batch) is
-- taken out, and passwords are known, so that no text shows one.
-- Invariant: a secret in a name never gets into a message, whether the name can be read or not.
-- SPDX-License-Identifier: Apache-2.0
local M = {}

local HIDDEN = "***"

local keywords = {}
for word in string.gmatch([[host hostaddr port dbname user password passfile service sslmode sslcert sslkey sslrootcert
    sslpassword channel_binding connect_timeout client_encoding options application_name fallback_application_name
    keepalives keepalives_idle keepalives_interval keepalives_count tcp_user_timeout sslcompression sslcrl sslcrldir
    sslsni requirepeer ssl_min_protocol_version ssl_max_protocol_version gssencmode krbsrvname gsslib
    target_session_attrs require_auth load_balance_hosts sslcertmode gssdelegation sslnegotiation
    batch]], "%S+") do
  keywords[word] = true
end

local secrets = { password = true, sslpassword = true }

local function is_url(text) return string.find(text, "^postgresql://") or string.find(text, "^postgres://") end

-- Whether somebody meant a name of PostgreSQL, and maybe a password is in it, though libpq would not read it so.
local function is_meant(text)
  local small = string.lower(text)
  return string.find(small, "^%s*[%w:+.-]*postgres[%w:+.-]*:/") ~= nil
    or string.find(small, "^%s*%l[%w_]*%s*=.*%f[%w]password%s*=") ~= nil
end

-- Whether a text names a database of PostgreSQL, and not a file. A file of such a name is written "./host=x".
function M.is_name(text)
  local first = string.match(text, "^%s*(%l[%l_]*)%s*=")
  return is_url(text) ~= nil or (first ~= nil and keywords[first] == true) or is_meant(text)
end

-- %41 is A. nil: no such code, or a NUL.
local function decode(text)
  local rest = string.gsub(text, "%%%x%x", "")
  if string.find(rest, "%", 1, true) or string.find(text, "%00", 1, true) then return nil end
  return (string.gsub(text, "%%(%x%x)", function(code) return string.char(tonumber(code, 16)) end))
end

local function encode(text)
  return (string.gsub(text, "[^%w%-%._~/]", function(char) return string.format("%%%02X", string.byte(char)) end))
end

local function note_secret(name, text)
  if text and text ~= "" then name.secrets[#name.secrets + 1] = text end
end

-- ---- URLs

-- Whether no host of these, of which none has a user before it, has anything but a number as its port.
local function has_ports(hosts)
  for host in string.gmatch(hosts, "[^,]+") do
    local port = string.match(host, "^%[[^%]]*%]:(.*)$") or string.match(host, "^[^%[:][^:]*:(.*)$")
      or string.match(host, "^:(.*)$")
    if port and string.find(port, "%D") then return false end
  end
  return true
end

-- The part between :// and the first / or ?, with the password known: the user's part as it may be shown, or nil and
-- what is wrong.
local function read_authority(name, authority)
  local user, host = string.match(authority, "^([^@]*)@(.*)$")
  if not has_ports(host or authority) then return nil, "a port is no number; a user and password end with @" end
  if not user then return authority end
  if string.find(host, "@", 1, true) then return nil, "an @ in a user or password is written %40" end
  local word, password = string.match(user, "^([^:]*):(.*)$")
  if not password then return authority end
  note_secret(name, password)
  note_secret(name, decode(password))
  return word .. ":" .. HIDDEN .. "@" .. host
end

-- Another name inside of this one: nobody would look for a password there.
local HELD_URL = "dbname holds a URL"

local function holds_url(key, value) return key == "dbname" and string.find(value, "://", 1, true) ~= nil end

local function read_parameter(name, pair, kept, shown)
  local key, value = string.match(pair, "^([^=]*)=(.*)$")
  local plain = value and decode(value)
  if not plain then return "a parameter is no key=value, with %XX for what is special" end
  key = decode(key) or key
  if key == "batch" then
    name.batch = plain
    return
  end
  if holds_url(key, plain) then return HELD_URL end
  kept[#kept + 1] = pair
  name.has[key] = true
  if secrets[key] then
    note_secret(name, value)
    note_secret(name, plain)
    pair = key .. "=" .. HIDDEN
  end
  shown[#shown + 1] = pair
end

local function read_url(name, text)
  local scheme, rest = string.match(text, "^(postgres%l*://)(.*)$")
  if not scheme then return "a URL begins with postgresql://" end
  local authority, path = string.match(rest, "^([^/?]*)(.*)$")
  local place, query = string.match(path, "^([^?]*)%??(.*)$")
  if string.find(place, "@", 1, true) then return "a / in a user or password is written %2F, an @ in a name %40" end
  if string.find(string.match(rest, "^[^/]*"), "%?.*@") then
    return "a ? in a user or password is written %3F, an @ behind a host %40"
  end
  local shown_authority, problem = read_authority(name, authority)
  if not shown_authority then return problem end
  local kept, shown = {}, {}
  for pair in string.gmatch(query, "[^&]+") do
    problem = read_parameter(name, pair, kept, shown)
    if problem then return problem end
  end
  local function join(front, list)
    return scheme .. front .. place .. (#list > 0 and "?" or "") .. table.concat(list, "&")
  end
  name.conninfo, name.shown = join(authority, kept), join(shown_authority, shown)
end

-- ---- keywords and values

-- A value at a place: it and the place after it, or nil.
local function read_value(text, at)
  if string.sub(text, at, at) ~= "'" then
    local from, to = string.find(text, "^[^%s\\']*", at)
    local raw = string.sub(text, from, to)
    if string.find(text, "^[\\']", to + 1) then return nil end
    return raw, to + 1
  end
  local parts = {}
  at = at + 1
  while true do
    local to = string.find(text, "[\\']", at)
    if not to then return nil end
    parts[#parts + 1] = string.sub(text, at, to - 1)
    if string.sub(text, to, to) == "'" then return table.concat(parts), to + 1 end
    parts[#parts + 1] = string.sub(text, to + 1, to + 1)
    at = to + 2
  end
end

local function quote(value)
  if string.find(value, "^[%w%-%._/:@,]+$") then return value end
  return "'" .. string.gsub(value, "[\\']", "\\%0") .. "'"
end

local function read_pairs(name, text)
  local kept, shown, at = {}, {}, 1
  while true do
    at = string.match(text, "^%s*()", at)
    if at > #text then break end
    local key, from = string.match(text, "^([%l_]+)%s*=%s*()", at)
    if not key then return "expected keyword=value pairs, values with spaces or quotes in '…'" end
    local value
    value, at = read_value(text, from)
    if not value then return "a value is not closed, or has a quote or backslash outside of '…'" end
    if holds_url(key, value) then return HELD_URL end
    if key == "batch" then
      name.batch = value
    else
      name.has[key] = true
      kept[#kept + 1] = key .. "=" .. quote(value)
      if secrets[key] then note_secret(name, value) end
      shown[#shown + 1] = secrets[key] and key .. "=" .. HIDDEN or kept[#kept]
    end
  end
  name.conninfo, name.shown = table.concat(kept, " "), table.concat(shown, " ")
end

-- ---- all of it

local Name = {}
Name.__index = Name

-- Reads a name: a table of conninfo (for libpq, without batch), shown (without secrets) and batch (or nil); or nil and
-- what is wrong with it, which quotes nothing of it.
function M.parse(text)
  local name = setmetatable({ secrets = {}, has = {} }, Name)
  if string.find(text, "[%z\1-\31\127]") then return nil, "it has a control character" end
  local read = (is_url(text) or string.find(text, "^%s*[^=/]*:/")) and read_url or read_pairs
  local problem = read(name, text)
  if problem then return nil, problem end
  table.sort(name.secrets, function(a, b) return #a > #b end)
  return name
end

-- The same with one more parameter, where it has none of this keyword.
function Name:conninfo_with(keyword, value)
  if self.has[keyword] then return self.conninfo end
  if not is_url(self.conninfo) then return self.conninfo .. " " .. keyword .. "=" .. quote(value) end
  return self.conninfo .. (string.find(self.conninfo, "?", 1, true) and "&" or "?") .. keyword .. "=" .. encode(value)
end

-- What a name of a journal or ledger is, for those who take names from others: kind ("sqlite" or "postgres"), shown
-- (the name without secrets), has_password; and instead of these two, problem: why the name cannot be read.
function M.describe(text)
  if not M.is_name(text) then return { kind = "sqlite", shown = text, has_password = false } end
  local name, problem = M.parse(text)
  if not name then return { kind = "postgres", problem = problem } end
  return { kind = "postgres", shown = name.shown, has_password = #name.secrets > 0 }
end

-- A message of the database, without the secrets of the name.
function Name:hide(message)
  for _, secret in ipairs(self.secrets) do
    local from, to = string.find(message, secret, 1, true)
    while from do
      message = string.sub(message, 1, from - 1) .. HIDDEN .. string.sub(message, to + 1)
      from, to = string.find(message, secret, from + #HIDDEN, true)
    end
  end
  return message
end

return M
