-- A home-made scheduler on socket.select, and arvak attached to it.
local arvak = require "arvak"
local socket = require "socket"
local ready, watched, timers = {}, {}, {}

local function resume(co) ready[#ready + 1] = co end

local function watch_fd(fd, fn)
  local source = { getfd = function() return fd end }
  watched[source] = fn
  return function() watched[source] = nil end
end

local function timer(seconds, fn)
  local entry = { due = socket.gettime() + seconds, fn = fn }
  timers[entry] = true
  return function() timers[entry] = nil end
end

local function loop()
  while #ready > 0 or next(watched) or next(timers) do
    local batch = ready
    ready = {}
    for _, co in ipairs(batch) do assert(coroutine.resume(co)) end
    local sources, first = {}, nil
    for source in pairs(watched) do sources[#sources + 1] = source end
    for entry in pairs(timers) do
      if not first or entry.due < first.due then first = entry end
    end
    local left = first and math.max(0, first.due - socket.gettime())
    if #ready > 0 or (#sources == 0 and not first) then left = 0 end
    for _, source in ipairs((socket.select(sources, nil, left))) do watched[source]() end
    if first and timers[first] and first.due <= socket.gettime() then
      timers[first] = nil
      first.fn()
    end
  end
end

-- arvak in it: five functions
local attachment = arvak.attach {
  running = function()
    local co, is_main = coroutine.running()
    return not is_main and co or nil
  end,
  suspend = function() coroutine.yield() end,
  resume = resume, watch_fd = watch_fd, timer = timer,
}

local client = arvak.connect(os.getenv("ARVAK_ADDRESS") or "embedded")
for i = 1, 3 do
  resume(coroutine.create(function()
    print(i, assert(client:execute("OPENQASM 3.0; qubit[2] q; h q[0]; cx q[0], q[1];", "simulator", 100 * i)))
  end))
end

loop()
attachment:detach()
client:close()
