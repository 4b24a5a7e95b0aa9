-- Puts work into the library by every way there is, at random, while one of several drivers drives it, and measures how
-- long anything lay ready before it ran. Each action notes when its work was put in, and when what follows from it ran.
-- The noise of the machine is how late timers were in the same run: those of a process beside it that only sleeps, and
-- an idle one of the driver, where it has timers that are not the library's.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"
local loops = require "spec.support.loops"
local system = require "system"

local bell, now = helper.bell, system.monotime

local M = {}

local LATENCY = 0.02   -- seconds that the server takes for ListBackends
local PAUSE = 0.015    -- between two attempts
local HANG = 5.0       -- seconds after which what has not run never will

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

-- ---- what is measured

-- Nobody's work can run while the host computes.
local function note(run, kind, at)
  local late = now() - math.max(at, run.busy_until)
  run.worst[kind] = math.max(run.worst[kind] or 0, late)
  run.counts[kind] = (run.counts[kind] or 0) + 1
end

-- Something of this kind is to run. put_in(at): its work is there from then on (default: now); ran(): it has run;
-- raised(since): it was an error, which nobody could raise before since.
local function expect(run, kind)
  local e = { kind = kind, at = false, begun = now() }
  run.open[e] = true
  run.open_count = run.open_count + 1
  function e.put_in(at) e.at = e.at or at or now() end
  function e.raised(since)
    if not run.open[e] then return end
    run.open[e] = nil
    run.open_count = run.open_count - 1
    if e.at then note(run, kind, math.max(e.at, since)) end
  end
  function e.ran() e.raised(0) end
  return e
end

-- ---- who learns of it

-- Calls fn(...) when f has ended: in a callback, in a task, or in a coroutine of the driver's loop.
local function observe(run, f, fn)
  local which = run.random(run.spawn and 3 or 2)
  if which == 1 then
    f:add_done_callback(fn)
  elseif which == 2 then
    arvak.spawn(function()
      f:result()
      fn(f)
    end)
  else
    run.spawn(function()
      f:result()
      fn(f)
    end)
  end
end

-- ---- who puts it in

local function in_finalizer(run, fn)
  run.garbage = run.garbage + 1
  setmetatable({}, { __gc = fn })
end

-- Calls fn a little later: from the driver's own loop, from a task, from a callback, from a finalizer.
-- is_simple: fn does nothing that a finalizer must not do.
local function later(run, fn, is_simple)
  local seconds = run.random(10) / 1000
  local which = run.random(is_simple and 4 or 3)
  if which == 1 then
    run.after(seconds, fn)
  elseif which == 2 then
    arvak.spawn(function()
      arvak.sleep(seconds)
      fn()
    end)
  elseif which == 3 then
    local f, resolve = arvak.future()
    f:add_done_callback(fn)
    run.after(seconds, resolve)
  else
    run.after(seconds, function() in_finalizer(run, fn) end)
  end
end

-- ---- the ways

local actions = {}

function actions.task(run)
  local e = expect(run, "task spawned")
  later(run, function()
    e.put_in()
    arvak.spawn(e.ran)
  end, true)
end

function actions.future(run)
  local e = expect(run, "future set")
  local f, resolve = arvak.future()
  observe(run, f, e.ran)
  later(run, function()
    e.put_in()
    resolve(1)
  end, true)
end

function actions.group(run)
  local e = expect(run, "group of futures")
  local list, resolvers = {}, {}
  for i = 1, 3 do list[i], resolvers[i] = arvak.future() end
  arvak.spawn(function()
    arvak.wait(list)
    e.ran()
  end)
  later(run, function()
    resolvers[1](1)
    resolvers[2](2)
    e.put_in()
    resolvers[3](3)
  end, true)
end

function actions.sleep(run)
  local e = expect(run, "sleep")
  local seconds = run.random(20) / 1000
  local start = run.spawn and run.random(2) == 1 and run.spawn or arvak.spawn
  start(function()
    e.put_in(now() + seconds)
    arvak.sleep(seconds)
    e.ran()
  end)
end

function actions.wait_with_timeout(run)
  local e = expect(run, "timeout of a wait")
  local seconds = run.random(20) / 1000
  local start = run.spawn and run.random(2) == 1 and run.spawn or arvak.spawn
  start(function()
    e.put_in(now() + seconds)
    arvak.future():wait(seconds)
    e.ran()
  end)
