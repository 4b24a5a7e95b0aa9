# The tests, what they run under (sanitizers, valgrind, fuzzers), and lint.
# SPDX-License-Identifier: Apache-2.0

FUZZ_SECONDS ?= 30
SEED       ?= $(shell date +%s)
SANITIZERS  = -fsanitize=address,undefined
TSAN_C      = $(if $(findstring thread,$(SANITIZE)),tools/tsan.c)
VALGRIND   ?= valgrind -q --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite \
              --suppressions=tools/valgrind.supp --error-exitcode=97

test_of   = $(patsubst spec/%.c,$(BUILD)/test/%,$(call below,spec/$1,%_test.c))
CORE_TESTS = $(call test_of,core)
SERVER_TESTS = $(call test_of,devserver)
LUA_TESTS = $(call test_of,lua)
STORE_TESTS = $(call test_of,store)
PEER      = $(BUILD)/test/peer.so
PROXY     = $(BUILD)/test/proxy.so
SLOW_DISK = $(BUILD)/test/slow_disk.so
FOREIGN   = $(BUILD)/test/foreign/arvak.so
FUZZERS   = $(patsubst spec/fuzz/%.c,$(BUILD)/fuzz/%,$(wildcard spec/fuzz/*.c))
EMBED     = $(BUILD)/examples/embed
EMBED_CPP = $(BUILD)/examples/embed++

# make test T=retry runs only the files with `retry` in their path.
SPECS     = $(sort $(call below,spec,%_spec.lua))
ALL_TESTS = $(CORE_TESTS) $(SERVER_TESTS) $(STORE_TESTS) $(LUA_TESTS) $(SPECS)
TESTS     = $(if $(T),$(foreach test,$(ALL_TESTS),$(if $(findstring $(T),$(test)),$(test))),$(ALL_TESTS))
# These build, install, compare texts, compute in Lua alone, wait for databases and slow disks, or start a process for each
# line: once is enough. The memory of what waits is checked by the tests in C beside them.
BUILD_SPECS = $(filter spec/build/% spec/command/% spec/circuit/% spec/batch/shared_%,$(SPECS)) \
  spec/store/cluster_spec.lua spec/store/postgres_faults_spec.lua spec/store/postgres_beats_spec.lua \
  spec/store/slow_disk_spec.lua spec/batch/journal_slow_disk_spec.lua spec/docs/meta_spec.lua \
  spec/docs/protocol_spec.lua spec/docs/links_spec.lua spec/docs/blocks_spec.lua spec/docs/c_blocks_spec.lua \
  spec/docs/guide_spec.lua

# cmocka 2 warns of assert_in_range, which it has under two other names that cmocka 1 lacks.
TEST_CFLAGS = $(ALL_CFLAGS) -Wno-deprecated-declarations

.PHONY: lint format examples asan tsan valgrind fuzz fuzz-lua run-fuzz-lua fuzz-plugin run-fuzz-plugin check-grpc \
  check-debian repeat check-long tests run-tests

#: make lint          luacheck; sizes of lines, functions and files; which room knows which (tools/rooms.lua); the reference
lint:
	@$(SETUP) check
	luacheck -q . .busted
	$(LUA) tools/check_source.lua
	$(LUA) tools/check_rooms.lua
	$(LUA) tools/reference.lua --check

#: make format        clang-format over the C sources, as a help: tables laid out by hand are better than its own
format:
	@$(SETUP) format
	clang-format -i $(call below,src,%.c %.h) $(call below,spec,%.c %.h) $(wildcard tools/*.c)

#: make examples      run every example against a server of its own
examples:
	@$(SETUP) test
	@$(SUBMAKE) all $(EMBED) $(EMBED_CPP)
	@$(RUN) tools/examples.sh

#: make asan          the tests and the example of a host under AddressSanitizer and UBSan with a hard-working garbage collector
# An interpreter that is itself linked with the sanitizers stands first in PATH, so processes of a test use it too.
# intercept_tls_get_addr: the leak check of gcc 12 dies of what it takes for thread-local storage of a loaded library.
asan fuzz-lua fuzz-plugin: export ASAN_OPTIONS = detect_leaks=1:handle_segv=2:detect_stack_use_after_return=1:intercept_tls_get_addr=0
asan fuzz-lua fuzz-plugin: export UBSAN_OPTIONS = print_stacktrace=1:halt_on_error=1
asan fuzz-lua fuzz-plugin: export LSAN_OPTIONS = suppressions='$(CURDIR)/tools/lsan.supp':print_suppressions=0
ASAN_MAKE = BUILD=build/asan OPT='-O1 -g -fno-omit-frame-pointer' SANITIZE=$(SANITIZERS)
asan:
	@$(SETUP) test
	@$(SUBMAKE) $(ASAN_MAKE) all tests build/asan/bin/lua5.4 build/asan/examples/embed
	@PATH="$(CURDIR)/build/asan/bin:$$PATH" LUA_INIT_5_4="collectgarbage('setpause', 0)" \
	  $(MAKE) --no-print-directory BUILD=build/asan LUA=lua5.4 \
	  SPECS='$(filter-out $(BUILD_SPECS),$(SPECS))' run-tests
	@$(if $(T),:,ARVAK_BUILD=build/asan tools/examples.sh embed)

#: make fuzz-lua      every public function with values that play tricks, under asan: SEED, FUZZ_SECONDS
fuzz-lua:
	@$(SETUP) test
	@$(SUBMAKE) $(ASAN_MAKE) all build/asan/bin/lua5.4
	@$(MAKE) --no-print-directory BUILD=build/asan LUA=build/asan/bin/lua5.4 run-fuzz-lua

run-fuzz-lua:
	@$(RUN) $(LUA) spec/long/fuzz_lua.lua $(SEED) $(FUZZ_SECONDS)

#: make fuzz-plugin   the same as a plugin that knows the private names, with limits, interrupts and deadlines of a host
fuzz-plugin:
	@$(SETUP) test
	@$(SUBMAKE) $(ASAN_MAKE) all build/asan/test/fuzz_host
	@$(MAKE) --no-print-directory BUILD=build/asan run-fuzz-plugin

run-fuzz-plugin:
	@$(RUN) $(BUILD)/test/fuzz_host $(SEED) $(FUZZ_SECONDS)

#: make tsan          the tests in C, and the example of a host, under ThreadSanitizer
# gRPC is not built for it, so what happens inside is not looked at; what we hand from thread to thread is guarded by
# locks and atomics of our own. The tests left out have no threads and take long.
NOT_UNDER_TSAN = $(addprefix %/,qasm_test statevector_test oom_test)
tsan: export TSAN_OPTIONS = ignore_noninstrumented_modules=1
tsan:
	@$(SETUP) test
	@$(SUBMAKE) BUILD=build/tsan OPT='-O1 -g -fno-omit-frame-pointer' SANITIZE=-fsanitize=thread all tests \
	  build/tsan/examples/embed
	@$(MAKE) --no-print-directory BUILD=build/tsan run-tests \
	  TESTS='$(patsubst $(BUILD)/%,build/tsan/%,$(filter-out $(NOT_UNDER_TSAN) %.lua,$(TESTS)))'
	@$(if $(T),:,ARVAK_BUILD=build/tsan tools/examples.sh embed)

#: make valgrind      the tests under valgrind; definite leaks only
# Valgrind computes long doubles with 64 bits, so the parser's numbers come out different there; the others take minutes,
# or fork, and asan does as well for them.
NOT_UNDER_VALGRIND = $(addprefix %/,qasm_test statevector_test service_test oom_test postgres_oom_test fork_test \
  stress_test store_test postgres_spec.lua) $(BUILD_SPECS)
valgrind:
	@$(SETUP) check
	@$(SUBMAKE) all tests
	@$(RUN) WRAP='$(VALGRIND)' tools/test.sh $(filter-out $(NOT_UNDER_VALGRIND),$(TESTS))

#: make fuzz          each spec/fuzz/*.c for FUZZ_SECONDS
fuzz:
	@$(SETUP) fuzz
	@$(SUBMAKE) CC=clang OPT='-O1 -g' SANITIZE=$(SANITIZERS) $(or $(FUZZERS),$(PROTO_C))
	@for fuzzer in $(FUZZERS); do echo "$$fuzzer"; mkdir -p $$fuzzer.corpus; \
	  seeds=spec/fuzz/$$(basename $$fuzzer).lua; [ ! -f $$seeds ] || $(LUA) $$seeds $$fuzzer.corpus || exit 1; \
	  $$fuzzer -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -verbosity=0 -print_final_stats=1 \
	    -artifact_prefix=$$fuzzer- $$fuzzer.corpus || exit 1; done

#: make check-grpc    all tests with the gRPC that is installed below GRPC=/prefix; docs/internals/grpc.md
check-grpc:
	@[ -n '$(GRPC)' ] || { echo 'check-grpc: expected GRPC=/prefix' >&2; exit 1; }
	@$(MAKE) --no-print-directory BUILD=build/grpc test

#: make check-debian  demo and test on fresh Debian 12 and 13 (root, mmdebstrap, the network); RELEASE=trixie: one of them
check-debian:
	tools/check_debian.sh $(RELEASE)

#: make repeat        each test file TIMES=20 times, several at once: what depends on a quiet machine fails; T=word as above
repeat:
	@$(SETUP) test
	@$(SUBMAKE) all tests
	@$(RUN) tools/repeat.sh $(TESTS)

#: make check-long    hours: SEED's random tests, 300 kills, the fuzzers for FUZZ_SECONDS=1800 each, and make repeat
check-long: FUZZ_SECONDS = 1800
CROWD       = CROWD_PLUGINS=50 CROWD_SECONDS=60
check-long:
	@$(SETUP) check
	@$(SUBMAKE) all tests
	@$(RUN) MOVES_SECONDS=200 MOVES_SEED=$(or $(SEED),1) STRESS_SECONDS=200 STRESS_SEED=$(or $(SEED),1) \
	  tools/test.sh $(BUILD)/test/core/moves_test $(BUILD)/test/core/stress_test
	@$(RUN) INTERRUPTS=10000 $(CROWD) tools/test.sh $(BUILD)/test/lua/interrupt_test $(BUILD)/test/lua/crowd_test
	@INTERRUPTS=10000 $(MAKE) --no-print-directory tsan T=lua/interrupt
	@for target in asan tsan; do $(CROWD) $(MAKE) --no-print-directory $$target T=lua/crowd || exit 1; done
	@$(RUN) $(LUA) spec/long/inputs.lua $(SEED)
	@$(RUN) $(LUA) spec/long/waking.lua $(SEED)
	@$(RUN) $(LUA) spec/long/kill.lua $(SEED)
	@$(RUN) $(LUA) spec/long/shared_kill.lua $(SEED)
	@for run in model outage stop many; do $(RUN) $(LUA) spec/long/shared_$$run.lua || exit 1; done
	@$(RUN) $(LUA) spec/long/fuzz_circuits.lua $(SEED)
	@$(RUN) ARVAK_ALL_PROGRAMS=1 tools/test.sh spec/circuit/programs_spec.lua
	@for target in fuzz-lua fuzz-plugin fuzz repeat; do $(MAKE) --no-print-directory FUZZ_SECONDS=$(FUZZ_SECONDS) $$target || exit 1; done

tests: $(CORE_TESTS) $(SERVER_TESTS) $(STORE_TESTS) $(LUA_TESTS) $(SLOW_DISK) $(PEER) $(PROXY) $(FOREIGN)

run-tests:
	@$(RUN) tools/test.sh $(TESTS)

# ---- what is built from what ----------------------------------------------------------------------------------------

$(BUILD)/test/core/%_test: spec/core/%_test.c $(CORE_O) $(PROTO_O) $(BUILD)/sources
	@mkdir -p $(@D)
	$(QUIET)$(CC) $(TEST_CFLAGS) -Isrc/core $(ALL_LDFLAGS) -o $@ $< $(CORE_O) $(PROTO_O) -lcmocka $(LIBS)

$(BUILD)/test/devserver/%_test: spec/devserver/%_test.c $(SERVER_O) $(PROTO_O) $(BUILD)/sources
	@mkdir -p $(@D)
	$(QUIET)$(CC) $(TEST_CFLAGS) $(ALL_LDFLAGS) -Isrc/devserver -o $@ $< $(SERVER_O) $(PROTO_O) -lcmocka $(LIBS)

# Stores without Lua, on every database whose library is here.
STORE_TEST_O = $(filter-out %/binding.o %_module.o,$(sort $(foreach s,$(STORES),$(call store_o,$s))))
STORE_LIBS = $(foreach s,$(STORES),$(call store_libs,$s))
$(BUILD)/test/store/oom_test: TEST_WRAPS = $(foreach f,malloc calloc strdup,-Wl,--wrap=$f)
$(BUILD)/test/store/%_test: spec/store/%_test.c $(STORE_TEST_O) $(BUILD)/sources
	@mkdir -p $(@D)
	$(QUIET)$(CC) $(TEST_CFLAGS) -Isrc/store $(ALL_LDFLAGS) $(TEST_WRAPS) -o $@ $(filter %.c %.o,$^) -lcmocka \
	  $(STORE_LIBS) -lm

# Whole Lua states in C, with the module linked in, and the stores.
$(BUILD)/test/lua/%_test: spec/lua/%_test.c $(CORE_O) $(GLUE_O) $(EMBED_O) $(PROTO_O) $(TSAN_C) $(STORE_ARCHIVES) \
  $(BUILD)/sources
	@mkdir -p $(@D)
	$(QUIET)$(CC) $(TEST_CFLAGS) $(LUA_CFLAGS) -Isrc/lua -Isrc/core -Isrc/store $(ALL_LDFLAGS) -Wl,-E -o $@ \
	  $(filter %.c %.o %.a,$^) $(shell $(PKG_CONFIG) --libs lua5.4) -lcmocka $(LIBS) $(STORE_LIBS)

$(BUILD)/test/fuzz_host: spec/long/fuzz_host.c $(CORE_O) $(GLUE_O) $(EMBED_O) $(PROTO_O) $(TSAN_C) $(BUILD)/sources
	@mkdir -p $(@D)
	$(QUIET)$(CC) $(TEST_CFLAGS) $(LUA_CFLAGS) -Isrc/lua -Isrc/core $(ALL_LDFLAGS) -Wl,-E -o $@ $(filter %.c %.o,$^) \
	  $(shell $(PKG_CONFIG) --libs lua5.4) $(LIBS)

# What specs load to have connections die: spec/support/peer.lua, spec/support/proxy.lua.
$(PEER) $(PROXY): $(BUILD)/test/%.so: spec/support/%.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(QUIET)$(CC) $(ALL_CFLAGS) $(LUA_CFLAGS) $(ALL_LDFLAGS) -shared -o $@ $<

# What specs preload to have a slow disk: spec/support/slow_disk.c.
$(SLOW_DISK): spec/support/slow_disk.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(QUIET)$(CC) $(filter-out -fsanitize%,$(ALL_CFLAGS)) $(filter-out -fsanitize%,$(ALL_LDFLAGS)) -shared -o $@ $< -ldl

# The module again, with another gRPC's texts: spec/client/foreign_texts_spec.lua.
FOREIGN_WRAPS = $(foreach f,call_start_batch completion_queue_next version_string,-Wl,--wrap=grpc_$f)
$(FOREIGN): spec/support/foreign.c $(CORE_O) $(GLUE_O) $(EMBED_O) $(PROTO_O) $(BUILD)/sources
	@mkdir -p $(@D)
	$(QUIET)$(CC) $(ALL_CFLAGS) $(LUA_CFLAGS) $(ALL_LDFLAGS) $(SHARED) -Wl,--unresolved-symbols=ignore-all \
	  $(FOREIGN_WRAPS) -o $@ $(filter %.c %.o,$^) $(LIBS)

$(EMBED): examples/embed/host.c $(TSAN_C) $(ARCHIVE)
	@mkdir -p $(@D)
	$(QUIET)$(CC) $(ALL_CFLAGS) $(LUA_CFLAGS) -Isrc/lua -Isrc/core $(ALL_LDFLAGS) -o $@ $(filter %.c %.a,$^) \
	  $(shell $(PKG_CONFIG) --libs lua5.4) $(LIBS)

$(EMBED_CPP): examples/embed/host.cpp examples/embed/host.hpp $(ARCHIVE)
	@mkdir -p $(@D)
	$(QUIET)$(CXX) -std=c++17 -pthread $(OPT) $(filter-out -Wstrict% -Wmissing% -Werror=implicit%,$(WARNINGS)) $(LUA_CFLAGS) \
	  -Isrc/lua -Isrc/core $(ALL_LDFLAGS) -o $@ $(filter %.cpp %.a,$^) $(shell $(PKG_CONFIG) --libs lua5.4) $(LIBS)

# spec/fuzz/core_*.c are about the core, the others about the dev server.
$(BUILD)/fuzz/core_%: spec/fuzz/core_%.c $(CORE_C) $(PROTO_C)
	@mkdir -p $(@D)
	$(QUIET)$(CC) $(filter-out -MMD -MP,$(ALL_CFLAGS)) -fsanitize=fuzzer $(ALL_LDFLAGS) -Isrc/core -o $@ \
	  $(filter %.c,$^) $(LIBS)

$(BUILD)/fuzz/%: spec/fuzz/%.c $(SERVER_C) $(PROTO_C)
	@mkdir -p $(@D)
	$(QUIET)$(CC) $(filter-out -MMD -MP,$(ALL_CFLAGS)) -fsanitize=fuzzer $(ALL_LDFLAGS) -Isrc/devserver -o $@ \
	  $(filter %.c,$^) $(LIBS)

# An interpreter that carries the sanitizers of this build.
$(BUILD)/bin/lua5.4: tools/lua_host.c
	@mkdir -p $(@D)
	$(QUIET)$(CC) $(ALL_CFLAGS) $(LUA_CFLAGS) $(ALL_LDFLAGS) -o $@ $< $(shell $(PKG_CONFIG) --libs lua5.4)
