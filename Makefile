# arvak for Lua. `make help` lists the targets; README.md tells the story.
# Parses and starts with nothing installed but make: `demo`, `test` and the like install what they need first.
# SPDX-License-Identifier: Apache-2.0

PREFIX     ?= /usr/local
BUILD      ?= build
AR         ?= ar
LUA        ?= lua5.4
PKG_CONFIG ?= pkg-config
PROTOC_C   ?= protoc-c
OPT        ?= -O2 -g
SETUP      ?= tools/setup.sh
FUZZ_SECONDS ?= 30
SANITIZERS  = -fsanitize=address,undefined
TSAN_C      = $(if $(findstring thread,$(SANITIZE)),tools/tsan.c)
VALGRIND   ?= valgrind -q --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite \
              --suppressions=tools/valgrind.supp --error-exitcode=97

# luarocks and packagers give these; a plain `make install` derives them from PREFIX.
BINDIR      ?= $(PREFIX)/bin
INCLUDEDIR  ?= $(PREFIX)/include
LIBDIR      ?= $(PREFIX)/lib
LUA_LIBDIR  ?= $(PREFIX)/lib/lua/5.4
LUA_DATADIR ?= $(PREFIX)/share/lua/5.4
INSTALL     ?= install

# pkg-config is asked once, when the answer is first needed: it may not be installed before that.
once        = $(eval $(1) := $(2))$($(1))
LUA_CFLAGS ?= $(call once,LUA_CFLAGS,$(shell $(PKG_CONFIG) --cflags lua5.4 2>/dev/null))
DEPS_CFLAGS = $(call once,DEPS_CFLAGS,$(shell $(PKG_CONFIG) --cflags grpc libprotobuf-c libcrypto 2>/dev/null))
DEPS_LDFLAGS = $(call once,DEPS_LDFLAGS,$(shell $(PKG_CONFIG) --libs-only-L grpc libprotobuf-c libcrypto 2>/dev/null))
LIBS        = $(DEPS_LDFLAGS) -lgrpc -lgpr -lprotobuf-c -lcrypto -lpthread -lm
VERSION     = $(call once,VERSION,$(shell sed -n 's/^.define ARVAK_VERSION "\(.*\)"/\1/p' src/core/arvak.h))
WARNINGS    = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Werror=implicit-fallthrough
ifeq ($(CI),true)
WARNINGS   += -Werror
endif
ALL_CFLAGS  = -std=c11 -D_GNU_SOURCE -pthread -fPIC -fvisibility=hidden $(OPT) $(WARNINGS) -MMD -MP \
              -I$(BUILD)/proto $(DEPS_CFLAGS) $(SANITIZE) $(CFLAGS)
ALL_LDFLAGS = -pthread $(SANITIZE) $(LDFLAGS)
SHARED      = -shared -Wl,-z,nodelete -Wl,-z,defs -Wl,--as-needed

