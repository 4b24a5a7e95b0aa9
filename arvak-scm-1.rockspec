rockspec_format = "3.0"
package = "arvak"
version = "scm-1"

source = {
  url = "git+file://.",
}

description = {
  summary = "Submit quantum circuits to an Arvak service over gRPC, from scripts and from embedded Lua",
  detailed = [[
An embeddable client for the Arvak quantum job service: one pooled client, blocking calls, tasks, futures and streams,
errors that say what they mean, and a local development server in the same process.]],
  license = "Apache-2.0",
  labels = { "quantum", "grpc", "async" },
}

dependencies = {
  "lua >= 5.4, < 5.5",
  "lua-cjson >= 2.1",
  "argparse >= 0.7",
}

-- Named as Debian names the packages, since LuaRocks prints these names when a file is not found. For libraries
-- elsewhere give LuaRocks DEPS_DIR=/where and the build PKG_CONFIG_PATH=/where/lib/pkgconfig.
external_dependencies = {
  ["libgrpc-dev"] = { header = "grpc/grpc.h", library = "grpc" },
  ["libprotobuf-c-dev"] = { header = "protobuf-c/protobuf-c.h", library = "protobuf-c" },
  ["libssl-dev"] = { header = "openssl/sha.h", library = "crypto" },
  ["protobuf-c-compiler"] = { program = "protoc-c" },
}

test = {
  type = "command",
  command = "make test",
}

build = {
  type = "make",
  copy_directories = { "docs", "examples" },
  build_target = "all",
  install_target = "install",
  build_variables = {
    CFLAGS = "$(CFLAGS)",
    LUA = "$(LUA)",
    LUA_CFLAGS = "-I$(LUA_INCDIR)",
  },
  install_variables = {
    CFLAGS = "$(CFLAGS)",
    LUA = "$(LUA)",
    LUA_CFLAGS = "-I$(LUA_INCDIR)",
    PREFIX = "$(PREFIX)",
    BINDIR = "$(BINDIR)",
    LUA_LIBDIR = "$(LIBDIR)",
    LUA_DATADIR = "$(LUADIR)",
    LIBDIR = "$(PREFIX)/static",   -- LuaRocks takes what is in PREFIX/lib for modules
  },
}
