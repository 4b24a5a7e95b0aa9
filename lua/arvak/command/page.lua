-- The frame of the report: its style and its few lines of script. Nothing in it comes from outside.
-- SPDX-License-Identifier: Apache-2.0
local M = {}

M.head = [[
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>%s</title>
<style>
:root { color-scheme: light dark; --text: #1d2430; --soft: #5a6475; --line: #d6dbe3; --bar: #2f6fb5; --bad: #b3372c;
  --back: #ffffff; --panel: #f4f6f9 }
@media (prefers-color-scheme: dark) { :root { --text: #e4e8ef; --soft: #a3adbd; --line: #3a4352; --bar: #6ea8e6;
  --bad: #f0837a; --back: #161a21; --panel: #1f252e } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 70rem; padding: 1rem; background: var(--back); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif }
h1 { font-size: 1.4rem; overflow-wrap: anywhere } h2 { font-size: 1.1rem; margin-top: 2rem }
.figures { display: flex; flex-wrap: wrap; gap: .75rem; padding: 0; list-style: none }
.figures li { background: var(--panel); border-radius: .4rem; padding: .5rem 1rem; min-width: 7rem }
.figures b { display: block; font-size: 1.3rem } .soft { color: var(--soft) } .bad { color: var(--bad) }
.wide { overflow-x: auto } table { border-collapse: collapse; width: 100%% }
th, td { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top;
  overflow-wrap: anywhere }
td.number, th.number { text-align: right } code, .mono { font-family: ui-monospace, monospace; font-size: .9em }
svg { width: 100%%; height: 7rem; display: block } svg rect { fill: var(--bar) } svg text { fill: var(--soft) }
.histograms { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: 1rem }
figure { margin: 0; background: var(--panel); border-radius: .4rem; padding: .75rem }
figcaption { overflow-wrap: anywhere }
.row { display: grid; grid-template-columns: fit-content(9rem) 1fr 4rem; gap: .5rem; align-items: center }
.row span:first-child { overflow-wrap: anywhere } .row i { display: block; height: .8rem; background: var(--bar) }
input { font: inherit; width: 100%%; padding: .4rem; border: 1px solid var(--soft); border-radius: .3rem;
  background: var(--back); color: var(--text) }
</style>
</head>
<body>
]]

M.tail = [[
<script>
const field = document.getElementById("search"), rows = document.querySelectorAll("#items tbody tr");
const shown = document.getElementById("shown");
field.parentElement.hidden = false;
field.addEventListener("input", () => {
  const wanted = field.value.toLowerCase();
  let count = 0;
  for (const row of rows) {
    row.hidden = !row.textContent.toLowerCase().includes(wanted);
    if (!row.hidden) count++;
  }
  shown.textContent = count + " of " + rows.length;
});
</script>
</body>
</html>
]]

return M
