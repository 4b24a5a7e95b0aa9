-- The command line: every subcommand, option and word of help. The manual page and the completions are made from what
-- stands here, so they cannot disagree with it.
-- SPDX-License-Identifier: Apache-2.0
local ends = require "arvak.command.ends"
local argparse = ends.load("argparse", "Install the Debian package lua-argparse, or: luarocks install argparse")
local values = require "arvak.command.values"

local M = {}

-- ---- options that several subcommands share

local function add_output(command, formats, default)
  command:option("--format", "How to print: " .. table.concat(formats, ", ") .. "."):choices(formats):default(default)
    :argname "<format>"
  command:option("-o --output", "Write to this file, not to standard output."):argname "<file>"
end

local function add_where(command)
  command:group("Where",
    command:option("--address", "host:port, unix:/path, or embedded: a server in this process "
      .. "(default: $ARVAK_ADDRESS)."):argname "<address>",
    command:option("--profile", "Settings of this name in $XDG_CONFIG_HOME/arvak/ (default: $ARVAK_PROFILE).")
      :argname "<name>",
    command:option("--api-key-file", "File of the API key; without it, $ARVAK_API_KEY.")
      :argname "<file>",
    command:flag("--tls", "Encrypt the connection."),
    command:option("--ca", "Certificates to trust; implies --tls."):argname "<file>",
    command:option("--cert", "The client's certificate; implies --tls."):argname "<file>",
    command:option("--key", "The key of the client's certificate."):argname "<file>",
    command:option("--server-name", "Name in the server's certificate; implies --tls.")
      :argname "<name>",
    command:option("--timeout", "Seconds that one call may take (default: 30)."):convert(values.seconds)
      :argname "<seconds>")
end

local function add_param(command)
  command:option("--param", "Bind a parameter, to 0.5 or pi/2; repeatable.")
    :convert(values.parameter):count "*":argname "<name=value>"
end

local function add_label(command)
  command:option("--label", "Label of the jobs in the ledger (see arvak jobs)."):argname "<text>"
end

local function add_circuit(command, backend)
  command:option("--backend", backend or "Where to run (default: profile's or simulator)."):argname "<id>"
  command:option("--shots", "Runs of each circuit (default: profile's or 1024).")
    :convert(values.shots):argname "<n>"
  command:option("-O --optimization", "The server's optimization, 0 (default) to 3; 2 and 3 take only gates on one "
    .. "qubit."):convert(values.level):argname "<n>"
  add_param(command)
end

local formats = { results = { "histogram", "counts", "json", "csv" }, records = { "table", "json", "csv" } }

-- ---- subcommands, in the order of the help

local makers = {}

function makers.run(parser)
  local command = parser:command("run", "Run circuits and print what was counted.")
  command:argument("file", "OpenQASM 2 or 3; - is standard input."):args "+":argname "<file>"
  add_circuit(command)
  command:option("--max-wait", "Seconds to wait for each job (default: until it ends)."):convert(values.seconds)
    :argname "<seconds>"
  add_label(command)
  add_output(command, formats.results, "histogram")
  add_where(command)
  return command, { "arvak run bell.qasm --shots 1000 --address embedded",
    "arvak run ansatz.qasm --param theta=0.3 --format json" }
end

function makers.submit(parser)
  local command = parser:command("submit", "Submit circuits and print a job's id for each.")
  command:argument("file", "OpenQASM 2 or 3; - is standard input."):args "+":argname "<file>"
  add_circuit(command)
  add_label(command)
  add_output(command, { "table", "json" }, "table")
  add_where(command)
  return command, { "arvak submit bell.qasm", "arvak submit *.qasm --shots 4096 > jobs.txt" }
end

local function add_jobs(command)
  command:argument("job", "Ids of jobs; - reads them from standard input."):args "+":argname "<job>"
end

