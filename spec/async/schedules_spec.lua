-- Two hundred random schedules of submit, wait, cancel, close, collect, kill the server, and callbacks that do such
-- things: whatever the order, each future ends exactly once and stays as it ended, and nothing is left behind.
-- A failure names its seed; ARVAK_SEED=n runs that schedule alone.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"
local monotime = require("system").monotime

local bell, TEST_TIMEOUT = helper.bell, helper.TEST_TIMEOUT
local SCHEDULES = 200
local server   -- one for all, until a schedule kills it
local BOOM = setmetatable({}, { __tostring = function() return "the error of a callback" end })

-- A generator of its own (xorshift), since the library draws from math.random: random(n) gives 1..n.
local function new_random(seed)
  local x = seed * 0x9E3779B97F4A7C15 + 0x2545F4914F6CDD1D
  return function(n)
    x = x ~ (x << 13)
    x = x ~ (x >> 7)
    x = x ~ (x << 17)
    return 1 + (x >> 33) % n
  end
end

local function pick(s, list) return list[s.random(#list)] end

local function close_client(s)
  s.is_closed = true
  s.client:close()
end

local function stop_server()
  if server then server:stop() end
  server = nil
end

-- ---- futures, watched

local react

-- Watches f: that it ends once, and as what. An entry may let go of its future.
local function track(s, f)
  local entry = { future = f, ends = 0 }
  s.entries[#s.entries + 1] = entry
  f:add_done_callback(function(ended)
    entry.ends = entry.ends + 1
    entry.values = table.pack(ended:result(0))
    if ended:canceled() then assert(entry.values[2].kind == "canceled", "canceled, but with another error") end
    react(s, entry, ended)
  end)
end

local function submit(s)
  if s.is_closed or #s.entries > 60 then return end
  local options = pick(s, { { shots = 5 }, { poll_interval = 0.003 }, { max_wait = 0.02 }, { timeout = 0.1 } })
  track(s, s.client:submit_qasm_future(bell, s.random(12) == 1 and "nowhere" or "simulator", options))
end

-- What a callback does beside being counted.
local reactions = {
  function() end,
  function(_, f) assert(f:cancel() == (f:canceled() or nil)) end,
  function(s, f, entry)
    entry.nested = 0
    f:add_done_callback(function() entry.nested = entry.nested + 1 end)
    entry.wants_nested = true
    collectgarbage "step"
    return s
  end,
  function(s) submit(s) end,
  function(s)
    assert(not pcall(arvak.poll, 0), "a callback could step the loop")
    assert(not pcall(arvak.run, submit, s), "a callback could run")
  end,
  function() arvak.sleep(0.001) end,
  function() error(BOOM) end,
  function(s) if s.random(6) == 1 then close_client(s) end end,
}

function react(s, entry, f) pick(s, reactions)(s, f, entry) end

-- ---- what a schedule is made of

local function some_future(s)
  local held = {}
  for _, entry in ipairs(s.entries) do
    if entry.future then held[#held + 1] = entry end
  end
  if #held == 0 then return nil end
  local entry = pick(s, held)
  return entry.future, entry
end

local function futures_of(s)
  local list = {}
  for _, entry in ipairs(s.entries) do list[#list + 1] = entry.future end
  return list
end

local actions = {
  submit = submit,
  submit_many = function(s)
    if s.is_closed or #s.entries > 60 then return end
    local fs = s.client:submit_batch_future({ { bell, 1 }, { "bad" }, { bell, 2 } }, "simulator")
    for _, f in ipairs(fs) do track(s, f) end
  end,
  call = function(s)
    if not s.is_closed then track(s, s.client.async:get_job_status("j")) end
  end,
  wait = function(s)
    local f = some_future(s)
    if f then f:result(s.random(5) * 0.001) end
  end,
  wait_for_submit = function(s)
    local f = some_future(s)
    if f and f.submitted and pcall(f.submitted, f, 0.002) then return f.job_id end
  end,
  wait_for_first = function(s)
    local return_when = pick(s, { "FIRST_COMPLETED", "FIRST_EXCEPTION", "ALL_COMPLETED" })
    arvak.wait(futures_of(s), { timeout = 0.003, return_when = return_when })
  end,
  draw = function(s)
    pcall(function()
      for f in arvak.as_completed(futures_of(s), 0.002) do assert(f:done()) end
    end)
  end,
  cancel = function(s)
    local f, entry = some_future(s)
    if f and f:cancel() then
      assert(f:canceled(), "cancel gave true, and the future is not canceled")
      entry.must_be_canceled = true
    end
  end,
  cancel_in_vain = function(s)   -- whoever asks does not stay
    local f = some_future(s)
    if f then arvak.with_timeout(0.001, f.cancel, f) end
  end,
  collect = function(s)
    local _, entry = some_future(s)
    if entry then entry.future = nil end
    collectgarbage()
  end,
  drop = function() if server then server:drop_connections() end end,
  close = function(s) if s.random(4) == 1 then close_client(s) end end,
  kill = function(s) if s.random(4) == 1 then stop_server() end end,
  step = function() arvak.sleep(0.001) end,
}
local names = {}
for name in pairs(actions) do names[#names + 1] = name end
table.sort(names)
for _ = 1, 6 do names[#names + 1] = "submit" end

-- ---- a schedule

local function set_faults(random)
  server:clear_faults()
  server:fault { job_latency = random(3) * 0.002 }
  if random(2) == 1 then server:fault { rpc = "GetJobStatus", status = "UNAVAILABLE", rate = 0.2 } end
  if random(3) == 1 then server:fault { rpc = "SubmitJob", latency = { 0, 0.005 } } end
  if random(4) == 1 then server:fault { rpc = "CancelJob", status = "UNAVAILABLE", rate = 0.5 } end
  if random(4) == 1 then server:fault { rpc = "SubmitJob", drop = "after", rate = 0.1 } end
  if random(4) == 1 then server:fault { job = "hang", rate = 0.3 } end
end

local function new_schedule(seed)
  local random = new_random(seed)
  server = server or helper.start { seed = seed }
  set_faults(random)
  local client = arvak.connect(server.address, { timeout = 0.1, max_concurrent_rpcs = random(2) == 1 and 2 or 128 })
  return { random = random, client = client, entries = {}, log = {} }
end

local function act(s, count)
  for _ = 1, count do
    local name = pick(s, names)
    s.log[#s.log + 1] = name
    actions[name](s)
  end
end

-- Only a callback's own error may reach whoever drives the loop.
local function expect_boom(ok, err)
  if not ok and err ~= BOOM then error(err, 0) end
end

local function all_ended(s)
  for _, entry in ipairs(s.entries) do
    if entry.ends == 0 or (entry.wants_nested and entry.nested == 0) then return false end
  end
  return true
end

local function drive_until_ended(s, timeout)
  local ends_at = monotime() + timeout
  while not all_ended(s) do
    if monotime() > ends_at then return false end
    expect_boom(pcall(arvak.poll, 0.005))
  end
  return true
end

local function finish(s)
  if s.random(2) == 1 then
    for _, f in ipairs(futures_of(s)) do f:cancel() end
    drive_until_ended(s, 0.05)
  end
  if not s.is_closed then close_client(s) end
  assert(drive_until_ended(s, TEST_TIMEOUT), "a future does not end")
end

local function check(s)
  for i, entry in ipairs(s.entries) do
    local f, where = entry.future, ("future %d "):format(i)
    assert(entry.ends == 1, where .. "ended " .. entry.ends .. " times")
    assert(not entry.wants_nested or entry.nested == 1, where .. "ran a callback twice")
    if f then
      assert(f:done() and not f:running(), where .. "is not done")
      assert(not entry.must_be_canceled or f:canceled(), where .. "is not canceled any more")
      local value, err = f:result(0)
      assert(value == entry.values[1] and err == entry.values[2], where .. "has changed")
      assert(value == nil or value.job_id == f.job_id, where .. "has the result of another job")
    end
  end
end

local function run_schedule(s)
  local manner = s.random(3)
  if manner == 1 then
    act(s, 12)
  elseif manner == 2 then
    expect_boom(pcall(arvak.run, act, s, 12))
  else
    expect_boom(pcall(arvak.run, function()
      for _ = 1, 3 do arvak.spawn(act, s, 5) end
      act(s, 5)
    end))
  end
  finish(s)
  check(s)
end

-- Errors of callbacks that nobody was there to be told of.
local function take_strays()
  for _ = 1, 100 do
    local ok, err = pcall(arvak.poll, 0)
    if ok then return end
    expect_boom(ok, err)
  end
end

local function run_seed(seed)
  local s = new_schedule(seed)
  local log = s.log
  local ok, err = xpcall(run_schedule, debug.traceback, s)
  if ok then
    s = nil   -- luacheck: ignore (it holds the client)
    take_strays()
    ok, err = pcall(helper.assert_clean)
  end
  if not ok then
    error(("the schedule of seed %d (%s): %s"):format(seed, table.concat(log, " "), tostring(err)), 0)
  end
end

describe("random schedules", function()
  after_each(stop_server)

  it("end every future exactly once, and leave nothing behind", function()
    local only = tonumber(os.getenv "ARVAK_SEED")
    local memory
    for seed = only or 1, only or SCHEDULES do
      run_seed(seed)
      if seed == SCHEDULES // 4 then memory = collectgarbage "count" end
    end
    if memory then assert.is_true(collectgarbage "count" - memory < 256) end
  end)
end)
