-- Texts of a server on a terminal: what is printed moves no cursor and turns no text round; the fields have it all.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"
local peer = require "spec.support.peer"

-- An escape sequence, controls, a bell, broken UTF-8, C1 controls, marks that change the direction of reading, and
-- what is harmless.
local evil = {
  ["\27[31mred\rover"] = [[\27[31mred\rover]], ["\7\8\x7f1"] = [[\7\8\1271]], ["\255a\1951"] = [[\255a\1951]],
  ["\xED\xA0\x80 \xC0\xAF"] = [[\237\160\128 \192\175]], ["\u{9b}2J\x9b \x1b0"] = [[\u{9b}2J\155 \0270]],
  ["\u{202e}gnp\u{2066}x\u{200f}"] = [[\u{202e}gnp\u{2066}x\u{200f}]],
  ["\u{61c}\u{2028}\u{e0041}"] = [[\u{61c}\u{2028}\u{e0041}]], ["é 漢 😀 \\27"] = "é 漢 😀 \\27",
}

-- Nothing a terminal would act upon but ends of lines and tabs.
local function assert_harmless(text)
  assert.is_truthy(utf8.len(text))
  assert.is_nil(text:find "[\0-\8\11-\31\127]")
  for _, code in utf8.codes(text) do
    assert.is_false((code >= 0x80 and code < 0xa0) or (code >= 0x200e and code <= 0x202e)
      or (code >= 0x2066 and code <= 0x2069))
  end
end

local function field(number, text) return string.pack("Bs1", number << 3 | 2, text) end

describe("what a server sends", function()
  local client, server

  local function open(answer)
    server = peer.start { answer = answer }
    client = arvak.connect(server:address(), { timeout = helper.TEST_TIMEOUT, retry = false })
  end

  after_each(function()
    client:close()
    server:stop()
    client, server = nil, nil
    helper.assert_clean()
  end)

  it("as the message of a status is escaped when the error is printed, and whole in its field", function()
    open(peer.status(13, "none"))
    for raw, shown in pairs(evil) do
      local encoded = raw:gsub("[^\32-\36\38-\126]", function(char) return ("%%%02X"):format(char:byte()) end)
      server:plan("requests", { peer.status(13, encoded) })
      local _, err = client:get_job_status("job-1")
      assert.equal(raw, err.message)
      assert.truthy(tostring(err):find(shown, 1, true), tostring(err))
      assert_harmless(tostring(err))
      assert_harmless("at " .. err)
    end
  end)

  it("keeps its lines and tabs in a message", function()
    open(peer.status(13, "one%0A%09two%0D"))
    local _, err = client:get_job_status("job-1")
    assert.matches("one\n\ttwo\\r %(job job%-1%)$", tostring(err))
  end)

  it("as ids is escaped when a job, a result or a backend is printed", function()
    open(peer.answer(field(1, field(1, "a\27[2J\nb") .. "\16\3")))
    local job = assert(client:get_job_status("a\27[2J\nb"))
    assert.equal("a\27[2J\nb", job.job_id)
    assert.equal([[arvak.job a\27[2J\nb (COMPLETED)]], tostring(job))
  end)

  it("as the message of a failed job is escaped in the error of whoever waits for it", function()
    open(peer.answer(field(1, field(1, "j") .. "\16\4" .. field(8, "no \27]0;title\7 luck"))))
    local _, err = client:wait_for_job("j")
    assert.equal("job_failed", err.kind)
    assert_harmless(tostring(err))
  end)

  it("as bitstrings is escaped in a histogram, and raw in the counts", function()
    local count = field(1, "0\27[31m") .. "\16\5"
    open(peer.answer(field(1, field(1, "\27c") .. field(2, count) .. field(2, field(1, "01") .. "\16\4") .. "\24\9")))
    local result = assert(client:get_job_result("\27c"))
    assert.equal(5, result.counts["0\27[31m"])
    assert.equal([[arvak.result \27c (9 shots)]], tostring(result))
    assert_harmless(result:histogram())
    assert.truthy(result:histogram():find([[0\27[31m]], 1, true))
    local _, err = result:expectation()
    assert_harmless(tostring(err))
  end)
end)

describe("misuse", function()
  it("names a key that a server has sent without acting upon it", function()
    local ok, message = pcall(arvak.results.distance, { ["\27[31m"] = 1 }, { ["1"] = 1 }, "tvd")
    assert.is_false(ok)
    assert_harmless(message)
    assert.truthy(message:find([["\27[31m"]], 1, true))
  end)
end)

describe("a journal", function()
  it("with a name that a terminal would act upon is printed without it", function()
    local path = os.tmpname() .. "\27[2J"
    local _, err = arvak.journal(path)
    assert_harmless(tostring(err))
    assert.truthy(err.message:find(path, 1, true))
  end)
end)
