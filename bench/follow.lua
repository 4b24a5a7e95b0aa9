-- Follows a circuit through the house: which functions of ours a task enters, in which files, and how often the reader
-- has to change the file. Run by `make follow`, with everything built at -O0. Argument `-v`: prints every step.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local follow = require "follow"

local bell = [[
OPENQASM 3.0;
include "stdgates.inc";
qubit[2] q;
bit[2] c;
h q[0];
cx q[0], q[1];
c = measure q;
]]

-- { "object offset" = { file, name } } for all C functions among the entries.
local function c_places(entries)
  local offsets, places = {}, {}
  for _, entry in ipairs(entries) do
    local object, offset = entry:match "^(.+) (0x%x+)$"
    if object and not places[entry] then
      places[entry] = true
      offsets[object] = offsets[object] or {}
      table.insert(offsets[object], offset)
    end
  end
  for object, list in pairs(offsets) do
    local pipe <close> = assert(io.popen(("addr2line -f -e '%s' %s"):format(object, table.concat(list, " "))))
    for _, offset in ipairs(list) do
      local name, place = pipe:read "l", pipe:read "l"
      places[object .. " " .. offset] = { place:match "(src/.-):%d" or place:match "(build/.-):%d" or "?", name }
    end
  end
  return places
end

-- The files in the order in which functions of them are entered.
local function files_of(entries)
  local places, files = c_places(entries), {}
  for _, entry in ipairs(entries) do
    local place = places[entry]
    if not place then
      local source, line = entry:match "^(.*):(%d+)$"
      place = { (source:gsub("^arvak", "lua/arvak"):gsub("^=", "")), line }
    end
    if not place[1]:find("^build/") and not place[1]:find "bench/" then table.insert(files, place) end
  end
  return files
end

-- Where messages are packed and read, one field after the other: counted apart.
local is_codec = { ["src/core/codec.c"] = true, ["src/core/answer.c"] = true, ["src/core/wire.c"] = true }

local function report(title, verbose, entries, rpcs)
  local seen, different, changes, fields, last = {}, 0, 0, 0, nil
  local steps = files_of(entries)
  for _, step in ipairs(steps) do
    local file = step[1]
    if not seen[file] then seen[file], different = true, different + 1 end
    if is_codec[file] then
      fields = fields + 1
    else
      if last and last ~= file then changes = changes + 1 end
      last = file
    end
    if verbose then print(("  %-40s %s"):format(file, step[2])) end
  end
  print(("%-28s %2d RPCs  %4d calls and %3d for fields of messages  %3d files  %4d changes of file")
    :format(title, rpcs, #steps - fields, fields, different, changes))
end

local verbose = arg[1] == "-v"
local client <close> = arvak.connect("embedded")

local function followed(title, fn)
  local entries, rpcs
  arvak.run(function()
    fn() -- connections, tables and strings that are made once
    local before = client:stats().calls
    follow.watch(coroutine.running())
    follow.start()
    local ok, err = fn()
    follow.stop()
    assert(ok, err)
    entries, rpcs = follow.entries(), client:stats().calls - before
  end)
  report(title, verbose, entries, rpcs)
end

followed("one RPC (get_backend_info)", function() return client:get_backend_info("simulator") end)
followed("client:execute", function() return client:execute(bell, "simulator", 100) end)
