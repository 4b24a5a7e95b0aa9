-- examples/web.lua, tried with curl.
-- SPDX-License-Identifier: Apache-2.0
local helper = require "spec.helper"

describe("examples/web.lua", function()
  local server, port, pid, log

  local function read(path)
    local file <close> = assert(io.open(path))
    return file:read("a")
  end

  before_each(function()
    server = helper.start()
    log = os.tmpname()
    local command = ("ARVAK_ADDRESS=%s exec %s examples/web.lua 0 >%s 2>&1 & echo $!")
      :format(server.address, os.getenv("LUA") or "lua5.4", log)
    local pipe <close> = assert(io.popen(command))
    pid = assert(pipe:read("l"))
    port = helper.eventually(function() return read(log):match("127%.0%.0%.1:(%d+)") end)
  end)

  after_each(function()
    os.execute("kill " .. pid)
    server:stop()
    os.remove(log)
    helper.assert_clean()
  end)

  local function curl(arguments)
    local pipe <close> = assert(io.popen(("curl --noproxy '*' -s -m 20 -w ' %%{http_code}' %s"):format(arguments)))
    local body, code = pipe:read("a"):match("^(.-)%s*(%d+)$")
    return tonumber(code), body
  end

  local function post(qasm, query)
    return curl(("--data-binary '%s' http://127.0.0.1:%s/submit%s"):format(qasm, port, query or ""))
  end

  it("takes circuits and gives results", function()
    local code, body = post(helper.bell, "?shots=50")
    assert.equal(201, code, body)
    local job_id = assert(body:match('"job_id":"([%w-]+)"'), body)
    helper.eventually(function()
      code, body = curl(("http://127.0.0.1:%s/result/%s"):format(port, job_id))
      return code ~= 202
    end)
    assert.equal(200, code, body)
    local sum = 0
    for count in body:match('"counts":{(.-)}'):gmatch(":(%d+)") do sum = sum + tonumber(count) end
    assert.equal(50, sum)
  end)

  it("says what is wrong", function()
    local code, body = post("OPENQASM 3.0; qubit q; hadamard q;")
    assert.equal(400, code)
    assert.matches("invalid_circuit", body, 1, true)
    assert.equal(404, (curl(("http://127.0.0.1:%s/result/none"):format(port))))
    assert.equal(404, (curl(("http://127.0.0.1:%s/elsewhere"):format(port))))
    server:stop()
    code = post(helper.bell)
    assert.equal(503, code)
  end)

  it("answers many at once", function()
    local output = os.tmpname()
    local pipe <close> = assert(io.popen(("for i in $(seq 30); do curl --noproxy '*' -s -m 20 --data-binary '%s' "
      .. "http://127.0.0.1:%s/submit >>%s & done; wait; cat %s"):format(helper.bell, port, output, output)))
    local _, count = pipe:read("a"):gsub('"job_id"', "")
    os.remove(output)
    assert.equal(30, count)
  end)
end)