function makers.status(parser)
  local command = parser:command("status", "What has become of jobs.")
  add_jobs(command)
  add_output(command, formats.records, "table")
  add_where(command)
  return command, { "arvak status 4f0c9d", "arvak status - --format json < jobs.txt" }
end

function makers.result(parser)
  local command = parser:command("result", "The counts of jobs that have ended.")
  add_jobs(command)
  command:option("--circuit", "The program, so that counts are over its own bits."):argname "<file>"
  add_param(command)
  add_output(command, formats.results, "histogram")
  add_where(command)
  return command, { "arvak result 4f0c9d", "arvak result 4f0c9d --circuit bell.qasm --format csv" }
end

function makers.watch(parser)
  local command = parser:command("watch", "Print each change of jobs until they have ended.")
  add_jobs(command)
  command:option("--max-wait", "Seconds to watch (default: until they end)."):convert(values.seconds_or_none)
    :argname "<seconds>"
  add_output(command, { "table", "json" }, "table")
  add_where(command)
  return command, { "arvak watch 4f0c9d", "arvak watch - --max-wait 60 < jobs.txt" }
end

function makers.cancel(parser)
  local command = parser:command("cancel", "Cancel jobs.")
  add_jobs(command)
  add_output(command, { "table", "json" }, "table")
  add_where(command)
  return command, { "arvak cancel 4f0c9d", "arvak cancel - < jobs.txt" }
end

function makers.backends(parser)
  local command = parser:command("backends", "What the server has to run on.")
  command:argument("id", "Only this one."):args "?":argname "<id>"
  add_output(command, formats.records, "table")
  add_where(command)
  return command, { "arvak backends", "arvak backends simulator --format json" }
end

function makers.batch(parser)
  local command = parser:command("batch", "Run many circuits; with a journal, nothing is lost and nothing runs twice.")
  command:argument("source", "Files, folders, .jsonl manifests; - lists names."):args "+":argname "<source>"
  add_circuit(command)
  command:option("--sweep", "Take count values of a parameter; they multiply.")
    :convert(values.sweep):count "*":argname "<name=from:to:count>"
  command:option("--journal", "A file, or a PostgreSQL database that machines share: it notes what was sent and came; "
    .. "the same command goes on."):argname "<name>"
  command:flag("--extend", "Add circuits behind those that the journal has.")
  command:flag("--dry-run", "Say what the batch would do, and do nothing.")
  add_label(command)
  command:option("--workers", "Unfinished jobs at once (default: 32).")
    :convert(values.whole(1)):argname "<n>"
  command:option("--transport", "auto, stream or unary."):choices { "auto", "stream", "unary" }:default "auto"
    :argname "<way>"
  command:option("--on-unknown", "A submit of which nobody knows whether it made a job: fail or resubmit.")
    :choices { "fail", "resubmit" }:default "fail":argname "<what>"
  command:flag("--retry-failed", "Run once more what failed.")
  command:option("--max-wait", "Seconds for the whole batch (default: no limit)."):convert(values.seconds)
    :argname "<seconds>"
  add_output(command, { "csv", "json" }, "csv")
  add_where(command)
  return command, { "arvak batch circuits/ --journal run.db --output results.csv",
    "arvak batch ansatz.qasm --sweep theta=0:2*pi:64 -o sweep.csv" }
end

function makers.journal(parser)
  local command = parser:command("journal", "What stands in the journal of a batch.")
  command:argument("file", "The journal: a file, or a PostgreSQL database."):argname "<name>"
  command:option("--state", "Only circuits in this state.")
    :choices { "intent", "submitted", "completed", "failed", "unknown" }:argname "<state>"
  add_output(command, formats.records, "table")
  return command, { "arvak journal run.db", "arvak journal run.db --state failed --format csv" }
end

function makers.report(parser)
  local command = parser:command("report", "A journal as one page of HTML.")
  command:argument("file", "The journal: a file, or a PostgreSQL database."):argname "<name>"
  command:option("-o --output", "Write to this file, not to standard output."):argname "<file>"
  return command, { "arvak report run.db -o report.html", "arvak report run.db > report.html" }
