// The client, a sandboxed Lua state and its handle as C++ objects: what is acquired is released on every path, and an
// error of Lua's is an exception. Header-only; C++17. SPDX-License-Identifier: Apache-2.0
#pragma once

#include <arvak_lua.h>

#include <chrono>
#include <lua.hpp>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

namespace embed {

struct client_deleter {
  void operator()(arvak_client *client) const { arvak_client_unref(client); }
};
using client_ptr = std::unique_ptr<arvak_client, client_deleter>;

struct handle_deleter {
  void operator()(arvak_lua_handle *handle) const { arvak_lua_handle_unref(handle); }
};
using handle_ptr = std::unique_ptr<arvak_lua_handle, handle_deleter>;

inline client_ptr connect(const arvak_client_options &options) {
  arvak_client *client = nullptr;
  const char *reason = nullptr;
  if (arvak_client_new(&options, &client, &reason) != ARVAK_OK)
    throw std::runtime_error(reason ? reason : "out of memory");
  return client_ptr(client);
}

// One plugin. For the thread that made it, but for what stop() gives to others. Neither copied nor moved: Lua has its
// address. Nothing of C++ with a destructor may stand in a function that Lua calls and that raises: Lua may longjmp.
class plugin {
 public:
  plugin(arvak_client *client, const arvak_lua_limits &limits, std::size_t heap_bytes)
      : heap_bytes_(heap_bytes), state_(lua_newstate(allocate, this)) {
    if (!state_) throw std::bad_alloc();
    opening what{client, &limits, nullptr};
    try {
      call([](lua_State *L) { return open(L); }, &what);
    } catch (...) {
      lua_close(state_);
      arvak_lua_handle_unref(what.handle);
      throw;
    }
    handle_.reset(what.handle);
    lua_sethook(state_, [](lua_State *L, lua_Debug *) { arvak_lua_check(L); }, LUA_MASKCOUNT, 1000);
  }
  ~plugin() { lua_close(state_); }
  plugin(const plugin &) = delete;
  plugin &operator=(const plugin &) = delete;

  // For any thread, and longer than the plugin: arvak_lua_interrupt, arvak_lua_get_stats.
  handle_ptr handle() const { return handle_ptr(arvak_lua_handle_ref(handle_.get())); }

  // Runs text, which is no bytecode, and gives what it returned as text. Throws what it raised.
  std::string run(const std::string &text, const std::string &name, std::chrono::nanoseconds at_most) {
    source what{text.data(), text.size(), name.c_str()};
    arvak_lua_set_deadline(handle_.get(), arvak_now_ns() + at_most.count());
    return call([](lua_State *L) { return execute(L); }, &what);
  }

 private:
  struct opening {
    arvak_client *client;
    const arvak_lua_limits *limits;
    arvak_lua_handle *handle;
  };
  struct source {
    const char *text;
    std::size_t size;
    const char *name;
  };

  static void *allocate(void *ud, void *block, std::size_t old, std::size_t size) {
    auto *self = static_cast<plugin *>(ud);
    std::size_t before = block ? old : 0;
    if (size > before && self->used_ + (size - before) > self->heap_bytes_) return nullptr;
    void *moved = size > 0 ? std::realloc(block, size) : nullptr;
    if (size == 0) std::free(block);
    if (moved || size == 0) self->used_ += size - before;
    return moved;
  }

  // What a plugin does not get it cannot misuse; host.c says why of each.
  static int open(lua_State *L) {
    auto *what = static_cast<opening *>(lua_touserdata(L, 1));
    const luaL_Reg libraries[] = {{LUA_GNAME, luaopen_base},        {LUA_COLIBNAME, luaopen_coroutine},
                                  {LUA_STRLIBNAME, luaopen_string}, {LUA_TABLIBNAME, luaopen_table},
                                  {LUA_MATHLIBNAME, luaopen_math}};
    for (const auto &library : libraries) luaL_requiref(L, library.name, library.func, 1);
    what->handle = arvak_lua_get_handle(L); // opens the library, which keeps what it needs of these
    for (const char *name : {"load", "loadfile", "dofile", "collectgarbage", "xpcall", "setmetatable"}) {
      lua_pushnil(L);
      lua_setglobal(L, name);
    }
    lua_getglobal(L, LUA_STRLIBNAME);
    lua_pushnil(L);
    lua_setfield(L, -2, "dump");
    arvak_lua_guard_coroutines(L);
    arvak_lua_pushlimited(L, what->client, what->limits);
    lua_setglobal(L, "client");
    return 0;
  }

  static int execute(lua_State *L) {
    auto *what = static_cast<source *>(lua_touserdata(L, 1));
    if (luaL_loadbufferx(L, what->text, what->size, what->name, "t") != LUA_OK) return lua_error(L);
    lua_call(L, 0, 1);
    luaL_tolstring(L, -1, nullptr);
    return 1;
  }

  static int describe(lua_State *L) {
    luaL_tolstring(L, 1, nullptr); // its __tostring is the plugin's, and may raise
    return 1;
  }

  std::string call(lua_CFunction fn, void *what) {
    lua_settop(state_, 0);
    lua_pushcfunction(state_, fn);
    lua_pushlightuserdata(state_, what);
    bool is_well = lua_pcall(state_, 1, 1, 0) == LUA_OK;
    if (!is_well) {
      lua_pushcfunction(state_, describe);
      lua_insert(state_, -2);
      if (lua_pcall(state_, 1, 1, 0) != LUA_OK) throw std::runtime_error("an error that cannot be printed");
    }
    const char *text = lua_tostring(state_, -1);
    std::string copy = text ? text : "";
    if (!is_well) throw std::runtime_error(copy);
    return copy;
  }

  std::size_t used_ = 0, heap_bytes_;
  lua_State *state_;
  handle_ptr handle_;
};

} // namespace embed
