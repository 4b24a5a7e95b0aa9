-- The reference: written anew from the annotations, complete, with examples that run and options that the code takes.
-- SPDX-License-Identifier: Apache-2.0
package.path = "./?.lua;" .. package.path
local arvak = require "arvak"
local helper = require "spec.helper"
local reference = require "tools.reference"

local file <close> = assert(io.open(reference.source))
local sections = reference.parse(file:read("a"))

local function each(kind, visit)
  for _, section in ipairs(sections) do
    for _, entry in ipairs(section.entries) do
      if entry.kind == kind then visit(entry) end
    end
  end
end

local function parts_of(entry, kind)
  local list = {}
  for _, part in ipairs(reference.parts(entry.text)) do
    if part.kind == kind then list[#list + 1] = part.text end
  end
  return list
end

local function gives_errors(entry)
  for _, value in ipairs(entry.returns) do
    if value.type:find("arvak.error", 1, true) and not value.type:find("^fun") then return true end
  end
  return false
end

local RPC = { list_backends = true }   -- fail as every call does, and in no way of their own

describe("the reference", function()
  it("is as the annotations say: make reference", function()
    assert.same({}, reference.stale())
  end)

  it("has each function, and each class, once", function()
    for _, kind in ipairs { "class", "function" } do
      local seen = {}
      each(kind, function(entry)
        local name = entry.shown or entry.name
        assert.is_nil(seen[name], name)
        seen[name] = true
      end)
    end
  end)

  each("function", function(entry)
    it("says what " .. entry.shown .. " does, what may go wrong, and shows it", function()
      assert.is_true(#parts_of(entry, "text") > 0, "no description")
      assert.is_true(#parts_of(entry, "example") > 0, "no example")
      if gives_errors(entry) and not RPC[entry.name] then
        local text = table.concat(entry.text, "\n")
        assert.truthy(text:find("Errors:", 1, true) or entry.returns[#entry.returns].meaning ~= "", "no errors")
      end
      local named = {}
      for name in entry.arguments:gmatch("[%w_.]+") do named[#named + 1] = name end
      for i, param in ipairs(entry.params) do assert.equal(named[i], param.name) end
      assert.equal(#named, #entry.params)
    end)
  end)

  each("class", function(entry)
    if entry.name:find("options", 1, true) then
      it("says what each field of " .. entry.name .. " means", function()
        for _, field in ipairs(entry.fields) do assert.is_true(#field.meaning > 0, field.name) end
      end)
    end
  end)
end)

describe("an example of the reference", function()
  after_each(helper.assert_clean)

  local function run(name, code)
    local quiet_io = setmetatable({ write = function() end }, { __index = io })
    local env = setmetatable({ print = function() end, io = quiet_io }, { __index = _G })
    local chunk = reference.prelude .. "do\n" .. code .. "\nend\n"
    return assert(load(chunk, "=" .. name, "t", env))()
  end

  for _, kind in ipairs { "function", "class" } do
    each(kind, function(entry)
      local name = entry.shown or entry.name
      for i, example in ipairs(parts_of(entry, "example")) do
        it(("runs: %s, number %d"):format(name, i), function() run(name, example) end)
      end
    end)
  end
end)

-- The fields of a class of options, those of its parents too, as the messages list them.
local function documented(name)
  local classes, names = {}, {}
  each("class", function(entry) classes[entry.name] = entry end)
  local class = assert(classes[name], name)
  while class do
    for _, field in ipairs(class.fields) do names[#names + 1] = field.name end
    class = classes[class.parent]
  end
  table.sort(names)
  return names
end

local function plan_with(manager, options)
  local path = os.tmpname()
  assert(manager:execute_batch({}, "simulator", { journal = path }))
  local journal <close> = assert(arvak.journal(path))
  os.remove(path)
  journal:plan({}, "simulator", options)
end

-- Calls that take options, by the class that describes them. Each gets one that nobody knows.
local function calls(client, manager, server)
  local bad = { ["no such option"] = true }
  local bell = helper.bell
  return {
    ["arvak.connect_options"] = function() arvak.connect("embedded", bad) end,
    ["arvak.limiter_options"] = function() arvak.connect("embedded", { limiter = bad }) end,
    ["arvak.tls_options"] = function() arvak.connect("localhost:1", { tls = bad }) end,
    ["arvak.retry_options"] = function() arvak.retry_policy(bad) end,
    ["arvak.retry_budget"] = function() arvak.retry_policy { budget = bad } end,
    ["arvak.breaker_options"] = function() arvak.circuit_breaker(bad) end,
    ["arvak.policies"] = function() client:configure(bad) end,
    ["arvak.batch_manager_options"] = function() arvak.batch_manager(client, bad) end,
    ["arvak.wait_condition"] = function() arvak.wait({}, bad) end,
    ["arvak.map_options"] = function() arvak.map({}, print, bad) end,
    ["arvak.csv_options"] = function() arvak.export.to_csv("/nowhere/x", {}, bad) end,
    ["arvak.call_options"] = function() client:get_job_status("id", bad) end,
    ["arvak.submit_options"] = function() client:submit_qasm(bell, "simulator", bad) end,
    ["arvak.get_job_result_options"] = function() client:get_job_result("id", bad) end,
    ["arvak.wait_options"] = function() client:wait_for_job("id", bad) end,
    ["arvak.execute_options"] = function() client:execute(bell, "simulator", bad) end,
    ["arvak.submit_batch_options"] = function() client:submit_batch({}, "simulator", bad) end,
    ["arvak.stream_options"] = function() client:submit_batch_stream({}, "simulator", bad) end,
    ["arvak.watch_options"] = function() client:watch_job("id", bad) end,
    ["arvak.result_stream_options"] = function() client:stream_results("id", bad) end,
    ["arvak.batch_options"] = function() manager:execute_batch({}, "simulator", bad) end,
    ["arvak.submit_many_options"] = function() manager:submit_many({}, "simulator", bad) end,
    ["arvak.wait_all_options"] = function() manager:wait_all({}, bad) end,
    ["arvak.as_completed_options"] = function() manager:as_completed({}, bad) end,
    ["arvak.manager_map_options"] = function() manager:map(print, {}, bad) end,
    ["arvak.plan_options"] = function() plan_with(manager, bad) end,
    ["arvak.driver"] = function() arvak.attach(bad) end,
    ["arvak.read_options"] = function() arvak.circuit.from_qasm(bell, bad) end,
    ["arvak.lower_options"] = function() arvak.circuit.new(1):lowered(bad) end,
    ["arvak.qasm_options"] = function() arvak.circuit.new(1):to_qasm(bad) end,
    ["arvak.draw_options"] = function() arvak.circuit.new(1):draw(bad) end,
    ["arvak.svg_options"] = function() arvak.circuit.new(1):to_svg("/nowhere/x.svg", bad) end,
    ["arvak.devserver.options"] = function() require("arvak.devserver").start(bad) end,
    ["arvak.devserver.restart_options"] = function() server:restart(bad) end,
  }
end

describe("an option", function()
  local client, manager, server

  setup(function()
    server = helper.start()
    client = arvak.connect(server.address)
    manager = arvak.batch_manager(client)
  end)

  teardown(function()
    manager:close()
    client:close()
    server:stop()
    client, manager, server = nil, nil, nil
    helper.assert_clean()
  end)

  local classes = {}
  for name in pairs(calls()) do classes[#classes + 1] = name end
  table.sort(classes)

  for _, name in ipairs(classes) do
    it("of " .. name .. " is documented when the code takes it, and the other way round", function()
      local ok, message = pcall(calls(client, manager, server)[name])
      assert.is_false(ok)
      message = tostring(message)
      local list = message:match("expected one of ([%w_, ]+)") or message:match("%(expected ([%w_, ]+)%)")
      assert.truthy(list, message)
      local taken = {}
      for option in list:gmatch("[%w_]+") do taken[#taken + 1] = option end
      table.sort(taken)
      assert.same(documented(name), taken)
    end)
  end

  it("belongs to one of these classes, if it is optional", function()
    each("class", function(entry)
      if entry.name:find("options$") then assert.truthy(calls()[entry.name], entry.name) end
    end)
  end)
end)
