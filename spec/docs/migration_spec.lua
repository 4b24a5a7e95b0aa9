-- docs/MIGRATION.md: every name of the Python client is in it, and every piece of Lua in it runs, in tables too.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"

local PATH = "docs/MIGRATION.md"

local file = assert(io.open(PATH))
local text = file:read("a")
file:close()

local blocks = {}
for block in text:gmatch("```lua\n(.-)```") do blocks[#blocks + 1] = block end
local prelude = table.remove(blocks, 1)

-- The tables: lists of rows, each a list of cells.
local function tables_of()
  local list, current = {}, nil
  for line in text:gmatch("(.-)\n") do
    if line:find("^|") then
      local row = {}
      for cell in line:sub(2):gmatch("([^|]*)|") do row[#row + 1] = cell:match("^%s*(.-)%s*$") end
      if not current then
        current = {}
        list[#list + 1] = current
      end
      if not line:find("^|%-") then current[#current + 1] = row end
    else
      current = nil
    end
  end
  return list
end

-- The cells that hold Lua, as { code, Python }; the last piece of code of a cell counts.
local function cells_of()
  local list = {}
  for _, rows in ipairs(tables_of()) do
    local head = rows[1]
    local columns = head[1] == "Python" and #head == 3 and (head[3] == "at once" and { 2, 3 } or { 2 }) or {}
    for i = 2, #rows do
      for _, column in ipairs(columns) do
        local code = rows[i][column]:match("`([^`]+)`[^`]*$")
        if code then list[#list + 1] = { code, rows[i][1] } end
      end
    end
  end
  return list
end

-- Runs Lua after the lines that the guide begins with; its values.
local function run(code)
  local env = setmetatable({ print = function() end }, { __index = _G })
  local ending = "\nend)())\nif arvak.type(values[1]) == 'future' then values[1]:wait(1) end\nclient:close()\n"
    .. "return table.unpack(values, 1, values.n)\n"
  local head = prelude .. "\nlocal values = table.pack((function()\n"
  local chunk = load(head .. "return " .. code .. ending, "=" .. PATH, "t", env)
    or assert(load(head .. code .. ending, "=" .. PATH, "t", env))
  return chunk()
end

local function alone(code)
  local env = setmetatable({ print = function() end }, { __index = _G })
  return assert(load(code, "=" .. PATH, "t", env))()
end

describe("the guide for those who come from Python", function()
  after_each(helper.assert_clean)

  for _, cell in ipairs(cells_of()) do
    it(("runs %s for %s"):format(cell[1], cell[2]), function()
      local value, err = run(cell[1])
      if arvak.type(value) == "future" and value:done() then value, err = value:result() end
      if arvak.type(value) == "client" then value:close() end
      if err ~= nil and arvak.is_error(err) then assert.equal("not_cancelable", err.kind, tostring(err)) end
    end)
  end

  for i, block in ipairs(blocks) do
    it(("has a piece of code number %d that runs"):format(i + 1), function()
      if block:find('require "arvak"', 1, true) then alone(block) else run(block) end
    end)
  end

  it("has something to run in its tables", function() assert.is_true(#cells_of() > 80, #cells_of()) end)
end)

-- By section of the Python client's documentation.
local names = {
  client = "ArvakClient close submit_qasm submit_circuit_json submit_batch submit_qasm_future submit_batch_future "
    .. "get_job_status get_job_result cancel_job wait_for_job list_backends get_backend_info watch_job stream_results "
    .. "submit_batch_stream AsyncArvakClient progress_callback ConnectionPool get_channel return_channel poll_interval "
    .. "max_wait client_request_id pool_size format",
  futures = "JobFuture job_id done cancelled running cancel result exception add_done_callback wait "
    .. "as_concurrent_future CancelledError as_completed return_when",
  resilience = "RetryStrategy EXPONENTIAL_BACKOFF LINEAR_BACKOFF CONSTANT RetryPolicy max_attempts initial_backoff "
    .. "max_backoff backoff_multiplier jitter retryable_status_codes should_retry get_backoff_delay "
    .. "CircuitBreakerConfig failure_threshold success_threshold half_open_max_calls CircuitState CircuitBreaker "
    .. "is_open can_proceed record_success record_failure CircuitBreakerError with_retry with_circuit_breaker "
    .. "ResilientClient",
  batches = "BatchStatus PENDING RUNNING COMPLETED FAILED PARTIAL BatchProgress percent_complete is_complete "
    .. "success_rate BatchResult results failures status total_time success_count failure_count total_count "
    .. "BatchJobManager max_workers submit_many wait_all execute_batch fail_fast map print_progress_bar",
  types = "JobState Job is_terminal is_pending is_success JobResult counts execution_time_ms metadata probabilities "
    .. "most_frequent BackendInfo topology ArvakError ArvakJobNotFoundError ArvakBackendNotFoundError "
    .. "ArvakInvalidCircuitError ArvakJobNotCompletedError TimeoutError",
}

describe("the guide's first columns", function()
  local words = {}
  for _, rows in ipairs(tables_of()) do
    for _, row in ipairs(rows) do
      for span in row[1]:gmatch("`([^`]+)`") do
        for word in span:gmatch("[%a_][%w_]*") do words[word] = true end
      end
      for word in row[1]:gmatch("[%a_][%w_]*") do words[word] = true end
    end
  end

  for section, list in pairs(names) do
    it("have every Python name of " .. section, function()
      local missing = {}
      for name in list:gmatch("%S+") do
        if not words[name] then missing[#missing + 1] = name end
      end
      assert.equal("", table.concat(missing, " "))
    end)
  end
end)
