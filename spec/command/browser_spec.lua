-- The report in a browser: it fits its window, light and dark, narrow and wide, and its search works. Only where
-- Chromium is installed, which nothing else needs.
-- SPDX-License-Identifier: Apache-2.0
local command = require "spec.support.command"

local has_browser = os.execute "command -v chromium >/dev/null 2>&1" == true
local in_browser = has_browser and it or pending

local folder, remove

-- What the page says of itself at this width, after this script has run in it: its title.
local function title_after(script, width, scheme)
  local page = command.read_file(folder .. "/report.html")
  command.write_file(folder .. "/page.html", (page:gsub("</body>", function()
    return "<script>" .. script .. "</script></body>"
  end)))
  local result = command.shell(("timeout 60 chromium --headless --no-sandbox --disable-gpu --user-data-dir=%s "
    .. "--blink-settings=preferredColorScheme=%d --window-size=%d,800 --dump-dom file://%s/page.html"):format(
    command.quote(folder .. "/profile"), scheme, width, folder))
  return result.out:match "<title>(.-)</title>"
end

describe("the report in a browser", function()
  setup(function()
    folder, remove = command.folder()
    local lines = {}
    for i = 1, 40 do
      lines[i] = ('{"qasm": "OPENQASM 3.0; qubit[3] q; bit[3] c; h q; c = measure q; // %d", '
        .. '"id": "a-rather-long-name-%d"}'):format(i, i)
    end
    command.write_file(folder .. "/runs.jsonl", table.concat(lines, "\n"))
    local options = { folder = folder }
    local words = { "batch", "runs.jsonl", "--address", "embedded", "--journal", "run.db", "-q", "-o", "out.csv" }
    assert(command.run(words, options).code == 0)
    assert(command.run({ "report", "run.db", "-o", "report.html" }, options).code == 0)
  end)

  teardown(function() remove() end)

  for _, width in ipairs { 400, 1400 } do
    for scheme, name in pairs { [0] = "dark", [1] = "light" } do
      in_browser(("fits %d pixels, %s"):format(width, name), function()
        local script = "document.title = document.documentElement.scrollWidth + ' '"
          .. " + getComputedStyle(document.body).backgroundColor"
        local found = title_after(script, width, scheme)
        assert.is_true(tonumber(found:match "^%d+") <= math.max(width, 500))   -- no window of Chromium's is narrower
        assert.matches(name == "dark" and "rgb%(%d%d, " or "rgb%(255, 255, 255%)", found)
      end)
    end
  end

  in_browser("finds what is searched for", function()
    assert.equal("1 of 40", title_after("const f = document.getElementById('search'); f.value = 'NAME-17';"
      .. "f.dispatchEvent(new Event('input')); document.title = document.getElementById('shown').textContent", 1400, 1))
  end)
end)
