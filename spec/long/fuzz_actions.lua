-- What the fuzzers do with the library: which functions and methods there are, calls of them with values of
-- fuzz_values.lua, and the places to call them from. What to call stands in lua/arvak/meta.lua.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local values = require "spec.long.fuzz_values"

local M = {}

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

M.signatures = read_signatures()
local signatures = M.signatures

-- What a call came to goes through judge(ok, err, …), which gives it back; note(text) is told of each action before it.
local judge, note

function M.start(judge_with, note_with)
  judge, note = judge_with, note_with
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
function M.act(is_inside)
  if depth > 2 then return end
  local method = pick_method()
  if is_inside and (blocking[method.name] or method.name == "attach") then return end
  depth = depth + 1
  local action = action_of(method)
  if action then
    local is_waiting = blocking[method.name]
    local context = is_waiting and run_in_task or is_inside and contexts[1] or values.pick(contexts)
    if not is_inside then
      note(("round %d, action %d: %s:%s"):format(values.round, values.action, method.class, method.name))
    end
    if not is_waiting and not is_inside and values.chance(0.3) then context = run_in_task end
    judge(pcall(context, action))
  end
  depth = depth - 1
end

-- Whether an action is under way.
function M.is_busy() return depth > 0 end

-- After one that was broken off.
function M.reset() depth = 0 end

return M
