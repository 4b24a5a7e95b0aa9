-- Every link of the documents leads somewhere, every file that they or comments name is there, and every page is found.
-- SPDX-License-Identifier: Apache-2.0
local documents = require "spec.support.documents"

local function is_elsewhere(target) return target:find("^%a+:") ~= nil end

describe("the documents", function()
  for _, path in ipairs(documents.paths()) do
    it(path .. ": each link leads to a file, and to a heading in it", function()
      for _, target in ipairs(documents.links(documents.read(path))) do
        if not is_elsewhere(target) then
          local file, anchor = target:match("^([^#]*)#?(.*)$")
          local to = file == "" and path or documents.resolve(path, file)
          assert.is_true(documents.exists(to), target)
          if anchor ~= "" then assert.is_true(documents.anchors(documents.read(to))[anchor], target) end
        end
      end
    end)
  end

  -- The change log names what was there once.
  for _, path in ipairs(documents.paths()) do
    if path ~= "CHANGELOG.md" then
      it(path .. ": each file that it names is there", function()
        for _, span in ipairs(documents.spans(documents.read(path))) do
          local top = span:match("^(%l+/)[%w_./-]+%.%l+$")
          if top and top ~= "build/" and documents.exists(top) then assert.is_true(documents.exists(span), span) end
        end
      end)
    end
  end

  it("can all be found from the README", function()
    local seen, queue = { ["README.md"] = true, ["CHANGELOG.md"] = true }, { "README.md" }
    while #queue > 0 do
      local path = table.remove(queue)
      for _, target in ipairs(documents.links(documents.read(path))) do
        local to = not is_elsewhere(target) and documents.resolve(path, (target:gsub("#.*$", "")))
        if to and to:find("%.md$") and not seen[to] then
          seen[to] = true
          queue[#queue + 1] = to
        end
      end
    end
    for _, path in ipairs(documents.paths()) do assert.is_true(seen[path], path .. ": no page links to it") end
  end)

  it("are there where sources and tools name them", function()
    local pipe <close> = assert(io.popen("grep -roE 'docs/[A-Za-z0-9_/-]+[.]md' src lua spec tools mk proto bench "
      .. "examples simulator Makefile *.rockspec"))
    local count = 0
    for line in pipe:lines() do
      local path = line:match(":(.*)$")
      count = count + 1
      assert.is_true(documents.exists(path), line)
    end
    assert.is_true(count > 10)
  end)
end)
