-- arvak report: a journal as one page of HTML that needs nothing else.
-- Invariant: whatever stands in the journal is text in the page, never markup.
-- SPDX-License-Identifier: Apache-2.0
local ends = require "arvak.command.ends"
local journals = require "arvak.command.journal"
local out = require "arvak.command.out"
local page = require "arvak.command.page"

local M = {}

local SHOWN_HISTOGRAMS, SHOWN_OUTCOMES, LEAST_BARS, BARS = 6, 8, 20, 60

local entities = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;" }

local function html(value)
  return (out.printable(tostring(value)):gsub("[&<>\"']", entities))
end

local function put(format, ...)
  out.write(select("#", ...) > 0 and format:format(...) or format)
end

-- ---- what is told

local function collect(journal)
  local found = { items = {}, by_kind = {}, kinds = {}, ends = {}, histograms = {}, first = math.huge, last = 0 }
  for item in journal:items() do
    found.items[#found.items + 1] = { index = item.index, id = item.id, state = item.state, job_id = item.job_id,
      message = item.err and tostring(item.err.message) or "" }
    if item.result and #found.histograms < SHOWN_HISTOGRAMS then
      found.histograms[#found.histograms + 1] = { name = item.id or item.index, result = item.result }
    end
    if item.sent_at then found.first = math.min(found.first, item.sent_at) end
    if item.ended_at then
      found.ends[#found.ends + 1] = item.ended_at
      found.last = math.max(found.last, item.ended_at)
    end
    if item.err then
      local kind = tostring(item.err.kind)
      local group = found.by_kind[kind]
      if not group then
        group = { count = 0, message = item.err.message }
        found.by_kind[kind] = group
        found.kinds[#found.kinds + 1] = kind
      end
      group.count = group.count + 1
    end
  end
  return found
end

-- ---- sections

local function put_figures(journal, found)
  local counts = journals.counts(journal)
  put('<ul class="figures">')
  put("<li><b>%s</b>circuits</li>", journal.total and tostring(journal.total) or "?")
  for _, state in ipairs { "completed", "failed", "submitted", "intent", "unknown", "not sent" } do
    local count = counts[state] or 0
    if count > 0 or state == "completed" then
      put('<li><b%s>%d</b>%s</li>', state == "failed" and ' class="bad"' or "", count, state)
    end
  end
  local seconds = found.last - found.first
  if seconds > 0 then put("<li><b>%.1f</b>ended a second</li>", #found.ends / seconds) end
  put "</ul>\n"
end

local function utc(seconds) return os.date("!%Y-%m-%d %H:%M:%S UTC", seconds) end

-- Seconds of the journal are whole, so a bar covers at least one.
local function put_throughput(found)
  if #found.ends == 0 then return end
  local span = math.max(1, found.last - found.first + 1)
  local width = math.max(1, math.ceil(span / BARS))
  local bins, most = {}, 0
  for _, moment in ipairs(found.ends) do
    local bin = (moment - math.min(found.first, moment)) // width
    bins[bin] = (bins[bin] or 0) + 1
    most = math.max(most, bins[bin])
  end
  local count = math.ceil(span / width)
  put("<h2>Throughput</h2>\n<p class=\"soft\">Circuits that ended in each %d s, at most %d; from %s to %s.</p>\n",
    width, most, utc(found.first), utc(found.last))
  put('<svg viewBox="0 0 %d 120" role="img" aria-label="ends over time" preserveAspectRatio="none">',
    math.max(count, LEAST_BARS) * 10)
  for bin = 0, count - 1 do
    local height = (bins[bin] or 0) * 115 // most
    put('<rect x="%d" y="%d" width="8" height="%d"/>', bin * 10 + 1, 118 - height, height)
  end
  put "</svg>\n"
end

local function put_failures(found)
  if #found.kinds == 0 then return end
  table.sort(found.kinds, function(a, b) return found.by_kind[a].count > found.by_kind[b].count end)
  put '<h2>Failures</h2>\n<div class="wide"><table><thead><tr><th>kind</th><th class="number">count</th>'
  put "<th>first message</th></tr></thead><tbody>\n"
  for _, kind in ipairs(found.kinds) do
    local group = found.by_kind[kind]
    put('<tr><td>%s</td><td class="number">%d</td><td>%s</td></tr>\n', html(kind), group.count, html(group.message))
  end
  put "</tbody></table></div>\n"
end

local function put_histogram(histogram)
  local result = histogram.result
  local top = result:top(SHOWN_OUTCOMES) or {}
  put("<figure><figcaption>%s <span class=\"soft\">%d shots</span></figcaption>\n", html(histogram.name), result.shots)
  for _, outcome in ipairs(top) do
    put('<div class="row"><span class="mono">%s</span><i style="width:%.1f%%"></i><span>%d</span></div>\n',
      html(outcome.bits), 100 * outcome.count / math.max(1, top[1].count), outcome.count)
  end
  put "</figure>\n"
end

local function put_histograms(found)
  if #found.histograms == 0 then return end
  put '<h2>First results</h2>\n<div class="histograms">\n'
  for _, histogram in ipairs(found.histograms) do put_histogram(histogram) end
  put "</div>\n"
end

local function put_items(found)
  put('<h2>All circuits</h2>\n<p hidden><label for="search">Search</label> <input id="search" type="search"> '
    .. '<span id="shown" class="soft">%d of %d</span></p>\n', #found.items, #found.items)
  put '<div class="wide"><table id="items"><thead><tr><th class="number">index</th><th>id</th><th>state</th>'
  put "<th>job</th><th>message</th></tr></thead><tbody>\n"
  for _, item in ipairs(found.items) do
    put('<tr><td class="number">%d</td><td>%s</td><td>%s</td><td class="mono">%s</td><td>%s</td></tr>\n', item.index,
      html(item.id or ""), html(item.state), html(item.job_id or ""), html(item.message))
  end
  put "</tbody></table></div>\n"
end

function M.report(options)
  local journal <close> = journals.open(options.file)
  local found = collect(journal)
  local name = options.file:match "[^/]+$" or options.file
  put(page.head, "arvak: " .. html(name))
  put("<h1>%s</h1>\n<p class=\"soft\">backend %s, begun %s</p>\n", html(name), html(journal.backend_id or "?"),
    utc(journal.created_at))
  put_figures(journal, found)
  put_throughput(found)
  put_failures(found)
  put_histograms(found)
  put_items(found)
  out.write(page.tail)
  return ends.codes.ok
end

return M
