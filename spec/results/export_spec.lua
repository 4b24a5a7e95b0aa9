-- Files of outcomes: what they hold, and that one which is there is whole.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local cjson = require "cjson"

local export = arvak.export
local directory, path

local function read(name)
  local file = assert(io.open(name, "rb"))
  local text = file:read("a")
  file:close()
  return text
end

local function files()
  local pipe = assert(io.popen(("ls -A '%s'"):format(directory)))
  local text = pipe:read("a")
  pipe:close()
  return text
end

local function result_of(counts, shots)
  local result = arvak.results.merge {}
  result.job_id, result.counts, result.shots, result.metadata_json = "job-1", counts, shots, '{"a":"\\"b\\""}'
  return result
end

local bell = result_of({ ["11"] = 1, ["00"] = 3 }, 4)
local refused = { rpc = "GetJobStatus", kind = "job_not_found" }

local function an_error()
  local client <close> = arvak.connect("127.0.0.1:1")
  return select(2, client:submit_circuit_json("{}", "simulator"))
end

describe("a file of outcomes", function()
  before_each(function()
    directory = os.tmpname()
    os.remove(directory)
    assert(os.execute(("mkdir '%s'"):format(directory)))
    path = directory .. "/out"
  end)

  after_each(function() os.execute(("chmod -R u+w '%s'; rm -r '%s'"):format(directory, directory)) end)

  it("as CSV has a line for each outcome and one for each item without", function()
    bell.execution_time_ms = 7
    assert.is_true(export.to_csv(path, {
      { index = 1, id = "bell", job_id = "job-1", attempts = 2, result = bell },
      { index = 2, attempts = 1, err = an_error() },
      { index = 3, job_id = "job-3", attempts = 1, result = result_of({}, 0) },
      { index = 4, err = 'a "bad",\nthing' },
    }))
    bell.execution_time_ms = nil
    assert.equal([[
index,id,job_id,attempts,bitstring,count,shots,probability,execution_time_ms,error,message
1,bell,job-1,2,00,3,4,0.75,7,,
1,bell,job-1,2,11,1,4,0.25,7,,
2,,,1,,,,,,invalid_circuit,the service takes no circuits as JSON; submit OpenQASM 3 with submit_qasm
3,,job-3,1,,,0,,,,
4,,,,,,,,,error,"a ""bad"",
thing"
]], read(path))
  end)

  it("as JSON can be read again and has lost nothing", function()
    local err = an_error()
    assert.is_true(export.to_json(path, {
      { index = 5, job_id = "job-1", attempts = 2, result = bell }, { index = 6, attempts = 1, err = err },
    }))
    local items = cjson.decode(read(path))
    assert.equal(2, #items)
    assert.same({
      index = 5, id = cjson.null, job_id = "job-1", attempts = 2, shots = 4, execution_time_ms = cjson.null,
      metadata_json = bell.metadata_json, counts = { ["00"] = 3, ["11"] = 1 },
    }, items[1])
    assert.same({
      index = 6, id = cjson.null, job_id = cjson.null, attempts = 1,
      error = { kind = "invalid_circuit", attempts = 0, message = err.message, retryable = false,
        maybe_executed = false },
    }, items[2])
  end)

  it("as JSON has counts and fractions with all their digits", function()
    export.to_json(path, { { result = result_of({ ["0"] = math.maxinteger, ["1"] = 1 << 53 | 1 }, 1) },
      { attempts = 0.1, index = 0 / 0, job_id = math.huge, err = "none" } })
    local text = read(path)
    assert.truthy(text:find('"counts":{"0":9223372036854775807,"1":9007199254740993}', 1, true))
    assert.truthy(text:find('"index":null,"id":null,"job_id":null,"attempts":0.1,"error":', 1, true))
  end)

  it("as JSON is UTF-8 whatever the strings hold", function()
    local odd = "tab\t quote\" back\\ nul\0 del\127 é \255\xC3 \u{10FFFF}"
    export.to_json(path, { { job_id = odd, err = "\xED\xA0\x80" }, { err = setmetatable({}, refused) } })
    local text = read(path)
    assert.is_truthy(utf8.len(text))
    assert.equal("tab\t quote\" back\\ nul\0 del\127 é \u{FFFD}\u{FFFD} \u{10FFFF}", cjson.decode(text)[1].job_id)
  end)

  it("of no items is empty, but valid", function()
    assert.is_true(export.to_json(path, {}))
    assert.same({}, cjson.decode(read(path)))
    assert.is_true(export.to_csv(path, function() end))
    assert.equal(1, select(2, read(path):gsub("\n", "")))
  end)

  it("takes an iterator, which may wait, and numbers items that have no index", function()
    arvak.run(function()
      local left = 3
      assert.is_true(export.to_json(path, function()
        arvak.sleep(0.001)
        left = left - 1
        return left >= 0 and { result = bell } or nil
      end))
    end)
    local items = cjson.decode(read(path))
    assert.same({ 1, 2, 3, "job-1" }, { items[1].index, items[2].index, items[3].index, items[3].job_id })
  end)

  it("replaces the one before only when it is whole, and leaves nothing else behind", function()
    assert.is_true(export.to_csv(path, { { result = bell } }))
    local before = read(path)
    local left = 1000
    local ok, err = pcall(export.to_csv, path, function()
      left = left - 1
      return left > 0 and { result = bell } or error("no more", 0)
    end)
    assert.same({ false, "no more" }, { ok, err })
    assert.equal(before, read(path))
    assert.equal("out\n", files())
    assert.is_true(export.to_csv(path, {}))
    assert.not_equal(before, read(path))
    assert.equal("out\n", files())
  end)

  it("that is abandoned in the middle leaves nothing behind", function()
    local co = coroutine.create(function() export.to_csv(path, coroutine.yield) end)
    assert(coroutine.resume(co))
    assert(coroutine.resume(co, { result = bell }))
    assert.matches("part", files())
    coroutine.close(co)
    assert.equal("", files())
  end)

  it("that cannot be made is nil and an error, which names the path", function()
    for _, wrong in ipairs { directory .. "/none/out", directory } do
      local ok, err = export.to_json(wrong, { { result = bell } })
      assert.is_nil(ok)
      assert.is_true(arvak.is_error(err))
      assert.truthy(tostring(err):find(wrong .. " cannot be written: ", 1, true))
    end
    assert.equal("", files())
  end)

  it("on a full disk is nil and an error, and the file before stays", function()
    assert.is_true(export.to_csv(path, { { result = bell } }))
    local before = read(path)
    local script = directory .. "/fill.lua"
    local file <close> = assert(io.open(script, "w"))
    file:write([[
      local arvak = require "arvak"
      local rest = 20000
      print(arvak.export.to_csv(arg[1], function()
        rest = rest - 1
        return rest > 0 and { err = "no result" } or nil
      end))
    ]])
    file:flush()
    local pipe = assert(io.popen(("trap '' XFSZ; ulimit -f 8; %s '%s' '%s' 2>&1"):format(os.getenv "LUA" or "lua5.4",
      script, path)))
    local output = pipe:read "a"
    assert(pipe:close(), output)
    assert.matches("^nil\trpc: .*/out cannot be written: File too large", output)
    assert.equal(before, read(path))
    assert.equal("fill.lua\nout\n", files())
  end)

  it("in a Lua state without io and os says so", function()
    local kept = io
    _G.io = nil
    local ok, value, err = pcall(export.to_csv, path, { { result = bell } })
    _G.io = kept
    assert.is_true(ok)
    assert.is_nil(value)
    assert.matches("there are no io and os in this Lua state", err.message)
    assert.equal("", files())
  end)

  it("raises for what are no arguments, and leaves nothing behind", function()
    for pattern, call in pairs {
      ["path: got 5"] = function() export.to_csv(5, {}) end,
      ["to_json: items: got nil"] = function() export.to_json(path) end,
      ["to_csv: item 2: got 5, expected a table"] = function() export.to_csv(path, { { err = "e" }, 5 }) end,
      ["to_json: item 1: result: got a table"] = function() export.to_json(path, { { result = {} } }) end,
      ["to_csv: item 1: got an arvak.result, expected"] = function() export.to_csv(path, { bell }) end,
      ["to_json: item 2: got an arvak.error"] = function() export.to_json(path, { { result = bell }, an_error() }) end,
      ["to_csv: items: got an arvak.result"] = function() export.to_csv(path, bell) end,
      ["to_csv: item 1: got neither result nor err"] = function() export.to_csv(path, { { counts = {} } }) end,
      ["to_json: item 1: got neither"] = function() export.to_json(path, function() return {} end) end,
      ["to_csv: items: got the key \"a\""] = function() export.to_csv(path, { a = { result = bell } }) end,
      ["to_json: items: got .*, expected a list"] = function()
        export.to_json(path, { [1] = { result = bell }, [3] = { result = bell } })
      end,
      ["to_csv: unknown option \"quotes\""] = function() export.to_csv(path, {}, { quotes = true }) end,
      ["quote_formulas: got 1"] = function() export.to_csv(path, {}, { quote_formulas = 1 }) end,
    } do
      assert.error_matches(call, "^" .. pattern)
    end
    assert.equal("", files())
  end)
end)
