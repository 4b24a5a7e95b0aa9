std = "lua54"
max_line_length = 120
exclude_files = { "build" }
files["spec"] = { std = "+busted" }
files[".busted"] = { std = "lua54" }
-- The host calls what a plugin defines, and defines what it uses.
files["examples/embed/*.lua"] = { globals = { "run" }, read_globals = { "arvak", "client" } }
-- Annotations for editors: functions without bodies.
files["lua/arvak/meta.lua"] = { ignore = { "2..", "631" } }
files["*.rockspec"] = { std = "rockspec" }
