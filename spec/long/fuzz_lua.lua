-- Calls every public function and method with arguments that are right, nearly right or wrong: values whose
-- metamethods and finalizers raise, yield, change the arguments, close clients, collect garbage and call the library
-- again; from the main thread, coroutines, tasks, callbacks and finalizers; against a server with faults. The library
-- must not crash, not hang, leave nothing behind, and raise no error of its own making. What to call stands in
-- lua/arvak/meta.lua.
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
local values = require "spec.long.fuzz_values"
local devserver = require "arvak.devserver"

-- ---- what there is to call

-- Class → list of { name, parameters }, from the annotations.
local function read_signatures()
  local holders = { policy = "arvak.retry_policy", results = "arvak.results", export = "arvak.export",
    manager = "arvak.batch_manager", arvak = "arvak" }
  local classes = {}
  for line in io.lines "lua/arvak/meta.lua" do
    local holder, name, parameters = line:match("^function ([%w_]+)[.:]([%w_]+)%((.-)%) end")
    local class = holder and (holders[holder] or "arvak." .. holder)
    if class then
      local list = {}
      for parameter in parameters:gmatch("[%w_.]+") do list[#list + 1] = parameter end
      classes[class] = classes[class] or {}
      table.insert(classes[class], { class = class, name = name, parameters = list })
    end
  end
  for _, name in ipairs { "arvak.devserver", "arvak.cqueues_adapter", "arvak.luv_adapter" } do classes[name] = nil end
  local async = {}
  for _, method in ipairs(classes["arvak.client"]) do
    async[#async + 1] = { class = "arvak.client.async", name = method.name, parameters = method.parameters }
  end
  classes["arvak.client.async"] = async
  return classes
end

local signatures = read_signatures()

-- Every method that a metatable has is among them.
local function check_coverage(class, object)
  local meta = debug.getmetatable(object)
  local methods = meta.methods or type(meta.__index) == "table" and meta.__index or {}
  local known = {}
  for _, method in ipairs(signatures[class] or {}) do known[method.name] = true end
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

-- ---- one action

local blocking = {}   -- methods that wait, and are called in tasks only, which are canceled
for name in ([[execute wait_for_job wait_for_ready wait result exception submitted cancel next execute_batch submit_many
  wait_all as_completed map retry_failed with_timeout gather all run sleep each poll step]]):gmatch("%S+") do
  blocking[name] = true
end

local function target_of(method)
  if method.class == "arvak" then return arvak[method.name] end
  if method.class == "arvak.results" or method.class == "arvak.export" then
    return arvak[method.class:sub(7)][method.name]
  end
  local object = values.object(method.class)
  if object == nil then return nil end
  local fn = object[method.name]
  if values.chance(0.04) then object = values.any(2) end
  return fn, true, object
end

local function arguments_of(method)
  local list = { n = 0 }
  for _, name in ipairs(method.parameters) do
    list.n = list.n + 1
    list[list.n] = values.argument(name, method)
    if name == "..." then list[list.n] = values.any(1) end
  end
  if values.chance(0.1) then list.n = math.max(0, list.n - 1) end
  if values.chance(0.05) then
    list.n = list.n + 1
    list[list.n] = values.any(1)
  end
  return list
end

local function keep(method, ok, ...)
  if ok and method.name == "future" then values.keep_resolver(...) end
  if ok then for i = 1, math.min(select("#", ...), 3) do values.keep((select(i, ...))) end end
end

-- A function that calls the method once, and judges what it raises.
local function action_of(method)
  local fn, has_object, object = target_of(method)
  if fn == nil then return nil end
  local arguments = arguments_of(method)
  return function()
    if has_object then
      keep(method, judge(pcall(fn, object, table.unpack(arguments, 1, arguments.n))))
    else
      keep(method, judge(pcall(fn, table.unpack(arguments, 1, arguments.n))))
    end
  end
end

local function run_in_task(action)
  judge(pcall(arvak.run, function()
    local f = arvak.spawn(action)
    if f:wait(0.1) == false then
      f:cancel()
      f:wait(0.5)
    end
    judge(true, f:done() and f:exception())
  end))
end

local contexts = {
  function(action) action() end,
  function(action) coroutine.wrap(action)() end,
  function(action) pcall(arvak.wrap(action)) end,
  function(action)
    local f, resolve = arvak.future()
    resolve(1)
    f:add_done_callback(action)
  end,
  function(action)
    setmetatable({}, { __gc = action })
    collectgarbage()
  end,
  function(action) judge(pcall(table.sort, { 3, 2, 1 }, function(a, b) action() return a < b end)) end,
  function(action) pcall(string.gsub, "x", "x", action) end,
}

local classes = {}
for class in pairs(signatures) do classes[#classes + 1] = class end
table.sort(classes)

local function pick_method()
  local class = values.pick(classes)
  if values.chance(0.4) then class = values.pick { "arvak.client", "arvak.client.async", "arvak", "arvak.future" } end
  return values.pick(signatures[class])
end

-- Called again from within, by metamethods, callbacks and finalizers.
local depth = 0
local function act(is_inside)
  if depth > 2 then return end
  local method = pick_method()
  if is_inside and (blocking[method.name] or method.name == "attach") then return end
  depth = depth + 1
  local action = action_of(method)
  if action then
    local is_waiting = blocking[method.name]
    local context = is_waiting and run_in_task or is_inside and contexts[1] or values.pick(contexts)
    if not is_inside then
      last = ("round %d, action %d: %s:%s"):format(values.round, values.action, method.class, method.name)
      watcher:write(last, "\n")
    end
    if not is_waiting and not is_inside and values.chance(0.3) then context = run_in_task end
    judge(pcall(context, action))
  end
  depth = depth - 1
end

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
    act(false)
    if action % 10 == 0 then settle() end
  end
end

local function round(number)
  values.start(seed, number)
  local server = assert(devserver.start { rate_limit = 0, max_concurrent_jobs = 0, max_queued_jobs = 0, seed = 1 })
  values.open(server.address, act)
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
  if depth == 0 or os.time() < ends_at + HANG then return end
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
