-- The progress bar: what its lines say, how often plain ones come, and how it fits itself to a terminal.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"
local monotime = require("system").monotime

local lua = os.getenv("LUA") or "lua5.4"

-- A progress as a batch reports it, with these fields changed; false stands for nil.
local function progress_of(changes)
  local progress = { total = 100, completed = 40, failed = 2, running = 8, pending = 50, percent_complete = 42,
    elapsed_time = 9.5, throughput = 3.36, eta = 17.3, success_rate = 95.2, is_complete = false }
  for name, value in pairs(changes or {}) do progress[name] = value or nil end
  return progress
end

-- What is printed when standard error is no terminal.
local function printed(...)
  local text, stderr = {}, io.stderr
  rawset(io, "stderr", {
    write = function(_, ...) text[#text + 1] = table.concat { ... } end,
    flush = function() end,
  })
  local ok, err = true, nil
  for _, progress in ipairs { ... } do
    ok, err = pcall(arvak.print_progress_bar, progress)
  end
  rawset(io, "stderr", stderr)
  assert(ok, err)
  return table.concat(text)
end

-- The same, asked until the second after the line before is over.
local function printed_in_time(progress)
  local text, deadline = printed(progress), monotime() + 10
  while text == "" and monotime() < deadline do
    arvak.sleep(0.05)
    text = printed(progress)
  end
  return text
end

-- The only line of a progress that is over, whenever the line before was.
local function last_line(changes)
  local all = { completed = 98, failed = 2, running = 0, pending = 0, is_complete = true, eta = false }
  for name, value in pairs(changes or {}) do all[name] = value end
  return printed(progress_of(all))
end

describe("print_progress_bar without a terminal", function()
  it("prints one line at most a second, and always the last", function()
    local many = {}
    for i = 1, 200 do many[i] = progress_of { completed = i // 4 } end
    local since = monotime()
    local text = printed(table.unpack(many))
    local lines = select(2, text:gsub("\n", ""))
    assert.is_true(lines <= 1 + (monotime() - since) // 1)
    assert.equal("100/100, 100.0 %, 2 failed, took 0:09, 3.36/s\n", last_line())
    assert.equal("", printed(progress_of()))
  end)

  it("prints again when a second has passed", function()
    last_line()
    assert.equal("42/100, 42.0 %, 2 failed, ETA 0:17, 3.36/s, 8 running\n", printed_in_time(progress_of()))
  end)

  it("prints less often of a batch that runs for longer: a log of it stays short", function()
    last_line()
    assert.not_equal("", printed_in_time(progress_of { elapsed_time = 9 }))
    local since = monotime()
    for _, elapsed in ipairs { 10, 599, 600, 1e6 } do
      while monotime() - since < 1.5 do arvak.sleep(0.1) end
      assert.equal("", printed(progress_of { elapsed_time = elapsed }))
    end
    for _, elapsed in ipairs { 0, 9.9, false, 0 / 0 } do
      assert.not_equal("", printed_in_time(progress_of { elapsed_time = elapsed }))
    end
  end)

  it("says how long it took, and 100 %, only when all have ended", function()
    for _, changes in ipairs {
      { completed = 0, failed = 0, is_complete = true }, { total = 1e9, completed = 1e9 - 1, failed = 0 },
      { completed = 98, is_complete = false },
    } do
      local text = printed_in_time(progress_of(changes))
      assert.matches("running\n$", text)
      assert.is_nil(text:find("took", 1, true))
      if changes.completed ~= 98 then assert.is_nil(text:find("100.0", 1, true)) end
    end
  end)

  it("needs no total", function()
    assert.equal("42 ended, 2 failed, took 0:09, 3.36/s\n",
      last_line { total = false, completed = 40, percent_complete = false })
  end)

  it("is at ease with nothing to do", function()
    assert.equal("0/0, took 0:00, 0.00/s\n",
      last_line { total = 0, completed = 0, failed = 0, elapsed_time = 0, throughput = 0 })
    assert.equal("0 ended, took ?\n",
      printed { completed = 0, failed = 0, running = 0, pending = 0, is_complete = true })
    assert.equal("0 ended, took ?\n", printed { is_complete = true })
  end)

  local huge, nan = math.huge, 0 / 0
  for expected, throughput in pairs {
    ["<0.01/s"] = 1e-9, ["9.99/s"] = 9.99, ["9999/s"] = 9999, ["12.3k/s"] = 12345, ["5.0M/s"] = 5e6, ["2.0G/s"] = 2e9,
    ["many/s"] = 1e300,
  } do
    it(("writes a rate of %g as %s"):format(throughput, expected), function()
      assert.equal("100/100, 100.0 %, 2 failed, took 0:09, " .. expected .. "\n",
        last_line { throughput = throughput })
    end)
  end

  for expected, seconds in pairs {
    ["0:00"] = 0.9, ["1:00"] = 60, ["59:59"] = 3599.9, ["1:00:00"] = 3600, ["95:59:59"] = 4 * 86400 - 1,
    ["4 d"] = 4 * 86400, [">999 d"] = 1e12, ["?"] = nan,
  } do
    it(("writes %g seconds as %s"):format(seconds, expected), function()
      assert.matches("took " .. expected:gsub("%p", "%%%0") .. ", ", last_line { elapsed_time = seconds })
    end)
  end

  it("leaves out figures that are none", function()
    for _, figure in ipairs { nan, huge, -huge, -1, "fast", {} } do
      assert.equal("100/100, 100.0 %, 2 failed, took 0:09\n", last_line { throughput = figure })
    end
    assert.equal("1e+300/1e+300, 100.0 %, took 0:09, 3.36/s\n",
      last_line { total = 1e300, completed = 1e300, failed = 0 })
    assert.equal("2 ended, 2 failed, took 0:09, 3.36/s\n", last_line { total = nan, completed = "many" })
  end)

  it("ends with a line of all that was drawn when a batch over an iterator is stopped", function()
    local server = helper.start { job_latency = 60 }
    local client = arvak.connect(server.address)
    local last
    local r = arvak.batch_manager(client, { max_workers = 8 }):execute_batch(function() return { helper.bell, 1 } end,
      "simulator", { timeout = 0.05, progress_callback = function(progress) last = progress end })
    assert.equal(r.total_count, last.total)
    assert.matches(("^%d/%d, 100%%.0 %%%%, %d failed, took 0:0"):format(r.total_count, r.total_count, r.failure_count),
      printed(last))
    client:close()
    server:stop()
  end)

  it("ends its line with what keeps the batch from its end, on one line, and escaped", function()
    assert.equal("42/100, 42.0 %, 2 failed, ETA 0:17, 3.36/s, 8 running, no server\\n\\27[31m\n",
      printed_in_time(progress_of { trouble = "no server\n\27[31m" }))
    assert.matches("3%.36/s\n$", last_line { trouble = "no server" })
    assert.matches("running\n$", printed_in_time(progress_of { trouble = 5 }))
  end)

  it("raises at the caller for what is no progress", function()
    for _, value in ipairs { 5, "half", false } do
      assert.error_matches(function() arvak.print_progress_bar(value) end, "expected a table of progress")
    end
    assert.error_matches(function() arvak.print_progress_bar() end, "print_progress_bar: got nil")
  end)
end)

-- Runs print_progress_bar on a pseudo terminal of so many columns: its output, with "\r" and "\n" as they come.
local function on_terminal(columns, locale, changes)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write("local arvak = require 'arvak'\n")
  for _, change in ipairs(changes) do
    local fields = {}
    for name, value in pairs(progress_of(change)) do
      fields[#fields + 1] = (type(value) == "string" and "%s = %q" or "%s = %s"):format(name, value)
    end
    file:write("arvak.print_progress_bar { ", table.concat(fields, ", "), " }\n")
  end
  file:close()
  local command = ("script -qec \"stty cols %d rows 24; LC_ALL='%s' '%s' '%s' >/dev/null\" /dev/null </dev/null")
    :format(columns, locale, lua, path)
  local pipe = assert(io.popen(command))
  local text = pipe:read("a")
  pipe:close()
  os.remove(path)
  return text
end

describe("print_progress_bar on a terminal", function()
  -- A bare chroot has no pseudo terminals.
  local has_terminals = os.execute("script -qec true /dev/null </dev/null >/dev/null 2>&1")
  local it = has_terminals and it or pending

  it("draws one line again, as wide as the terminal but for the last column, and ends it at the end", function()
    for _, columns in ipairs { 40, 60, 80, 100 } do
      local text = on_terminal(columns, "C", { {}, { completed = 60 }, { completed = 98, is_complete = true } })
      local lines = {}
      for line in text:gmatch("\r([^\r\n]+)") do
        lines[#lines + 1] = line
        assert.equal(columns - 1, #line)
      end
      assert.equal(3, #lines, text)
      assert.equal(1, select(2, text:gsub("\n", "")))
      assert.matches("\r?\n$", text)
      assert.matches("42/100", lines[1])
      assert.matches("100/100", lines[3])
    end
  end)

  it("has a bar of # and - in ASCII, whose length is the share", function()
    local text = on_terminal(80, "C", { { completed = 48 } })
    local full, open = text:match("%[(#+)(%-+)%]  50/100  50%.0 %%  2 failed  ETA 0:17")
    assert.is_true(math.abs(#full - #open) <= 1, text)
    assert.is_nil(text:find("[\128-\255]"))
  end)

  it("has blocks in UTF-8, one column each", function()
    local text = on_terminal(80, "C.UTF-8", { {} })
    local line = text:match("\r([^\r\n]+)")
    assert.equal(79, utf8.len(line))
    assert.matches("^%[[█░]+%]  42/100", line)
  end)

  it("leaves out the bar and what is less important where there is no room", function()
    assert.equal("42/100  42.0 %     ", on_terminal(20, "C", { {} }):match("\r([^\r\n]+)"))
    assert.equal("42/100 ", on_terminal(8, "C", { {} }):match("\r([^\r\n]+)"))
    assert.equal("    ", on_terminal(5, "C", { {} }):match("\r([^\r\n]+)"))
  end)

  it("says as much as fits of what keeps the batch from its end", function()
    local trouble = "the server has failed for 2.0 s: nobody is listening at the address, as it seems"
    local function line_of(...) return on_terminal(...):match("\r([^\r\n]+)") end
    assert.equal("42/100  the server has failed for 2...", line_of(39, "C", { { trouble = trouble } }))
    assert.matches("42/100  .*as it seems *$", line_of(120, "C", { { trouble = trouble } }))
    local line = line_of(30, "C.UTF-8", { { trouble = ("é"):rep(40) } })
    assert.truthy(utf8.len(line), line)
  end)

  it("has no bar without a total, or with a total of nothing", function()
    assert.is_nil(on_terminal(80, "C", { { total = false }, { total = 0 } }):find("[", 1, true))
  end)
end)
