-- Calls every public function and method with arguments that are right, nearly right or wrong: values whose
-- metamethods and finalizers raise, yield, change the arguments, close clients, collect garbage and call the library
-- again; from the main thread, coroutines, tasks, callbacks and finalizers; against a server with faults. The library
-- must not crash, not hang, leave nothing behind, and raise no error of its own making.
-- Usage, in the top directory: lua5.4 spec/long/fuzz_lua.lua SEED SECONDS [FIRST_ROUND]. Each round is an own seed.
-- SPDX-License-Identifier: Apache-2.0

local seed, seconds, first_round = tonumber(arg[1]) or os.time(), tonumber(arg[2]) or 60, tonumber(arg[3]) or 1
local HANG = 120         -- seconds that one action may take at most, on a machine with other work
local ACTIONS = 150      -- of a round; then everything is dropped, and nothing may be left

-- A process of its own knows the last action when this one crashes or hangs. It is there before gRPC is.
local watcher = assert(io.popen(([[exec bash -c '
  last="nothing"
  while read -r -t %d line; do last=$line; done
  code=$?
  if [ $code -gt 128 ]; then echo "seed %d: hangs in $last"; kill -9 $PPID; exit; fi
  [ "$last" = "the end" ] || echo "seed %d: died in $last"' 1>&2]]):format(HANG, seed, seed), "w"))
watcher:setvbuf("line")

package.path = "./?.lua;" .. package.path
local arvak = require "arvak"
local actions = require "spec.long.fuzz_actions"
local values = require "spec.long.fuzz_values"
local devserver = require "arvak.devserver"

-- Every method that a metatable has is among them.
local function check_coverage(class, object)
  local meta = debug.getmetatable(object)
  local methods = meta.methods or type(meta.__index) == "table" and meta.__index or {}
  local known = {}
  for _, method in ipairs(actions.signatures[class] or {}) do known[method.name] = true end
  for name, fn in pairs(methods) do
    if type(fn) == "function" and not known[name] then error(class .. ": " .. name .. " is not in meta.lua") end
  end
end

-- ---- judging

local function is_internal(err)
  local text = type(err) == "string" and err or arvak.is_error(err) and type(err.message) == "string" and err.message
  if not text then return false end
  if text:find("^lua/arvak[%w_/]*%.lua:%d+:") then return true end
  text = text:gsub("^[^\n:]-:%d+: ", "")
  return text:find "^attempt to %l+ " and not text:find "^attempt to yield" or text:find "^bad argument #"
    or text:find "^not enough memory" or text:find "error in error handling" ~= nil
end

local last = "nothing"

local function complain(format, ...)
  print(("seed %d, round %d: "):format(seed, values.round) .. format:format(...))
  print("in " .. last)
  watcher:write("the end\n")
  watcher:close()
  os.exit(1)
end

local function judge(ok, err, ...)
  if not ok and is_internal(err) then
    complain("an error of the library's own: %s\n%s", tostring(err), tostring(type(err) == "table" and err.traceback))
  end
  return ok, err, ...
end

actions.start(judge, function(text)
  last = text
  watcher:write(text, "\n")
end)

-- ---- rounds

local faults = {
  { status = "UNAVAILABLE", rate = 0.5 }, { hang = true, rate = 0.3 }, { latency = 0.01 }, { drop = true, rate = 0.3 },
  { status = "RESOURCE_EXHAUSTED", rate = 0.5 }, { status = "INTERNAL", rate = 0.5 }, { job = "hang", rate = 0.5 },
  { job = "fail", rate = 0.5 }, { rpc = "WatchJob", drop = "after", messages = 1 },
}

local function settle()
  for _ = 1, 50 do
    local ok, more = judge(pcall(arvak.poll, 0.01))
    if ok and not more then break end
  end
  collectgarbage()
end

-- A client whose metatable's finalizer, or a finalizer of ours, still has to run may need a few turns.
local function check_left()
  for _ = 1, 1000 do
    settle()
    local counts, sum = arvak._counts(), 0
    for _, count in pairs(counts) do sum = sum + count end
    if sum == 0 then return end
  end
  local left = {}
  for name, count in pairs(arvak._counts()) do left[#left + 1] = count .. " " .. name end
  complain("left behind: %s", table.concat(left, ", "))
end

local function play(server)
  for action = 1, ACTIONS do
    values.action = action
    if action % 30 == 0 then
      server:clear_faults()
      if values.chance(0.7) then server:fault(values.pick(faults)) end
    end
    if values.chance(0.02) then collectgarbage(values.pick { "generational", "incremental" }) end
    actions.act(false)
    if action % 10 == 0 then settle() end
  end
end

local function round(number)
  values.start(seed, number)
  local server = assert(devserver.start { rate_limit = 0, max_concurrent_jobs = 0, max_queued_jobs = 0, seed = 1 })
  values.open(server.address, actions.act)
  if number == first_round then values.each_object(check_coverage) end
  play(server)
  server:clear_faults()
  values.close(judge)
  check_left()
  server:stop()
end

local ends_at, number = os.time() + seconds, first_round - 1
local started = os.clock()
debug.sethook(function()
  if not actions.is_busy() or os.time() < ends_at + HANG then return end
  complain "does not end"
end, "", 1000000)
warn "@off"
repeat
  number = number + 1
  round(number)
until os.time() >= ends_at
print(("seed %d: %d rounds of %d actions, %.0f s of CPU, nothing found"):format(seed, number, ACTIONS,
  os.clock() - started))
watcher:write("the end\n")
watcher:close()
