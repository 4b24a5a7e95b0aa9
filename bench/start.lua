-- What a program spends until its first answer from "embedded": CPU of the process, each time in a new one.
-- SPDX-License-Identifier: Apache-2.0
local sample = require "bench.sample"

local program = [[
  local arvak = require "arvak"
  local required = os.clock()
  local client <close> = arvak.connect "embedded"
  assert(client:list_backends())
  print(required * 1000, os.clock() * 1000)]]

local lua, rounds = os.getenv "LUA" or "lua5.4", tonumber(os.getenv("ROUNDS") or 7)
local required, answered = sample.new(), sample.new()
for _ = 1, rounds do
  local pipe <close> = assert(io.popen(("'%s' -e '%s'"):format(lua, program)))
  required:add(assert(pipe:read("n")))
  answered:add(assert(pipe:read("n")))
end
print(('ms CPU of a process: %s until require "arvak" is done, %s until an answer from "embedded"'):format(
  required:text("%.1f"), answered:text("%.1f")))
