-- Files that a text includes. The two standard ones are known and never looked for.
-- Invariant: no file is read in whole beyond the bound, none includes itself, and all of them together are bounded.
-- SPDX-License-Identifier: Apache-2.0
local fault = require "arvak.circuit.read.fault"
local text = require "arvak.base.text"

local M = {}

local MOST_BYTES = 64 << 20   -- of all texts together
local MOST_FILES = 1000
local DEEPEST = 32

local KNOWN = { ["stdgates.inc"] = true, ["qelib1.inc"] = true }

-- What is in a file, or nil and why not.
function M.read_file(path, most)
  if not (io and io.open) then return nil, "this Lua state cannot read files: it has no io library" end
  local file, message = io.open(path, "rb")
  if not file then return nil, message end
  local body, failure = file:read((most or MOST_BYTES) + 1)
  file:close()
  if failure then return nil, failure end
  body = body or ""
  if #body > (most or MOST_BYTES) then
    return nil, string.format("%s: more than %d MB of text", path, MOST_BYTES >> 20)
  end
  return body
end

-- The folder of a path with its last slash, or "".
function M.folder(path) return string.match(path, "^.*/") or "" end

local function open(reading, name, at)
  if name == "" or string.find(name, "\0", 1, true) then
    fault.raise(at, "include of \"\", expected the name of a file")
  end
  if string.sub(name, 1, 1) == "/" then
    fault.raise(at, "include of %s, expected a name below a folder of include_path", text.printable(name))
  end
  if #reading.include_path == 0 then
    fault.raise(at, "%s is not to be found: there are no folders to look in (option include_path)",
      text.printable(name))
  end
  local reason
  for _, folder in ipairs(reading.include_path) do
    local path = folder == "" and name or string.sub(folder, -1) == "/" and folder .. name or folder .. "/" .. name
    local known = reading.files[path]
    if known then return known, path end
    local body, message = M.read_file(path, MOST_BYTES - reading.bytes)
    if body then
      reading.files[path] = body
      return body, path
    end
    reason = message
  end
  fault.raise(at, "%s is not to be found: %s", text.printable(name), text.printable(tostring(reason)))
end

-- The text of a file and its path; nil for the standard ones. reading: what is read so far.
function M.open(reading, name, at)
  if KNOWN[string.match(name, "[^/]*$")] then return nil end
  if #reading.open >= DEEPEST then fault.raise(at, "includes nested more than %d deep", DEEPEST) end
  reading.included = reading.included + 1
  if reading.included > MOST_FILES then fault.raise(at, "more than %d includes", MOST_FILES) end
  local body, path = open(reading, name, at)
  for _, other in ipairs(reading.open) do
    if other == path then fault.raise(at, "%s includes itself", text.printable(name)) end
  end
  reading.bytes = reading.bytes + #body
  if reading.bytes > MOST_BYTES then fault.raise(at, "more than %d MB of text", MOST_BYTES >> 20) end
  return body, path
end

return M
