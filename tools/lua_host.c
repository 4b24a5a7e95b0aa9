/* A Lua interpreter that can be linked with sanitizers, which the distribution's is not: preloading their runtime into
 * that one would drag it into every process that a test starts. Knows -e, a script and its arguments, LUA_INIT_5_4 and
 * Ctrl-C; always closes the state, so that the leak check sees what the library left behind.
 * SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static lua_State *interrupted;

static void stop(lua_State *L, lua_Debug *ar) {
  (void)ar;
  lua_sethook(L, NULL, 0, 0);
  luaL_error(L, "interrupted!");
}

static void on_sigint(int number) {
  signal(number, SIG_DFL);
  lua_sethook(interrupted, stop, LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT, 1);
}

static int traceback(lua_State *L) {
  const char *message = luaL_tolstring(L, 1, NULL);
  luaL_traceback(L, L, message, 1);
  return 1;
}

/* Runs the function below its nargs arguments on the stack. */
static bool run(lua_State *L, int nargs) {
  int base = lua_gettop(L) - nargs;
  lua_pushcfunction(L, traceback);
  lua_insert(L, base);
  interrupted = L;
  signal(SIGINT, on_sigint);
  int status = lua_pcall(L, nargs, 0, base);
  signal(SIGINT, SIG_DFL);
  if (status != LUA_OK) fprintf(stderr, "lua: %s\n", lua_tostring(L, -1));
  lua_settop(L, base - 1);
  return status == LUA_OK;
}

static bool run_chunk(lua_State *L, int load_status) {
  if (load_status == LUA_OK) return run(L, 0);
  fprintf(stderr, "lua: %s\n", lua_tostring(L, -1));
  lua_pop(L, 1);
  return false;
}

static void set_arg(lua_State *L, int argc, char **argv, int script) {
  lua_createtable(L, argc - script, script);
  for (int i = 0; i < argc; i++) {
    lua_pushstring(L, argv[i]);
    lua_rawseti(L, -2, i - script);
  }
  lua_setglobal(L, "arg");
}

static bool run_script(lua_State *L, int argc, char **argv, int script) {
  const char *name = strcmp(argv[script], "-") == 0 ? NULL : argv[script];
  if (luaL_loadfile(L, name) != LUA_OK) return run_chunk(L, LUA_ERRRUN);
  for (int i = script + 1; i < argc; i++) lua_pushstring(L, argv[i]);
  return run(L, argc - script - 1);
}

static bool run_all(lua_State *L, int argc, char **argv) {
  int script = 1;
  while (script + 1 < argc && strcmp(argv[script], "-e") == 0) script += 2;
  set_arg(L, argc, argv, script);
  const char *init = getenv("LUA_INIT_5_4");
  if (init != NULL && !run_chunk(L, luaL_loadbuffer(L, init, strlen(init), "=LUA_INIT_5_4"))) return false;
  for (int i = 1; i < script; i += 2) {
    if (!run_chunk(L, luaL_loadbuffer(L, argv[i + 1], strlen(argv[i + 1]), "=(command line)"))) return false;
  }
  return script >= argc || run_script(L, argc, argv, script);
}

static int thread_count(void) {
  DIR *tasks = opendir("/proc/self/task");
  int count = 0;
  if (tasks == NULL) return 0;
  for (struct dirent *entry; (entry = readdir(tasks)) != NULL;) count += entry->d_name[0] != '.';
  closedir(tasks);
  return count;
}

/* gRPC's threads end a little after grpc_shutdown, and the leak check stumbles over a thread that ends during it. */
static void let_threads_end(void) {
  for (int i = 0; i < 200 && thread_count() > 1; i++) nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
}

int main(int argc, char **argv) {
  atexit(let_threads_end);
  lua_State *L = luaL_newstate();
  if (L == NULL) return EXIT_FAILURE;
  luaL_openlibs(L);
  bool ok = run_all(L, argc, argv);
  lua_close(L);
  return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