end

function actions.cancel_task(run)
  local e = expect(run, "task canceled")
  local f = arvak.spawn(function()
    local _, err = arvak.sleep(60)
    assert(err.kind == "canceled")
    e.ran()
  end)
  later(run, function()
    if run.random(2) == 1 then arvak.spawn(function() end) end
    e.put_in()
    f:cancel()
    if f:canceled() then e.ran() end   -- it had not started
  end, true)
end

function actions.cancel_call(run)
  local e = expect(run, "call canceled")
  local f = run.client.async:get_backend_info("simulator")
  observe(run, f, e.ran)
  later(run, function()
    e.put_in()
    f:cancel()
  end)
end

function actions.call(run)
  local e = expect(run, "call answered")
  e.put_in(now() + LATENCY)
  observe(run, run.client.async:list_backends(), e.ran)
end

function actions.timeout(run)
  local e = expect(run, "call timed out")
  local seconds = (5 + run.random(15)) / 1000
  e.put_in(now() + seconds)
  observe(run, run.client.async:get_backend_info("simulator", { timeout = seconds }), e.ran)
end

-- Calls on a client with one slot: each is granted it when the one before ends.
function actions.slots(run)
  local e = expect(run, "slot granted")
  local queue = run.queue
  queue[#queue + 1] = e
  if #queue == 1 then e.put_in(now() + LATENCY) end
  observe(run, run.narrow.async:list_backends(), function()
    table.remove(queue, 1)
    if queue[1] then queue[1].put_in(now() + LATENCY) end
    e.ran()
  end)
end

function actions.queue_timeout(run)
  local e = expect(run, "queue timed out")
  local seconds = (2 + run.random(8)) / 1000
  e.put_in(now() + seconds)
  observe(run, run.full.async:list_backends { queue_timeout = seconds }, e.ran)
end

-- The first attempt fails; the second asks for its headers, which functions give.
function actions.headers(run)
  local e = expect(run, "header function called")
  run.retrying[#run.retrying + 1] = e
  run.is_starting = true
  observe(run, run.asking.async:cancel_job("none"), function() end)
  run.is_starting = false
end

function actions.close_client(run)
  local e = expect(run, "client closed")
  local client = arvak.connect(run.server.address)
  observe(run, client.async:get_backend_info("simulator"), e.ran)
  later(run, function()
    e.put_in()
    client:close()
  end, true)
end

function actions.stream(run)
  local e = expect(run, "stream closed")
  local stream = assert(run.client:watch_job(run.job))
  arvak.spawn(function()
    repeat until not stream:next()
    e.ran()
  end)
  later(run, function()
    e.put_in()
    stream:cancel()
  end)
end

function actions.stream_message(run)
  local e = expect(run, "stream read")
  e.put_in()
  arvak.spawn(function()
    for _ in run.client:stream_results(run.done) do end
    e.ran()
  end)
end

function actions.job(run)
  local e = expect(run, "job's future")
  observe(run, run.client:submit_qasm_future(bell, "simulator", 5), function(f)
    assert(f:result(0))
    e.ran()
  end)
end

function actions.detached_callback(run)
  local e = expect(run, "callback of a call that has ended")
  observe(run, run.client.async:list_backends(), function(f)
    e.put_in()
    f:add_done_callback(e.ran)
  end)
end

-- Two at once: the second is left over when the first is raised.
function actions.errors(run)
  local first, second = expect(run, "error of a callback"), expect(run, "error left over")
  local f, resolve = arvak.future()
  for _, e in ipairs { first, second } do
    f:add_done_callback(function()
      e.put_in()
      error(e)
    end)
  end
  later(run, resolve, true)
end

-- The host computes while things become due, and then cancels a call, which makes the core do some of them.
function actions.busy_host(run)
  local f = run.client.async:get_backend_info "simulator"
  local e = expect(run, "call canceled after computing")
  observe(run, f, e.ran)
  run.after(run.random(10) / 1000, function()
    system.sleep(0.02)
    run.busy_until = now()
    e.put_in()
    f:cancel()
  end)
end

local names = {}
for name in pairs(actions) do names[#names + 1] = name end
table.sort(names)

-- ---- the drivers

-- What a driver raises is an expectation that has come true, or a bug.
local function take_error(err, since)
  if type(err) ~= "table" or not err.raised then error(err, 0) end
  err.raised(since or 0)
end

local function act(run)
  if run.garbage > 0 then
    run.garbage = 0
    collectgarbage()
  end
  if run.open_count >= 12 or now() >= run.ends_at then return end
  local name = names[run.random(#names)]
  if not run.skips[name] then actions[name](run) end
end

local function is_over(run)
  return now() >= run.ends_at and (run.open_count == 0 or now() >= run.ends_at + HANG)
end

-- A host's own timers, for the drivers that have none. run_due gives the seconds until the next.
local function new_timers(run)
  local timers = {}
  function run.after(seconds, fn) timers[#timers + 1] = { at = now() + seconds, fn = fn } end
  return function()
    local next_at = now() + 0.01
    for i = #timers, 1, -1 do
      local timer = timers[i]
      if timer.at <= now() then
        table.remove(timers, i)
        timer.fn()
      else
        next_at = math.min(next_at, timer.at)
      end
    end
    return math.max(0, next_at - now())
  end
end

-- An idle timer of the host, again and again.
local function idle(run)
  local at = now() + 0.002
  run.after(0.002, function()
    note(run, "noise", at)
    idle(run)
  end)
end

local drivers = {}

-- A sleep or a wait for a future raises no error of others: that is for polls, one error each.
local function raise_all()
  local since = now()
  repeat
    local ok, err = pcall(arvak.poll)
    if not ok then take_error(err, since) end
  until ok
end

-- Work is put in, and then somebody blocks: for a sleep, for a call, for a future, for a run.
function drivers.blocking(run)
  local run_due = new_timers(run)
  local blocks = {
    function(left) arvak.sleep(left) end,
    function(left) arvak.poll(left) end,
    function(left) arvak.future():wait(left) end,
    function(left) arvak.run(arvak.sleep, left) end,
  }
  while not is_over(run) do
    act(run)
    local ok, err = pcall(blocks[run.random(#blocks)], run_due())
    if not ok then take_error(err) end
    raise_all()
  end
end

function drivers.task(run)
  function run.after(seconds, fn)
    arvak.spawn(function()
      arvak.sleep(seconds)
      fn()
    end)
  end
  run.skips.errors = true   -- which are raised when all is over
  arvak.run(function()
    while not is_over(run) do
        act(run)
      arvak.sleep(run.random(5) / 1000)
    end
  end)
end

local function sleeper(run, sleep)
  while not is_over(run) do
    local at = now() + 0.002
    sleep(0.002)
    note(run, "noise", at)
  end
end

local function in_loop(kind)
  return function(run)
    local loop = kind.open()
    loop.errors = setmetatable({}, { __newindex = function(_, _, err) take_error(err) end })
    local attachment <close> = loop.attach()
    run.spawn, run.skips.errors = loop.spawn, kind.name == "luv"   -- which ends the program at an error
    function run.after(seconds, fn)
      loop.spawn(function()
        loop.sleep(seconds)
        fn()
      end)
    end
    loop.spawn(function() sleeper(run, loop.sleep) end)
    loop.spawn(function()
      while not is_over(run) do
        act(run)
        loop.sleep(run.random(5) / 1000)
      end
      run.holder:cancel()   -- the last thing that is in flight
    end)
    assert(loop.run(run.seconds + 2 * HANG), "the loop does not end")
    assert(attachment)
  end
end

for _, kind in ipairs(loops.all) do drivers[kind.name] = in_loop(kind) end

function drivers.pollable(run)
  local cqueues = require "cqueues"
  local run_due = new_timers(run)
  idle(run)
  local p <close> = arvak.pollable()
  while not is_over(run) do
    act(run)
    local left = run_due()
    cqueues.poll({ pollfd = p:pollfd(), events = "r" }, math.min(left, p:timeout() or left))
    local ok, err = pcall(p.step, p)
    if not ok then take_error(err) end
  end
end

-- ---- the noise

local SLEEPER = [[
local system = require "system"
local worst, ends_at = 0, system.monotime() + %g
repeat
  local at = system.monotime() + 0.001
  system.sleep(0.001)
  worst = math.max(worst, system.monotime() - at)
until system.monotime() > ends_at
print(worst)
]]

-- Measures in another process, which holds up nobody here: a function that gives how late its sleeps were at worst.
local function listen_to_machine(seconds)
  local lua = os.getenv "LUA" or "lua5.4"
  local pipe = assert(io.popen(("%s -e '%s'"):format(lua, SLEEPER:format(seconds))))
  return function()
    local worst = pipe:read "n"
    pipe:close()
    return worst or error "nobody measured the noise"
  end
end

-- ---- a run

M.drivers = { "blocking", "task", "cqueues", "luv", "pollable" }

-- A client whose calls fail once and then ask for their headers.
local function connect_asking(run)
  local function metadata()   -- a start may do what is due first: an ask of the start itself, and one for each retry
    if run.is_starting then
      run.is_starting = false
    else
      local e = table.remove(run.asking_soon, 1)
      if e then e.ran() end
    end
    return { ["x-t"] = "1" }
  end
  local function on_retry(event)
    local e = table.remove(run.retrying, 1)
    if e then e.put_in(now() + event.delay) end
    run.asking_soon[#run.asking_soon + 1] = e
  end
  return arvak.connect(run.server.address, { metadata = metadata,
    retry = { max_attempts = 2, initial_backoff = PAUSE, jitter = false, budget = false, on_retry = on_retry } })
end

local function open(seed, seconds)
  local run = { seed = seed, seconds = seconds, random = new_random(seed), open = {}, open_count = 0, worst = {},
    counts = {}, garbage = 0, busy_until = 0, queue = {}, retrying = {}, asking_soon = {}, skips = {} }
  run.server = helper.start { faults = {
    { rpc = "ListBackends", latency = LATENCY }, { rpc = "GetBackendInfo", hang = true },
    { rpc = "CancelJob", status = "UNAVAILABLE" }, { rpc = "SubmitJob", job = "hang", count = 1 },
  } }
  run.client = arvak.connect(run.server.address)
  run.narrow = arvak.connect(run.server.address, { max_concurrent_rpcs = 1 })
  run.full = arvak.connect(run.server.address, { max_concurrent_rpcs = 1, timeout = 60 + seconds })
  run.asking = connect_asking(run)
  run.job = assert(run.client:submit_qasm(bell, "simulator", 5))   -- which never ends
  run.done = assert(run.client:execute(bell, "simulator", 100)).job_id
  assert(run.narrow:list_backends() and run.full:list_backends() and run.asking:list_backends())   -- all are connected
  run.holder = run.full.async:get_backend_info "simulator"   -- holds its slot
  run.ends_at = now() + seconds
  return run
end

local function close(run)
  run.client:close()
  run.narrow:close()
  run.full:close()
  run.asking:close()
  run.server:stop()
end

-- Lets a driver drive work for so many seconds. worst: kind → seconds that one of it lay ready, "noise" among them;
-- counts: kind → how many there were; hung: the kinds of those that never ran.
function M.run(driver, seed, seconds)
  local run = open(seed, seconds)
  local noise = listen_to_machine(seconds)
  local ok, err = xpcall(drivers[driver], debug.traceback, run)
  run.worst.noise = math.max(run.worst.noise or 0, noise())
  local hung = {}
  for e in pairs(run.open) do hung[#hung + 1] = e.kind end
  close(run)
  if not ok then error(("seed %d: %s"):format(seed, err), 0) end
  return { worst = run.worst, counts = run.counts, hung = hung }
end

-- The worst of all kinds, its kind, and the noise.
function M.figures(result)
  local worst, worst_kind = 0, "nothing"
  for kind, late in pairs(result.worst) do
    if kind ~= "noise" and late > worst then worst, worst_kind = late, kind end
  end
  return worst, worst_kind, result.worst.noise or 0
end

-- Through the server work passes from thread to thread, each of which the machine may hold up; elsewhere from a thread
-- that polls to the driver.
local HOPS = { ["call answered"] = 5, ["slot granted"] = 5, ["stream read"] = 5, ["header function called"] = 5 }

-- The most that one of any kind lay ready beyond what the machine's noise explains, and its kind.
function M.excess(result)
  local most, most_kind = -math.huge, "nothing"
  for kind, late in pairs(result.worst) do
    local beyond = late - (HOPS[kind] or 2) * (result.worst.noise or 0)
    if kind ~= "noise" and beyond > most then most, most_kind = beyond, kind end
  end
  return most, most_kind
end

return M
