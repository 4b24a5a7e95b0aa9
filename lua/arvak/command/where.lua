-- Where the command connects to, and with what: options, then the environment, then a profile.
-- Invariant: a secret comes from a file or the environment, never from the command line or a profile.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local ends = require "arvak.command.ends"
local ledger = require "arvak.command.ledger"
local values = require "arvak.command.values"

local M = {}

local function read_file(path, what)
  local file, message = io.open(path, "rb")
  if not file then ends.usage("%s: %s", what, message) end
  local content = file:read "a"
  file:close()
  if not content then ends.usage("%s: %s is no file", what, path) end
  return content
end

local function from_environment(name)
  local value = os.getenv(name)
  return value ~= "" and value or nil
end

-- ---- profiles: lines of name = value

local profile_names = { address = "text", api_key_file = "file", tls = "flag", ca = "file", cert = "file", key = "file",
  server_name = "text", backend = "text", shots = "number" }

local function expected_names()
  local names = {}
  for name in pairs(profile_names) do names[#names + 1] = name end
  table.sort(names)
  return table.concat(names, ", ")
end

local function profile_path(name)
  local home = from_environment "XDG_CONFIG_HOME"
  if not home then
    local own = from_environment "HOME"
    if not own then ends.usage("--profile: neither $XDG_CONFIG_HOME nor $HOME says where profiles are") end
    home = own .. "/.config"
  end
  return home .. "/arvak/" .. name .. ".conf"
end

-- A file that a profile names: ~/ is the home, and other names without a / before them stand beside the profile.
local function profile_file(value, path)
  local below_home = value:match "^~/(.*)$"
  if below_home then return (from_environment "HOME" or "~") .. "/" .. below_home end
  return value:find "^/" and value or path:match "^.*/" .. value
end

local function profile_value(name, value, path, at)
  if profile_names[name] == "flag" then
    if value == "true" or value == "false" then return value == "true" end
    ends.usage("%s: %s: got '%s', expected true or false", at, name, value)
  end
  if profile_names[name] == "file" then return profile_file(value, path) end
  if profile_names[name] == "text" then return value end
  local number, problem = values.shots(value)
  return number or ends.usage("%s: %s: %s", at, name, problem)
end

local function read_profile(name)
  if not name then return {} end
  if not name:find "^[%w_.-]+$" then ends.usage("--profile: got '%s', expected letters, digits, _ . -", name) end
  local path = profile_path(name)
  local profile, count = {}, 0
  local text = read_file(path, "--profile"):gsub("^\u{FEFF}", "")
  for line in (text .. "\n"):gmatch "(.-)\r?\n" do
    count = count + 1
    local at = ("%s:%d"):format(path, count)
    local key, value = line:match "^%s*([%w_]+)%s*=%s*(.-)%s*$"
    if key == "api_key" then ends.usage("%s: a profile holds no key: name its file with api_key_file", at) end
    if key and not profile_names[key] then
      ends.usage("%s: unknown name '%s', expected one of: %s", at, key, expected_names())
    end
    if not key and line:find "%S" and not line:find "^%s*#" then ends.usage("%s: expected name = value", at) end
    if key then profile[key] = profile_value(key, value, path, at) end
  end
  return profile
end

-- ---- the connection

local function api_key(options, profile)
  local path = options.api_key_file
  local from_env = from_environment "ARVAK_API_KEY"
  if not path and from_env then return from_env end
  path = path or profile.api_key_file
  if not path then return nil end
  local key = read_file(path, "--api-key-file"):gsub("[\r\n]+$", "")
  if key == "" or key:find "[%c]" then ends.usage("--api-key-file: %s holds no key: expected one line", path) end
  return key
end

local function read_certificate(path, name)
  local content = read_file(path, "--" .. name)
  if not content:find("-----BEGIN", 1, true) then ends.usage("--%s: %s holds no PEM text", name, path) end
  return content
end

local function tls(options, profile)
  local found = { server_name = options.server_name or profile.server_name }
  for _, name in ipairs { "ca", "cert", "key" } do
    local path = options[name] or profile[name]
    found[name] = path and read_certificate(path, name)
  end
  if next(found) then return found end
  return options.tls or profile.tls or nil
end

-- The settings of a command: options with what the environment and the profile add.
function M.settings(options)
  local profile = read_profile(options.profile or from_environment "ARVAK_PROFILE")
  return {
    address = options.address or from_environment "ARVAK_ADDRESS" or profile.address,
    api_key = api_key(options, profile),
    tls = tls(options, profile),
    timeout = options.timeout,
    backend = options.backend or profile.backend or "simulator",
    shots = options.shots or profile.shots or 1024,
  }
end

-- A client by these settings, with retries on. Ends the command when no address is given. notes: whether the ledger is
-- told of its jobs; those of an embedded server end with it.
function M.connect(settings, notes)
  if not settings.address then
    ends.usage("no server is named: give --address host:port, or set $ARVAK_ADDRESS; "
      .. "--address embedded runs everything in this process")
  end
  local options = { api_key = settings.api_key, tls = settings.tls, timeout = settings.timeout, retry = true }
  if notes and settings.address ~= "embedded" then ledger.note_in_default(options) end
  local ok, client = ends.try(arvak.connect, settings.address, options)
  if not ok then ends.usage("%s", (tostring(client):gsub("^[^\n]-:%d+: ", ""))) end
  return client
end

local PATIENCE = 10.0   -- seconds for a first answer

-- Ends the command soon when nobody answers, or when the key is refused: whoever follows jobs bears an outage of half
-- a minute, which a wrong address is not. most: seconds, or nil.
function M.reach(client, settings, most)
  local timeout = math.min(settings.timeout or PATIENCE, most or math.huge)
  local _, err = client:list_backends { timeout = timeout }
  local code = err and ends.code_of(err)
  if code == ends.codes.no_server or code == ends.codes.not_allowed then ends.fail(err) end
end

return M
