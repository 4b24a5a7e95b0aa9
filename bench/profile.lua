-- Where the instructions of one SubmitJob go, in the yardstick and in our client: both run under callgrind, twice, so
-- that the difference of a long and a short run leaves out starting and connecting. Instructions of user space,
-- which are nearly the same in every run; the kernel's time is not seen here.
-- SPDX-License-Identifier: Apache-2.0
local sample = require "bench.sample"

local build, lua = os.getenv("ARVAK_BUILD") or "build", os.getenv("LUA") or "lua5.4"
local SHORT, LONG, TOP = 2000, 12000, 12

local address = os.getenv("TCP")
if not address then error("run me by bench/serve", 0) end
if not os.execute("valgrind --version >/dev/null 2>&1") then
  print("where the instructions go: not measured, valgrind is not installed")
  return
end

-- ---- callgrind's file: costs by function, and what each part spent in malloc's family and elsewhere in libc

-- Of libc, these call back: what they cost is not libc's.
local CALLS_BACK = { "main", "start", "once", "init", "qsort", "runtime_resolve" }
local MALLOC = { malloc = true, calloc = true, realloc = true, free = true, posix_memalign = true, memalign = true }

local GRPC = "gRPC and what it links"

-- Which part of a program a function belongs to.
local function part_of(object, file)
  if file:find("src/core/", 1, true) or file:find("src/lua/", 1, true) then
    return file:find("src/core/", 1, true) and "arvak, src/core" or "arvak, src/lua"
  elseif file:find("bench/", 1, true) then
    return "the yardstick's own code"
  elseif object:find("protobuf%-c") or file:find("pb%-c%.c") then
    return "protobuf-c"
  elseif object:find("lua") then
    return "Lua"
  elseif object:find("grpc") or object:find("gpr") or object:find("absl") or object:find("upb") or
    object:find("address_sorting") or object:find("stdc%+%+") or object:find("re2") then
    return GRPC
  elseif object:find("/libc%.so") or object:find("/ld%-linux") or object:find("/libm%.so") then
    return "libc"
  end
  return "the rest"
end

-- "(12) name" names a number, "(12)" uses it.
local function new_names()
  local names = {}
  return function(text)
    local id, name = text:match("^%((%d+)%)%s*(.*)")
    if not id then return text end
    if name ~= "" then names[id] = name end
    return names[id]
  end
end

local function new_costs() return { parts = {}, malloc = {}, libc = {}, functions = {}, catch_up = { 0 } } end

local function add(list, key, value) list[key] = (list[key] or 0) + value end

-- A call into libc counts for the part that called. After a pause our client first looks after its connections; under
-- valgrind every call comes after a pause, so that is taken out.
local function add_call(costs, from, to, name, cost)
  if name == "arvak__loop_catch_up" then add(costs.catch_up, 1, cost) end
  if to ~= "libc" or from == "libc" then return end
  for _, word in ipairs(CALLS_BACK) do
    if name:find(word, 1, true) then return end
  end
  add(MALLOC[name] and costs.malloc or costs.libc, from, cost)
end

local function read_costs(path)
  local costs, object_name, file_name, function_name = new_costs(), new_names(), new_names(), new_names()
  local object, file, name, called_object, called_file, called, is_call = "", "", "", nil, nil, nil, false
  for line in io.lines(path) do
    local key, value = line:match("^(%l+)=(.*)")
    if key == "ob" then object = object_name(value)
    elseif key == "fl" then file = file_name(value)
    elseif key == "fi" or key == "fe" then file_name(value)
    elseif key == "fn" then name = function_name(value)
    elseif key == "cob" then called_object = object_name(value)
    elseif key == "cfi" or key == "cfl" then called_file = file_name(value)
    elseif key == "cfn" then called = function_name(value)
    elseif key == "calls" then is_call = true
    elseif line:find("^[+%-*%d]") then
      local cost, part = tonumber(line:match("(%d+)$")), part_of(object, file)
      if is_call then
        is_call = false
        add_call(costs, part, part_of(called_object or object, called_file or file), called, cost)
        called_object, called_file = nil, nil
      else
        add(costs.parts, part, cost)
        add(costs.functions, part .. ": " .. name, cost)
      end
    end
  end
  return costs
end

-- ---- runs

local function profile(command, calls, in_flight)
  local path = os.tmpname()
  sample.output(("valgrind -q --tool=callgrind --callgrind-out-file=%s %s %s %d %d 1 2>&1"):format(path, command,
    address, calls, in_flight))
  local costs = read_costs(path)
  os.remove(path)
  return costs
end

-- Instructions a call: a run of n calls does a tenth more to warm up.
local function a_call(command, in_flight)
  local long, short, calls = profile(command, LONG, in_flight), profile(command, SHORT, in_flight), (LONG - SHORT) * 1.1
  for what, list in pairs(long) do
    for key, cost in pairs(list) do list[key] = (cost - (short[what][key] or 0)) / calls end
  end
  return long
end

-- ---- the tables

local function print_parts(title, raw, ours)
  local parts, total = {}, { raw = 0, ours = 0 }
  for _, costs in ipairs { raw, ours } do
    for part in pairs(costs.parts) do parts[part] = true end
  end
  parts.libc = nil
  ours.parts[GRPC] = ours.parts[GRPC] - ours.catch_up[1]
  local order = {}
  for part in pairs(parts) do order[#order + 1] = part end
  table.sort(order, function(a, b) return (ours.parts[a] or 0) > (ours.parts[b] or 0) end)
  print(("%-40s %10s %10s %10s   %s"):format(title, "raw", "arvak", "beyond", "of which malloc, other libc"))
  for _, part in ipairs(order) do
    local function sum(costs) return (costs.parts[part] or 0) + (costs.malloc[part] or 0) + (costs.libc[part] or 0) end
    local a, b = sum(raw), sum(ours)
    total.raw, total.ours = total.raw + a, total.ours + b
    print(("  %-38s %10.0f %10.0f %+10.0f   %+.0f, %+.0f"):format(part, a, b, b - a,
      (ours.malloc[part] or 0) - (raw.malloc[part] or 0), (ours.libc[part] or 0) - (raw.libc[part] or 0)))
  end
  print(("  %-38s %10.0f %10.0f %+10.0f   ratio %.2f"):format("together", total.raw, total.ours, total.ours - total.raw,
    total.raw / total.ours))
  if ours.catch_up[1] >= 1 then
    print(("  not counted: %.0f for looking after connections, as after every pause of 50 us"):format(ours.catch_up[1]))
  end
end

local function print_top(raw, ours)
  local order = {}
  for name, cost in pairs(ours.functions) do
    local more = cost - (raw.functions[name] or 0)
    if more >= 1 then order[#order + 1] = { name = name, more = more } end
  end
  table.sort(order, function(a, b) return a.more > b.more end)
  print("  the functions that take most beyond raw, in instructions of their own:")
  for i = 1, math.min(TOP, #order) do print(("    %6.0f  %s"):format(order[i].more, order[i].name)) end
end

print("where the instructions of a SubmitJob go (TCP, 1 connection, user space; a call to libc counts for its caller)")
for _, in_flight in ipairs { 1, 64 } do
  local raw = a_call(build .. "/bench/raw", in_flight)
  local ours = a_call(lua .. " bench/calls.lua", in_flight)
  print_parts(in_flight .. " in flight, instructions a call", raw, ours)
  print_top(raw, ours)
end