end

function makers.jobs(parser)
  local command = parser:command("jobs", "The jobs that were submitted from here, the newest first.")
  command:option("--label", "Only those with this label."):argname "<text>"
  command:option("--state", "Only those that were last seen in this state."):choices(values.states):argname "<state>"
  command:option("--backend", "Only those on this backend."):argname "<id>"
  command:option("--since", "Only those of the last 30m, 12h or 7d, or since a date such as 2026-03-01.")
    :convert(values.since):argname "<time>"
  command:option("--limit", "So many at most (default: 50; 0: all)."):convert(values.whole(0)):default "50"
    :argname "<n>"
  command:option("--ledger", "A file, or a PostgreSQL database (default: $XDG_STATE_HOME/arvak/jobs.db).")
    :argname "<name>"
  add_output(command, formats.records, "table")
  return command, { "arvak jobs --label vqe --state running", "arvak jobs --since 7d --format json" }
end

function makers.check(parser)
  local command = parser:command("check", "Read circuits and say what is wrong with them. Runs nothing.")
  command:argument("file", "OpenQASM 2 or 3; - is standard input."):args "+":argname "<file>"
  add_circuit(command, "Look at the limits of this backend, too; this asks the server.")
  add_where(command)
  return command, { "arvak check circuits/*.qasm", "arvak check big.qasm --backend simulator" }
end

function makers.draw(parser)
  local command = parser:command("draw", "Draw a circuit.")
  command:argument("file", "OpenQASM 2 or 3; - is standard input."):argname "<file>"
  command:flag("--ascii", "Without Unicode.")
  command:option("--width", "Columns (default: of the terminal, else 80)."):convert(values.whole(20)):argname "<n>"
  command:option("--svg", "Write an SVG image to this file."):argname "<file>"
  return command, { "arvak draw bell.qasm", "arvak draw bell.qasm --svg bell.svg" }
end

function makers.convert(parser)
  local command = parser:command("convert", "Print a circuit as the service takes it.")
  command:argument("file", "OpenQASM 2 or 3; - is standard input."):argname "<file>"
  add_param(command)
  command:option("-o --output", "Write to this file, not to standard output."):argname "<file>"
  return command, { "arvak convert old.qasm", "arvak convert ansatz.qasm --param theta=0.3 -o ready.qasm" }
end

-- What the dev server takes: name, kind of value, help. The server checks the values.
M.server_options = {
  { "address", "text", "Where to listen (default: 127.0.0.1:50051)." },
  { "unix", "text", "The path of a unix socket to listen on." },
  { "workers", "number", "Threads that simulate." },
  { "tls-cert", "text", "The server's certificate." },
  { "tls-key", "text", "The key of the certificate." },
  { "tls-client-ca", "text", "Demand certificates that this one has signed." },
  { "rate-limit", "number", "Jobs a second and client; 0: no limit." },
  { "max-concurrent-jobs", "number", "Jobs that run at once; 0: no limit." },
  { "max-queued-jobs", "number", "Jobs that wait; 0: no limit." },
  { "max-message-size", "number", "Bytes of a message, either way." },
  { "watch-interval", "number", "Seconds between the updates of a watch." },
  { "server-timeout", "number", "Seconds that a call may take until its answer begins." },
  { "seed", "number", "Makes all sampling reproducible." },
  { "job-latency", "number", "Seconds that every job takes besides its simulation." },
}

function makers.serve(parser)
  local command = parser:command("serve", "Run a local server with a simulator, until it is interrupted.")
  command:option("--api-key-file", "A file that holds the key that each call must bring."):argname "<file>"
  for _, option in ipairs(M.server_options) do
    local made = command:option("--" .. option[1], option[3]):argname "<value>"
    if option[2] == "number" then made:convert(values.number) end
  end
  command:option("--fault", "Fail on purpose, such as rpc=SubmitJob,status=UNAVAILABLE,rate=0.2; may be given again.")
    :count "*":argname "<fault>"
  return command, { "arvak serve", "arvak serve --address 127.0.0.1:8080 --rate-limit 0" }