PROTO_C   = $(BUILD)/proto/arvak.pb-c.c
PROTO_O   = $(BUILD)/obj/proto/arvak.pb-c.o
CORE_O    = $(patsubst src/%.c,$(BUILD)/obj/%.o,$(wildcard src/core/*.c))
GLUE_O    = $(patsubst src/%.c,$(BUILD)/obj/%.o,$(wildcard src/lua/*.c))
SERVER_C  = $(filter-out %/main.c %/module.c,$(wildcard src/devserver/*.c))
SERVER_O  = $(patsubst src/%.c,$(BUILD)/obj/%.o,$(SERVER_C))
# What is installed as files: the loops of others, which a program asks for by name, and the annotations.
LOOP_SRC  = lua/arvak/cqueues.lua lua/arvak/luv.lua
LOOPS     = $(LOOP_SRC:lua/%=$(BUILD)/lua/%)
LUA_SRC   = $(wildcard lua/*.lua) $(filter-out lua/arvak/meta.lua $(LOOP_SRC),$(wildcard lua/arvak/*.lua))
EMBED_O   = $(BUILD)/obj/lua/embedded.o
CORE_TESTS = $(patsubst spec/core/%_test.c,$(BUILD)/test/%_test,$(wildcard spec/core/*_test.c))
SERVER_TESTS = $(patsubst spec/devserver/%_test.c,$(BUILD)/test/devserver/%_test,$(wildcard spec/devserver/*_test.c))
LUA_TESTS = $(patsubst spec/lua/%_test.c,$(BUILD)/test/lua/%_test,$(wildcard spec/lua/*_test.c))
PEER      = $(BUILD)/test/peer.so
BENCHES   = $(BUILD)/bench/raw $(BUILD)/bench/wake $(BUILD)/bench/clock.so
FUZZERS   = $(patsubst spec/fuzz/%.c,$(BUILD)/fuzz/%,$(wildcard spec/fuzz/*.c))

# The name of each product is enough to read; V=1 shows the commands.
ifndef V
QUIET     = @echo '  $@';
endif

MODULE    = $(BUILD)/lua/arvak.so
DEVMODULE = $(BUILD)/lua/arvak/devserver.so
DEVSERVER = $(BUILD)/bin/arvak-devserver
ARCHIVE   = $(BUILD)/libarvak.a
EMBED     = $(BUILD)/examples/embed

# make test T=retry runs only the files with `retry` in their path.
SPECS     = $(sort $(wildcard spec/*_spec.lua spec/*/*_spec.lua))
ALL_TESTS = $(CORE_TESTS) $(SERVER_TESTS) $(LUA_TESTS) $(SPECS)
TESTS     = $(if $(T),$(foreach test,$(ALL_TESTS),$(if $(findstring $(T),$(test)),$(test))),$(ALL_TESTS))
# These build, install or compare texts; once is enough.
BUILD_SPECS = $(patsubst %,spec/%_spec.lua,rock embed meta protocol tools)

# The environment in which tests and examples find the module that was just built, and no other.
LUA_DIR   = $(if $(filter /%,$(BUILD)),,$(CURDIR)/)$(BUILD)/lua
RUN       = env LUA=$(LUA) ARVAK_BUILD=$(BUILD) LUA_CPATH_5_4='$(LUA_DIR)/?.so;;' LUA_PATH_5_4='$(LUA_DIR)/?.lua;;'
SUBMAKE   = $(MAKE) $(if $(V),--no-print-directory,-s) $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc 2>/dev/null || echo 2))

.DELETE_ON_ERROR:
.PHONY: all help demo test check lint format examples asan tsan valgrind fuzz bench soak install uninstall clean tests run-tests FORCE

all: $(MODULE) $(DEVMODULE) $(DEVSERVER) $(ARCHIVE) $(LOOPS)

# ---- what people run ------------------------------------------------------------------------------------------------

help:
	@sed -n 's/^#: //p' Makefile

#: make               build
#: make demo          install missing Debian packages, build, run examples/quickstart.lua on the embedded server
demo:
	@$(SETUP) build
	@$(SUBMAKE) all
	@$(RUN) $(LUA) examples/quickstart.lua embedded

#: make test          install missing Debian packages, build, run all tests; T=word: only files with word in their path
test:
	@$(SETUP) test
	@$(SUBMAKE) all tests
	@$(RUN) tools/test.sh $(TESTS)

#: make check         everything below but bench and fuzz, and the tests
check:
	@$(SETUP) check
	@$(SUBMAKE) all tests
	@for target in lint test examples asan tsan valgrind; do $(MAKE) --no-print-directory SETUP=: $$target || exit 1; done

#: make lint          luacheck; directions of includes; sizes of lines, functions and files
lint:
	@$(SETUP) check
	luacheck -q . .busted
	$(LUA) tools/check_source.lua

