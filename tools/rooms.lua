-- The rooms of the sources, from the ground up. A room knows rooms that stand before it in this list, and no others: so
-- there are no circles among rooms. tools/check_rooms.lua holds the sources to it; docs/internals/map.md says what each
-- room is for.
-- First the folder, or the file with or without its ending.
-- knows: the other rooms whose headers it includes, whose functions it calls or whose modules it requires.
-- outside: the libraries that it uses, of those that only some rooms may use.
-- SPDX-License-Identifier: Apache-2.0

return {
  -- What differs between versions of gRPC: one header.
  { "src/grpc", outside = { "grpc" } },

  -- The core, in C without Lua.
  { "src/core/arvak.h" },
  { "src/core/clock", knows = { "src/core/arvak.h" } },
  { "src/core/policy", knows = { "src/core/arvak.h", "src/core/clock" } },
  { "src/core/timer", knows = { "src/core/arvak.h" } },
  { "src/core", knows = { "src/grpc", "src/core/arvak.h", "src/core/clock", "src/core/policy", "src/core/timer" },
    outside = { "grpc", "protobuf" } },

  -- What the modules that Lua loads share of a state that closes: one header.
  { "src/closing", outside = { "lua" } },

  -- The stores: databases on threads of their own. They share the seam with the binding and nothing else.
  { "src/store/seam" },
  { "src/store/arvak_store.h" },
  { "src/store", knows = { "src/store/seam" } },
  { "src/store/sqlite", knows = { "src/store" }, outside = { "sqlite" } },
  { "src/store/binding", knows = { "src/closing", "src/store/seam", "src/store" }, outside = { "lua" } },
  { "src/store/postgres", knows = { "src/store" }, outside = { "libpq" } },
  { "src/store/postgres_module",
    knows = { "src/store/arvak_store.h", "src/store/postgres", "src/store/binding" } },
  { "src/store/sqlite_module", knows = { "src/store/arvak_store.h", "src/store/sqlite", "src/store/binding" } },

  -- The binding.
  { "src/lua", knows = { "src/core/arvak.h", "src/closing", "src/store/seam" }, outside = { "lua" } },

  -- The dev server, which shares proto/, src/grpc and src/closing with the client and nothing else.
  { "src/devserver/base" },
  { "src/devserver/qasm" },
  { "src/devserver/simulator", knows = { "src/devserver/qasm" } },
  { "src/devserver/jobs", knows = { "src/devserver/base", "src/devserver/qasm", "src/devserver/simulator" } },
  { "src/devserver/faults", knows = { "src/devserver/base", "src/devserver/jobs" } },
  { "src/devserver/rpc", knows = { "src/grpc", "src/devserver/base", "src/devserver/faults" },
    outside = { "grpc", "protobuf" } },
  { "src/devserver/service", knows = { "src/devserver/base", "src/devserver/qasm", "src/devserver/simulator",
    "src/devserver/jobs", "src/devserver/faults", "src/devserver/rpc" }, outside = { "grpc", "protobuf" } },
  { "src/devserver/main", knows = { "src/devserver/faults", "src/devserver/service" }, outside = { "grpc" } },
  { "src/devserver/module", knows = { "src/closing", "src/devserver/base", "src/devserver/qasm",
    "src/devserver/simulator", "src/devserver/jobs", "src/devserver/faults", "src/devserver/service" },
    outside = { "lua" } },

  -- The Lua layer.
  { "lua/arvak/base" },
  { "lua/arvak/circuit/library" },
  { "lua/arvak/circuit/form", knows = { "lua/arvak/circuit/library" } },
  { "lua/arvak/circuit/read", knows = { "lua/arvak/base", "lua/arvak/circuit/form" } },
  { "lua/arvak/circuit", knows = { "lua/arvak/base", "lua/arvak/circuit/library", "lua/arvak/circuit/form",
    "lua/arvak/circuit/read" } },
  { "lua/arvak/results", knows = { "lua/arvak/base", "lua/arvak/circuit" } },
  { "lua/arvak/async", knows = { "lua/arvak/base" } },
  { "lua/arvak/store", knows = { "lua/arvak/base", "lua/arvak/async" } },
  { "lua/arvak/ledger", knows = { "lua/arvak/base", "lua/arvak/async", "lua/arvak/store" } },
  { "lua/arvak/jobs", knows = { "lua/arvak/base", "lua/arvak/results", "lua/arvak/async" } },
  { "lua/arvak/streams", knows = { "lua/arvak/base", "lua/arvak/results", "lua/arvak/async", "lua/arvak/jobs" } },
  { "lua/arvak/batch/inputs" },
  { "lua/arvak/batch/journal", knows = { "lua/arvak/base", "lua/arvak/results", "lua/arvak/async", "lua/arvak/store",
    "lua/arvak/streams", "lua/arvak/batch/inputs" } },
  { "lua/arvak/batch/commits", knows = { "lua/arvak/base", "lua/arvak/async", "lua/arvak/batch/inputs",
    "lua/arvak/batch/journal" } },
  { "lua/arvak/batch/shared", knows = { "lua/arvak/base", "lua/arvak/async", "lua/arvak/store", "lua/arvak/streams",
    "lua/arvak/batch/inputs", "lua/arvak/batch/journal", "lua/arvak/batch/commits" } },
  { "lua/arvak/batch", knows = { "lua/arvak/base", "lua/arvak/results", "lua/arvak/async", "lua/arvak/jobs",
    "lua/arvak/streams", "lua/arvak/batch/inputs", "lua/arvak/batch/journal", "lua/arvak/batch/commits",
    "lua/arvak/batch/shared" } },
  { "lua/arvak", knows = { "lua/arvak/base", "lua/arvak/results", "lua/arvak/async", "lua/arvak/jobs",
    "lua/arvak/streams" } },
  { "lua/arvak.lua", knows = { "lua/arvak/base", "lua/arvak/results", "lua/arvak/async", "lua/arvak/ledger",
    "lua/arvak/batch", "lua/arvak/circuit", "lua/arvak" } },
  -- What a program requires for itself, from files that are installed.
  { "lua/arvak/cqueues", knows = { "lua/arvak.lua" } },
  { "lua/arvak/luv", knows = { "lua/arvak.lua" } },
  -- The program, over what the module offers to everybody.
  { "lua/arvak/command", knows = { "lua/arvak.lua" } },
}