end

function makers.completion(parser)
  local command = parser:command("completion", "Print a script that completes this command in a shell.")
  command:argument("shell", "bash, zsh or fish."):choices { "bash", "zsh", "fish" }:argname "<shell>"
  return command, { "arvak completion bash > /etc/bash_completion.d/arvak",
    "arvak completion fish > ~/.config/fish/completions/arvak.fish" }
end

function makers.manual(parser)
  local command = parser:command("manual", "Print the manual page, for man -l -.")
  return command, { "arvak manual | man -l -", "arvak manual > arvak.1" }
end

M.names = { "run", "submit", "status", "result", "watch", "cancel", "backends", "batch", "journal", "report", "jobs",
  "check", "draw", "convert", "serve", "completion", "manual" }

-- ---- the parser

-- In the help a short and a long name share a line; argparse would give each a line of its own.
local function join_names(command)
  for _, option in ipairs(command._options) do
    if #option._aliases > 1 and option._argname then
      local label = table.concat(option._aliases, ", ") .. " " .. option._argname
      option._get_label_lines = function() return { label } end
    end
  end
end

-- argparse prints the help and leaves without a look at whether it could be written.
local function check_help(command)
  command._options[command._help_option_idx]:action(function()
    local out = require "arvak.command.out"
    out.leave_with(command:get_help())
  end)
end

-- A message about a value begins with the option: argparse gives what the converter says.
local function name_in_messages(command)
  for _, option in ipairs(command._options) do
    local convert = option._convert
    if type(convert) == "function" then
      option._convert = function(text)
        local value, message = convert(text)
        return value, message and option._aliases[#option._aliases] .. ": " .. message
      end
    end
  end
end

-- Options are listed below, so the usage names the arguments alone.
local function usage_of(command)
  local words = {}
  for _, argument in ipairs(command._arguments) do
    local word = argument._argname
    if argument._maxargs == math.huge then word = word .. "..." end
    words[#words + 1] = argument._minargs == 0 and "[" .. word .. "]" or word
  end
  return #words > 0 and " " .. table.concat(words, " ") or ""
end

function M.exit_codes()
  local lines = {}
  for _, meaning in ipairs(ends.meanings) do lines[#lines + 1] = ("  %3d  %s"):format(meaning[1], meaning[2]) end
  return table.concat(lines, "\n")
end

-- The parser, and name → { command, examples }. columns: of the help (80).
function M.new(version, columns)
  columns = columns or 80
  local parser = argparse("arvak", "Quantum circuits from a shell: run them, follow the jobs, fetch the counts.")
    :help_max_width(math.min(columns, 100)):help_description_margin(columns < 70 and 8 or 30):command_target "command"
    :epilog("Exit codes:\n" .. M.exit_codes() .. "\n\narvak <command> --help says more. man arvak has it all.")
  parser:flag("--version", "Print the version."):action(function()
    local out = require "arvak.command.out"
    out.leave_with("arvak " .. version)
  end)
  check_help(parser)
  parser:option("--color", "Colour: auto, always or never."):choices { "auto", "always", "never" }:default "auto"
    :argname "<when>"
  local commands = {}
  for _, name in ipairs(M.names) do
    local command, examples = makers[name](parser)
    command:flag("-q --quiet", "Print results and errors alone.")
    command:usage(("Usage: arvak %s [options]%s"):format(name, usage_of(command)))
    command:epilog("Examples:\n  " .. table.concat(examples, "\n  "))
    join_names(command)
    name_in_messages(command)
    check_help(command)
    commands[name] = { command = command, examples = examples }
  end
  return parser, commands
end

return M
