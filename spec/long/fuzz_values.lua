-- The values that fuzz_lua.lua calls the library with. All chance comes from one generator, so that a seed and the
-- number of a round name the same values again.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"

local M = { round = 0, action = 0 }

local BELL = "OPENQASM 3.0; qubit[2] q; bit[2] c; h q[0]; cx q[0], q[1]; c = measure q;"

-- ---- chance

local state = 1

local function random(n)   -- from 1 to n
  state = state ~ (state << 13)
  state = state ~ (state >> 7)
  state = state ~ (state << 17)
  return (state >> 1) % n + 1
end

function M.chance(share) return random(1000000) <= share * 1000000 end
function M.pick(list) return list[random(#list)] end

function M.start(seed, round)
  M.round = round
  state = (seed * 0x9E3779B97F4A7C15 + round * 0xBF58476D1CE4E5B9) | 1
  for _ = 1, 10 do random(2) end
end

local chance, pick = M.chance, M.pick

-- ---- objects that are kept, by class

local MOST = 12   -- of one class
local pools, address, act, directory, adopt = {}, nil, nil, nil, nil
local is_open = false   -- the round goes on; what callbacks and finalizers make after it is not kept
local resolvers = {}   -- of the futures made by hand in this round, on which tasks may wait for ever

local function class_of(value)
  local kind = arvak.type(value)
  if kind then return "arvak." .. kind end
  local meta = type(value) == "table" and debug.getmetatable(value)
  return meta and type(meta.__name) == "string" and meta.__name:find "^arvak%." and meta.__name or nil
end

function M.keep(value)
  local class = is_open and class_of(value)
  if not class then return end
  local pool = pools[class] or {}
  pools[class] = pool
  pool[#pool < MOST and #pool + 1 or random(MOST)] = value
end

function M.keep_resolver(f, resolve)
  if type(resolve) ~= "function" then return f end
  if is_open then resolvers[#resolvers + 1] = resolve else pcall(resolve) end
  return f
end

local function client_options()
  local options = { timeout = 0.2, attempt_timeout = chance(0.3) and 0.1 or nil }
  if chance(0.3) then options.retry = { max_attempts = 3, initial_backoff = 0.001, on_retry = M.fn() } end
  if chance(0.3) then options.breaker = { timeout = 0.01, on_state_change = M.fn() } end
  if chance(0.3) then options.api_key = function() M.mischief() return "key" end end
  if chance(0.3) then options.metadata = function() M.mischief() return M.metadata() end end
  if chance(0.2) then options.limiter = { rate = 1000, max_in_flight = "adaptive" } end
  return options
end

local function fresh_client()
  local ok, client
  if adopt and chance(0.8) then
    ok, client = pcall(adopt)
  else
    ok, client = pcall(arvak.connect, chance(0.9) and address or "127.0.0.1:1", client_options())
  end
  if not ok then return nil end
  M.keep(client)
  M.keep(client.async)
  return client
end

-- Makers of what no call of ours may have given yet.
local made = {
  ["arvak.client"] = fresh_client,
  ["arvak.client.async"] = function() return fresh_client().async end,
  ["arvak.future"] = function()
    local client = M.object "arvak.client"
    return chance(0.5) and M.keep_resolver(arvak.future()) or client.async:list_backends()
  end,
  ["arvak.stream"] = function() return (M.object "arvak.client":watch_job(M.text())) end,
  ["arvak.breaker"] = function() return arvak.circuit_breaker { timeout = 0.01 } end,
  ["arvak.retry_policy"] = function()
    return arvak.retry_policy { max_attempts = 3, initial_backoff = 0.001, max_backoff = 0.01 }
  end,
  ["arvak.batch_manager"] = function() return arvak.batch_manager(M.object "arvak.client", { max_workers = 4 }) end,
  ["arvak.batch_result"] = function()
    return arvak.run(function()
      return (arvak.with_timeout(0.3, M.object "arvak.batch_manager".execute_batch, M.object "arvak.batch_manager",
        { { BELL, 2 }, { "x", 1 } }, "simulator", { timeout = 0.2 }))
    end)
  end,
  ["arvak.error"] = function() return select(2, M.object "arvak.client":submit_circuit_json("{}", "simulator")) end,
  ["arvak.job"] = function()
    local client = M.object "arvak.client"
    return (client:get_job_status((client:submit_qasm(BELL, "simulator", 3))))
  end,
  ["arvak.result"] = function()
    local client = M.object "arvak.client"
    local text = chance(0.5) and BELL or "OPENQASM 3.0; qubit[10] q; h q;"
    return (client:execute(text, "simulator", { shots = chance(0.5) and 3 or 5000, max_wait = 0.2 }))
  end,
  ["arvak.backend"] = function() return (M.object "arvak.client":get_backend_info "simulator") end,
  ["arvak.pollable"] = function() return arvak.pollable() end,
}

-- One of the class, or nil.
function M.object(class)
  local pool = pools[class]
  if pool and #pool > 0 and chance(0.9) then
    local object = pick(pool)
    if class ~= "arvak.client" or tostring(object) ~= "arvak.client (closed)" or chance(0.1) then return object end
  end
  local ok, object = pcall(made[class] or function() end)
  if ok and object ~= nil then M.keep(object) end
  return ok and object or pool and pool[1] or nil
end

function M.each_object(visit)
  for class in pairs(made) do
    local object = M.object(class)
    if object ~= nil then visit(class, object) end
  end
end

-- ---- mischief: what metamethods, callbacks and finalizers do

local tricks = {
  function() end,
  function() error("raised by the program", 0) end,
  function() error({ "raised" }) end,
  function() error(nil) end,
  function() collectgarbage() end,
  function() collectgarbage("step", 100) end,
  function() if coroutine.isyieldable() then coroutine.yield(5) end end,
  function()
    local client = chance(0.3) and M.object "arvak.client"
    if client then client:close() end
  end,
  function() if act then act(true) end end,
  function() if act then act(true) end end,
  function() local f = M.object "arvak.future" if f then f:done() end end,
  function() arvak.sleep(0) end,
  function() pools[pick { "arvak.future", "arvak.stream", "arvak.result", "arvak.client" }] = nil end,
}

function M.mischief() pick(tricks)() end

-- Fields that the library keeps for itself, as a plugin knows them from its source.
local private = { "_ticket", "_tickets", "_timer", "_scope", "_task", "_observers", "_callbacks", "_values", "_cancel",
  "_state", "_client", "_user", "_fd", "_stream", "_raw", "_job_id", "_has_raised", "_is_read", "_is_noted", "_target",
  "_server", "_manager", "_run", "_max_workers", "_is_closed", "_is_over", "_sentinel", "_followed", "_results" }

local function any_object()
  local classes = {}
  for class in next, pools do classes[#classes + 1] = class end
  table.sort(classes)   -- a seed means the same again
  local pool = classes[1] and pools[pick(classes)]
  return pool and pool[1] ~= nil and pick(pool)
end

-- Writes to a private field of an object what stands in another's, or anything; or calls a function of that name.
local function forge()
  local object, other = any_object(), any_object()
  if type(object) ~= "table" then return end
  local name = pick(private)
  if chance(0.6) then
    local names = {}
    for key in next, object do if type(key) == "string" then names[#names + 1] = key end end
    table.sort(names)
    if names[1] then name = pick(names) end
  end
  local value
  if chance(0.5) and type(other) == "table" then value = rawget(other, name) else value = M.plain() end
  if chance(0.1) then value = M.fn() end
  if type(rawget(object, name)) == "function" and chance(0.5) then rawget(object, name)(object, value) end
  pcall(rawset, object, name, value)
end

-- Has the tricks write to what belongs to the library, too: what that does to these objects is the program's affair.
function M.know_private_names()
  for _ = 1, 4 do tricks[#tricks + 1] = forge end
end

M.forge = forge

-- Changes, or empties, a table that was handed to the library. Its own objects have fields that are not the program's.
local function change(t)
  if type(t) ~= "table" or class_of(t) then return end
  for _ = 1, random(20) do
    rawset(t, pick { 1, 2, 3, 50, "qasm", "shots", "x-a", random(1000), "timeout" }, M.plain())
  end
  if chance(0.3) then for key in next, t do rawset(t, key, nil) end end
end

local events = { "__index", "__newindex", "__call", "__len", "__pairs", "__eq", "__lt", "__le", "__concat",
  "__tostring", "__close", "__gc", "__unm", "__name", "__metatable", "__mode" }

-- The table with a metatable whose functions play tricks.
function M.curse(t)
  local meta, is_busy = {}, false
  for _ = 1, random(4) do
    local event = pick(events)
    meta[event] = event == "__name" and pick { "arvak.future", "arvak.client", "x\0y" }
      or event == "__metatable" and pick { false, 42, "arvak.future", {} } or event == "__mode" and "k"
      or function()
        if is_busy then return nil end
        is_busy = true
        if chance(0.3) then change(t) end
        local ok, err = pcall(M.mischief)
        is_busy = false
        if not ok and chance(0.5) then error(err, 0) end
        return M.plain()
      end
  end
  return setmetatable(t, meta)
end

-- A finalizer that changes the table at one of the next allocations.
local function haunt(t)
  setmetatable({}, { __gc = function() change(t) pcall(M.mischief) end })
  if chance(0.5) then collectgarbage("step", 200) end
  return t
end

-- ---- values

local strings = { "", "simulator", "x", "a\0b", "\0", "\xff\xfe", "\27[31m", "h\xc3\xa9", ("y"):rep(5000), BELL, "12",
  "OPENQASM 3.0;", "localhost:1", "adaptive", "full", "ALL_COMPLETED", "{}" }

function M.text()
  local job = chance(0.3) and pools["arvak.job"] and pick(pools["arvak.job"])
  return job and rawget(job, "job_id") or pick(strings)
end

local numbers = { 0, 1, -1, 2, 5, 0.5, -0.0, 1024, 2 ^ 31, 2 ^ 53, 1e308, -1e308, math.maxinteger, math.mininteger,
  1 / 0, 0 / 0, 1 << 32 }

function M.plain()
  return pick { M.text, function() return pick(numbers) end, function() return nil end,
    function() return chance(0.5) end, function() return {} end, function() return { BELL, 2 } end }()
end

function M.fn()
  if chance(0.1) then return M.curse {} end
  return function(...)
    if chance(0.5) then change((...)) end
    M.mischief()
    return M.plain(), M.plain()
  end
end

function M.metadata()
  local headers = {}
  for i = 1, random(4) do
    headers[pick { "x-a", "x-b", "x-api-key", "x-c" .. i, "X", "a\0b", "grpc-x", "x-bin" }] = chance(0.8) and "v" .. i
      or M.plain()
  end
  if chance(0.3) then haunt(headers) end
  return headers
end

local function entry()
  local made_entry = pick {
    function() return { BELL, random(9) } end, function() return { qasm = BELL, shots = random(9) } end,
    function() return { "nonsense" } end, function() return { qasm = M.text(), shots = pick(numbers) } end,
    function() return M.plain() end, function() return M.curse {} end,
    function() return M.curse { shots = 3 } end, function() return { BELL, 3, backend_id = "simulator" } end,
  }()
  return made_entry
end

local function circuits()
  if chance(0.25) then
    local left = random(5)
    return function()
      left = left - 1
      if chance(0.2) then M.mischief() end
      if left > 0 then return entry() end
    end
  end
  local list = {}
  for i = 1, random(6) do list[i] = chance(0.7) and { BELL, i } or entry() end
  return chance(0.3) and haunt(list) or list
end

local function futures()
  local list = {}
  for i = 1, random(4) do list[i] = chance(0.95) and M.object "arvak.future" or M.plain() end
  return list
end

local function path()
  if chance(0.2) then return pick { 5, true, "/nonexistent/x", "a\0b", {} } end
  return directory .. "/" .. random(4)
end

local function short() return pick { 0, 0.001, 0.01, 0.02, 0.05 } end

-- Proper values, by the name of a parameter or of an option.
local makers = {
  qasm = function() return chance(0.8) and BELL or M.text() end, circuits = circuits, backend_id = M.text,
  job_id = M.text, timeout = short, seconds = short, attempt_timeout = short, queue_timeout = short, max_wait = short,
  poll_interval = short, idle_timeout = short, initial_backoff = short, max_backoff = short, window = short,
  path = path, journal = path, fn = M.fn, futures = futures, metadata = M.metadata,
  client = function() return M.object "arvak.client" end, on_progress = M.fn, on_result = M.fn, on_retry = M.fn,
  on_state_change = M.fn, progress_callback = M.fn, api_key = function() return chance(0.5) and M.fn() or M.text() end,
  err = function() return chance(0.5) and M.object "arvak.error" or M.plain() end,
  attempt = function() return random(4) end,
  address = function() return chance(0.8) and address or M.text() end,
  retry = function() return pick { function() return M.options() end, function() return true end,
    function() return false end, function() return M.object "arvak.retry_policy" end }() end,
  breaker = function() return pick { function() return M.options() end, function() return false end,
    function() return M.object "arvak.breaker" end }() end,
  limiter = function() return { rate = 1000 } end, tls = function() return pick { false, {}, { ca = "x" } } end,
  channel_args = function() return haunt { ["grpc.a"] = 1, ["grpc.b"] = M.text() } end,
  items = function() return { M.object "arvak.result" } end, list = function() return { M.object "arvak.result" } end,
  result = function() return M.object "arvak.result" end, a = function() return M.object "arvak.result" end,
  b = function() return M.object "arvak.result" end, kind = function() return pick { "tvd", "hellinger", "x" } end,
  n = function() return random(5) end, qubits = function() return { 0, 1 } end, columns = function() return 40 end,
  progress = function() return { done = 1, total = 2 } end, shots = function() return random(9) end,
  state = M.text, codes = function() return haunt { "UNAVAILABLE", chance(0.8) and "ABORTED" or "X" } end,
  budget = function() return true end, jitter = function() return pick { true, false, "full", "equal", "x" } end,
  max_attempts = function() return random(4) end, transport = function() return pick { "auto", "stream", "unary" } end,
  fail_fast = function() return chance(0.5) end, collect = function() return chance(0.7) end,
  split = function() return chance(0.5) end, concurrency = function() return random(3) end,
  max_workers = function() return random(5) end, return_when = function() return "FIRST_COMPLETED" end,
  optimization_level = function() return random(3) end, chunk_size = function() return random(3) end,
  every_tick = function() return true end, failure_threshold = function() return random(3) end,
  on_unknown = function() return pick { "fail", "resubmit" } end,
  driver = function()
    return { running = M.fn(), suspend = M.fn(), resume = M.fn(), watch_fd = M.fn(), timer = M.fn() }
  end,
}

local groups = {
  call = { "timeout", "attempt_timeout", "queue_timeout", "metadata", "retry", "breaker" },
  submit = { "shots", "optimization_level", "timeout", "metadata", "retry", "breaker" },
  wait = { "max_wait", "poll_interval", "on_progress", "timeout", "metadata" },
  stream = { "timeout", "idle_timeout", "metadata", "chunk_size", "every_tick", "retry", "breaker" },
  batch = { "timeout", "on_result", "progress_callback", "transport", "fail_fast", "collect", "journal", "on_unknown" },
  policy = { "max_attempts", "initial_backoff", "max_backoff", "jitter", "codes", "budget", "on_retry",
    "failure_threshold", "window", "on_state_change" },
  connect = { "timeout", "api_key", "metadata", "tls", "channel_args", "limiter", "retry", "breaker" },
}
local options_for = {
  connect = "connect", configure = "call", resilient = "call", retry_policy = "policy", circuit_breaker = "policy",
  execute = "wait", wait_for_job = "wait", submit_qasm = "submit", submit_qasm_future = "wait", watch_job = "stream",
  submit_batch_future = "submit", stream_results = "stream", submit_batch_stream = "stream", execute_batch = "batch",
  submit_many = "batch", retry_failed = "batch",
}

local nesting = 0

-- A table of options for this method, of which few are wrong.
function M.options(method)
  if nesting > 2 or chance(0.2) then return nil end
  nesting = nesting + 1
  local names = groups[method and options_for[method.name] or pick { "call", "policy" }]
  local options = {}
  for _ = 0, random(3) do
    local name = pick(names)
    options[name] = chance(0.95) and makers[name] and makers[name]() or M.plain()
  end
  if method and options_for[method.name] == "wait" and chance(0.7) then options.max_wait = short() end
  if chance(0.05) then options.nonsense = 1 end
  nesting = nesting - 1
  if chance(0.15) then M.curse(options) end
  if chance(0.15) then haunt(options) end
  return options
end

local kinds = { "arvak.client", "arvak.client.async", "arvak.future", "arvak.stream", "arvak.error", "arvak.job",
  "arvak.result", "arvak.breaker", "arvak.retry_policy", "arvak.batch_manager" }

-- Anything. level bounds how deep tables nest.
function M.any(level)
  if level <= 0 or chance(0.3) then return M.plain() end
  return pick {
    function() return M.object(pick(kinds)) end, function() return M.fn() end, function() return M.curse {} end,
    function() return M.curse { M.any(level - 1), M.any(level - 1) } end, function() return io.stdout end,
    function() return coroutine.create(function() M.mischief() end) end, function() return { M.any(level - 1) } end,
    function() return haunt { M.any(level - 1), x = M.any(level - 1) } end, function() return M.options() end,
  }()
end

-- For this parameter of this method: mostly what it should be.
function M.argument(name, method)
  if name == "path" then return path() end
  if name == "timeout" or name == "seconds" then return chance(0.9) and short() or pick { -1, "1", {}, 0 / 0 } end
  if chance(0.12) then return M.any(2) end
  if name == "options" then return M.options(method) end
  local value = (makers[name] or M.any)(1)
  local is_plain = type(value) == "table" and not class_of(value) and not debug.getmetatable(value)
  return is_plain and chance(0.1) and M.curse(value) or value
end

-- ---- a round

-- adopt_client: makes a client of a host's; nil: there is no host.
function M.open(server_address, fn, adopt_client)
  address, act, is_open, adopt = server_address, fn, true, adopt_client
  directory = os.tmpname()
  os.remove(directory)
  os.execute("mkdir -p " .. directory)
  pools = {}
end

-- Drops everything, as a program would at its end.
function M.close(judge)
  for _, class in ipairs { "arvak.attachment", "arvak.pollable", "arvak.stream", "arvak.client" } do
    for _, object in ipairs(pools[class] or {}) do
      local fn = object.detach or object.close or object.cancel
      judge(pcall(fn, object))
    end
  end
  act, is_open = nil, false
  for _, resolve in ipairs(resolvers) do judge(pcall(resolve)) end
  pools, resolvers = {}, {}
  os.execute("rm -rf " .. directory)
end

return M