#: make format        clang-format over the C sources, as a help: tables laid out by hand are better than its own
format:
	@$(SETUP) format
	clang-format -i $(wildcard src/*/*.[ch] spec/*/*.[ch] tools/*.c)

#: make examples      run every example against a server of its own
examples:
	@$(SETUP) test
	@$(SUBMAKE) all $(EMBED)
	@$(RUN) tools/examples.sh

#: make asan          the tests and the example of a host under AddressSanitizer and UBSan with a hard-working garbage collector
# An interpreter that is itself linked with the sanitizers stands first in PATH, so processes of a test use it too.
# intercept_tls_get_addr: the leak check of gcc 12 dies of what it takes for thread-local storage of a loaded library.
asan: export ASAN_OPTIONS = detect_leaks=1:handle_segv=2:detect_stack_use_after_return=1:intercept_tls_get_addr=0
asan: export UBSAN_OPTIONS = print_stacktrace=1:halt_on_error=1
asan: export LSAN_OPTIONS = suppressions='$(CURDIR)/tools/lsan.supp':print_suppressions=0
asan:
	@$(SETUP) test
	@$(SUBMAKE) BUILD=build/asan OPT='-O1 -g -fno-omit-frame-pointer' SANITIZE=$(SANITIZERS) \
	  all tests build/asan/bin/lua5.4 build/asan/examples/embed
	@PATH="$(CURDIR)/build/asan/bin:$$PATH" LUA_INIT_5_4="collectgarbage('setpause', 0)" \
	  $(MAKE) --no-print-directory BUILD=build/asan LUA=lua5.4 \
	  SPECS='$(filter-out $(BUILD_SPECS),$(SPECS))' run-tests
	@$(if $(T),:,ARVAK_BUILD=build/asan tools/examples.sh embed)

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
NOT_UNDER_VALGRIND = $(addprefix %/,qasm_test statevector_test service_test oom_test fork_test stress_test) $(BUILD_SPECS)
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

#: make bench         our module beside plain gRPC, and where the difference goes; ROUNDS=7, PROFILE=0: no valgrind
bench:
	@$(SETUP) build
	@$(SUBMAKE) all $(BENCHES)
	@$(RUN) bench/run

#: make soak          CALLS=1000000 calls and CLIENTS=1000 clients; fails when anything grows
soak:
	@$(SETUP) build
	@$(SUBMAKE) all $(BENCHES)
	@$(RUN) bench/serve $(LUA) bench/soak.lua

#: make install       to PREFIX (/usr/local), below DESTDIR if given
install: all
	$(INSTALL) -d '$(DESTDIR)$(BINDIR)' '$(DESTDIR)$(INCLUDEDIR)' '$(DESTDIR)$(LUA_LIBDIR)/arvak' \
	  '$(DESTDIR)$(LUA_DATADIR)/arvak' '$(DESTDIR)$(LIBDIR)/pkgconfig'
	$(INSTALL) -m 755 $(DEVSERVER) '$(DESTDIR)$(BINDIR)/arvak-devserver'
	$(INSTALL) -m 755 $(MODULE) '$(DESTDIR)$(LUA_LIBDIR)/arvak.so'
	$(INSTALL) -m 755 $(DEVMODULE) '$(DESTDIR)$(LUA_LIBDIR)/arvak/devserver.so'
	$(INSTALL) -m 644 src/core/arvak.h src/lua/arvak_lua.h '$(DESTDIR)$(INCLUDEDIR)'
	$(INSTALL) -m 644 $(ARCHIVE) '$(DESTDIR)$(LIBDIR)/libarvak.a'
	sed -e 's|@PREFIX@|$(PREFIX)|; s|@INCLUDEDIR@|$(INCLUDEDIR)|; s|@LIBDIR@|$(LIBDIR)|' \
	  -e 's|@VERSION@|$(VERSION)|; s|@DEPS_LDFLAGS@|$(DEPS_LDFLAGS)|' tools/arvak.pc.in \
	  > '$(DESTDIR)$(LIBDIR)/pkgconfig/arvak.pc'
	chmod 644 '$(DESTDIR)$(LIBDIR)/pkgconfig/arvak.pc'
	$(INSTALL) -m 644 lua/arvak/meta.lua $(LOOP_SRC) '$(DESTDIR)$(LUA_DATADIR)/arvak'

#: make uninstall     with the same PREFIX and DESTDIR
uninstall:
	rm -f '$(DESTDIR)$(BINDIR)/arvak-devserver' '$(DESTDIR)$(INCLUDEDIR)/arvak.h' '$(DESTDIR)$(INCLUDEDIR)/arvak_lua.h' \
	  '$(DESTDIR)$(LUA_LIBDIR)/arvak.so' '$(DESTDIR)$(LUA_LIBDIR)/arvak/devserver.so' \
	  '$(DESTDIR)$(LUA_DATADIR)/arvak/meta.lua' '$(DESTDIR)$(LIBDIR)/libarvak.a' \
	  '$(DESTDIR)$(LIBDIR)/pkgconfig/arvak.pc' $(LOOP_SRC:lua/%='$(DESTDIR)$(LUA_DATADIR)/%')
	rmdir '$(DESTDIR)$(LUA_LIBDIR)/arvak' '$(DESTDIR)$(LUA_DATADIR)/arvak' 2>/dev/null || :

#: make clean         remove build/
clean:
	rm -rf build $(BUILD)

tests: $(CORE_TESTS) $(SERVER_TESTS) $(LUA_TESTS) $(PEER)

run-tests:
	@$(RUN) tools/test.sh $(TESTS)

# ---- what is built from what ----------------------------------------------------------------------------------------

# Says at once, and by the name of the package, what is missing.
$(BUILD)/needs.ok:
	@mkdir -p $(@D)
	@CC='$(CC)' PKG_CONFIG='$(PKG_CONFIG)' PROTOC_C='$(PROTOC_C)' LUA='$(LUA)' LUA_CFLAGS='$(LUA_CFLAGS)' tools/needs.sh
	@touch $@

# Objects made with other flags are made again. Warnings do not count, so that CI may add -Werror.
FLAGS     = $(CC) $(OPT) $(SANITIZE) $(CFLAGS)
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' '$(subst ','\'',$(FLAGS))' | cmp -s - $@ || printf '%s\n' '$(subst ','\'',$(FLAGS))' > $@

$(PROTO_C): proto/arvak.proto | $(BUILD)/needs.ok
	@mkdir -p $(@D)
	$(QUIET)$(PROTOC_C) --proto_path=proto --c_out=$(@D) $<

$(PROTO_O): $(PROTO_C) $(BUILD)/flags
	@mkdir -p $(@D)
	$(QUIET)$(CC) $(ALL_CFLAGS) -c -o $@ $<

$(BUILD)/obj/core/%.o: src/core/%.c $(PROTO_C) $(BUILD)/flags
	@mkdir -p $(@D)
	$(QUIET)$(CC) $(ALL_CFLAGS) -c -o $@ $<

$(BUILD)/obj/devserver/%.o: src/devserver/%.c $(PROTO_C) $(BUILD)/flags
	@mkdir -p $(@D)
	$(QUIET)$(CC) $(ALL_CFLAGS) $(if $(filter %/module.c,$<),$(LUA_CFLAGS)) \
	  $(if $(filter %/main.c,$<),-DARVAK_VERSION='"$(VERSION)"') -c -o $@ $<

$(BUILD)/obj/lua/%.o: src/lua/%.c $(PROTO_C) $(BUILD)/flags
	@mkdir -p $(@D)
	$(QUIET)$(CC) $(ALL_CFLAGS) $(LUA_CFLAGS) -Isrc/core -c -o $@ $<

$(BUILD)/gen/embedded.c: tools/embed.lua $(LUA_SRC) | $(BUILD)/needs.ok
	@mkdir -p $(@D)
	$(QUIET)$(LUA) tools/embed.lua $(foreach f,$(LUA_SRC),$(subst /,.,$(patsubst lua/%.lua,%,$(f)))=$(f)) > $@

$(EMBED_O): $(BUILD)/gen/embedded.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(QUIET)$(CC) $(ALL_CFLAGS) $(LUA_CFLAGS) -Isrc/lua -c -o $@ $<

$(MODULE): $(CORE_O) $(GLUE_O) $(EMBED_O) $(PROTO_O)
	@mkdir -p $(@D)
	$(QUIET)$(CC) $(ALL_LDFLAGS) $(SHARED) -Wl,--unresolved-symbols=ignore-all -o $@ $^ $(LIBS)

$(DEVMODULE): $(SERVER_O) $(BUILD)/obj/devserver/module.o $(PROTO_O)
	@mkdir -p $(@D)
	$(QUIET)$(CC) $(ALL_LDFLAGS) $(SHARED) -Wl,--unresolved-symbols=ignore-all -o $@ $^ $(LIBS)

$(LOOPS): $(BUILD)/lua/%: lua/%
	@mkdir -p $(@D)
	$(QUIET)cp $< $@

$(DEVSERVER): $(SERVER_O) $(BUILD)/obj/devserver/main.o $(PROTO_O)
	@mkdir -p $(@D)
	$(QUIET)$(CC) $(ALL_LDFLAGS) -o $@ $^ -Wl,--as-needed $(LIBS)

$(BUILD)/test/%_test: spec/core/%_test.c $(CORE_O) $(PROTO_O)
	@mkdir -p $(@D)
	$(QUIET)$(CC) $(ALL_CFLAGS) -Isrc/core $(ALL_LDFLAGS) -o $@ $< $(CORE_O) $(PROTO_O) -lcmocka $(LIBS)

$(BUILD)/test/devserver/%_test: spec/devserver/%_test.c $(SERVER_O) $(PROTO_O)
	@mkdir -p $(@D)
	$(QUIET)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -Isrc/devserver -o $@ $< $(SERVER_O) $(PROTO_O) -lcmocka $(LIBS)

# Whole Lua states in C, with the module linked in.
$(BUILD)/test/lua/%_test: spec/lua/%_test.c $(CORE_O) $(GLUE_O) $(EMBED_O) $(PROTO_O) $(TSAN_C)
	@mkdir -p $(@D)
	$(QUIET)$(CC) $(ALL_CFLAGS) $(LUA_CFLAGS) -Isrc/core -Isrc/lua $(ALL_LDFLAGS) -Wl,-E -o $@ $(filter %.c %.o,$^) \
	  $(shell $(PKG_CONFIG) --libs lua5.4) -lcmocka $(LIBS)

# What specs load to have connections die: spec/support/peer.lua.
$(PEER): spec/support/peer.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(QUIET)$(CC) $(ALL_CFLAGS) $(LUA_CFLAGS) $(ALL_LDFLAGS) -shared -o $@ $<

# For hosts, with Lua or without. What is measured without the core is linked with this too, and takes nothing of it.
$(ARCHIVE): $(CORE_O) $(GLUE_O) $(EMBED_O) $(PROTO_O)
	@rm -f $@
	$(QUIET)$(AR) rcs $@ $^

$(BUILD)/bench/%: bench/%.c $(ARCHIVE)
	@mkdir -p $(@D)
	$(QUIET)$(CC) $(ALL_CFLAGS) -Isrc/core $(ALL_LDFLAGS) -o $@ $(filter %.c %.a,$^) -Wl,--as-needed $(LIBS)

$(BUILD)/bench/clock.so: bench/clock.c
	@mkdir -p $(@D)
	$(QUIET)$(CC) $(ALL_CFLAGS) $(LUA_CFLAGS) $(ALL_LDFLAGS) -shared -o $@ $<

$(EMBED): examples/embed/host.c $(TSAN_C) $(ARCHIVE)
	@mkdir -p $(@D)
	$(QUIET)$(CC) $(ALL_CFLAGS) $(LUA_CFLAGS) -Isrc/core -Isrc/lua $(ALL_LDFLAGS) -o $@ $(filter %.c %.a,$^) \
	  $(shell $(PKG_CONFIG) --libs lua5.4) $(LIBS)

# spec/fuzz/core_*.c are about the core, the others about the dev server.
$(BUILD)/fuzz/core_%: spec/fuzz/core_%.c $(wildcard src/core/*.c) $(PROTO_C)
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

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
