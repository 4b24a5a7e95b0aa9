# arvak for Lua. `make help` lists the targets; README.md is the way in.
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

# luarocks and packagers give these; a plain `make install` derives them from PREFIX.
BINDIR      ?= $(PREFIX)/bin
INCLUDEDIR  ?= $(PREFIX)/include
LIBDIR      ?= $(PREFIX)/lib
LUA_LIBDIR  ?= $(PREFIX)/lib/lua/5.4
LUA_DATADIR ?= $(PREFIX)/share/lua/5.4
MANDIR      ?= $(PREFIX)/share/man/man1
INSTALL     ?= install

# GRPC=/prefix: another gRPC than the one that pkg-config finds. The linker writes LD_RUN_PATH into all that it links.
ifdef GRPC
export PKG_CONFIG_PATH := $(GRPC)/lib/pkgconfig:$(GRPC)/lib64/pkgconfig:$(PKG_CONFIG_PATH)
export LD_RUN_PATH     := $(GRPC)/lib:$(GRPC)/lib64
endif
# What is exported reaches $(shell) only since make 4.4.
ASK_PKG = $(if $(GRPC),PKG_CONFIG_PATH='$(PKG_CONFIG_PATH)') $(PKG_CONFIG)

# pkg-config runs once, when its answer is first needed: it may not be installed before that.
once        = $(eval $(1) := $(2))$($(1))
LUA_CFLAGS ?= $(call once,LUA_CFLAGS,$(shell $(PKG_CONFIG) --cflags lua5.4 2>/dev/null))
DEPS_CFLAGS = $(call once,DEPS_CFLAGS,$(shell $(ASK_PKG) --cflags grpc libprotobuf-c libcrypto 2>/dev/null \
                | sed 's/-I/-isystem /g'))
DEPS_LDFLAGS = $(call once,DEPS_LDFLAGS,$(shell $(ASK_PKG) --libs-only-L grpc libprotobuf-c libcrypto 2>/dev/null))
# Of a gRPC that is there as archives alone, each module carries a copy of its own: hence --exclude-libs below.
GRPC_LIBDIR = $(call once,GRPC_LIBDIR,$(shell $(ASK_PKG) --variable=libdir grpc 2>/dev/null))
IS_ARCHIVE  = $(if $(wildcard $(GRPC_LIBDIR)/libgrpc.so $(GRPC_LIBDIR)/libgrpc.dylib),,$(wildcard $(GRPC_LIBDIR)/libgrpc.a))
GRPC_LIBS   = $(call once,GRPC_LIBS,$(if $(IS_ARCHIVE),$(shell $(ASK_PKG) --static --libs grpc) -lstdc++,-lgrpc -lgpr))
# The loader looks for each of gRPC's 18,000 names in one library after the other, in the order in which the module names
# them: most are names of C++, of gRPC itself and of OpenSSL. This file of C++ is there without a compiler for it.
LIBSTDCXX   = $(call once,LIBSTDCXX,$(if $(IS_ARCHIVE),,$(filter /%,$(shell $(CC) -print-file-name=libstdc++.so.6))))
CXX_FIRST   = -Wl,--no-as-needed $(LIBSTDCXX) -Wl,--as-needed
FIRST_LIBS  = $(if $(LIBSTDCXX),$(CXX_FIRST) $(DEPS_LDFLAGS) -lgrpc -lcrypto)
LIBS        = $(DEPS_LDFLAGS) $(GRPC_LIBS) -lprotobuf-c -lcrypto -lpthread -lm
VERSION     = $(call once,VERSION,$(shell sed -n 's/^.define ARVAK_VERSION "\(.*\)"/\1/p' src/core/arvak.h))
WARNINGS    = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Werror=implicit-fallthrough
ifeq ($(CI),true)
WARNINGS   += -Werror
endif
# What a fault in memory can do is bounded. A sanitizer sees more than FORTIFY, which needs an optimizer.
HARDENING   = -fstack-protector-strong $(if $(SANITIZE)$(filter -O0,$(OPT)),,-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
ALL_CFLAGS  = -std=c11 -D_GNU_SOURCE -pthread -fPIC -fvisibility=hidden $(OPT) $(HARDENING) $(WARNINGS) -MMD -MP \
              -I$(BUILD)/proto -Isrc/grpc $(DEPS_CFLAGS) $(SANITIZE) $(CFLAGS)
ALL_LDFLAGS = -pthread -Wl,-z,relro -Wl,-z,now $(SANITIZE) $(LDFLAGS)
SHARED      = -shared -Wl,-z,nodelete -Wl,-z,defs -Wl,--as-needed -Wl,--exclude-libs,ALL

# Every file below a folder: a new one needs no line here.
below     = $(foreach f,$(wildcard $1/*),$(if $(filter $2,$f),$f) $(call below,$f,$2))
objects   = $(patsubst src/%.c,$(BUILD)/obj/%.o,$1)

PROTO_C   = $(BUILD)/proto/arvak.pb-c.c
PROTO_O   = $(BUILD)/obj/proto/arvak.pb-c.o
CORE_C    = $(call below,src/core,%.c)
CORE_O    = $(call objects,$(CORE_C))
GLUE_C    = $(call below,src/lua,%.c)
GLUE_O    = $(call objects,$(GLUE_C))
EMBED_O   = $(BUILD)/obj/lua/embedded.o
# What is installed as files: the loops of others, which a program requires by name, and the annotations.
LOOP_SRC  = lua/arvak/cqueues.lua lua/arvak/luv.lua
LOOPS     = $(LOOP_SRC:lua/%=$(BUILD)/lua/%)
# The command, which is a program of its own: installed as files, so that the module carries none of it.
COMMAND_SRC = $(call below,lua/arvak/command,%.lua)
COMMAND   = $(BUILD)/bin/arvak
COMMAND_LUA = $(COMMAND_SRC:lua/%=$(BUILD)/lua/%)
META_SRC  = lua/arvak/meta.lua lua/arvak/meta_devserver.lua
LUA_SRC   = $(filter-out $(META_SRC) $(LOOP_SRC) $(COMMAND_SRC),$(call below,lua,%.lua))

# The name of each product is enough to read; V=1 shows the commands.
ifndef V
QUIET     = @echo '  $@';
endif

MODULE    = $(BUILD)/lua/arvak.so
ARCHIVE   = $(BUILD)/libarvak.a

# The environment in which tests and examples find the module that was just built, and no other.
LUA_DIR   = $(if $(filter /%,$(BUILD)),,$(CURDIR)/)$(BUILD)/lua
RUN       = env LUA=$(LUA) ARVAK_BUILD=$(BUILD) LUA_CPATH_5_4='$(LUA_DIR)/?.so;;' LUA_PATH_5_4='$(LUA_DIR)/?.lua;;'
SUBMAKE   = $(MAKE) $(if $(V),--no-print-directory,-s) $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc 2>/dev/null || echo 2))

include mk/devserver.mk mk/store.mk mk/tests.mk mk/bench.mk mk/docs.mk

.DELETE_ON_ERROR:
.PHONY: all help demo test check install uninstall clean FORCE
.DEFAULT_GOAL = all

all: $(MODULE) $(DEVMODULE) $(DEVSERVER) $(ARCHIVE) $(STORE_MODULES) $(STORE_ARCHIVES) $(LOOPS) $(COMMAND) \
  $(COMMAND_LUA)

# ---- what people run ------------------------------------------------------------------------------------------------

help:
	@sed -n 's/^#: //p' Makefile mk/tests.mk mk/bench.mk mk/docs.mk

#: make               build
#: make demo          install missing Debian packages, build, run examples/quickstart.lua on the embedded server
demo:
	@$(SETUP) build
	@$(SUBMAKE) all
	@$(RUN) $(LUA) examples/quickstart.lua embedded
	@$(RUN) $(COMMAND) run examples/adder.qasm --address embedded

#: make test          install missing Debian packages, build, run all tests; T=word: only files with word in their path
test:
	@$(SETUP) test
	@$(SUBMAKE) all tests
	@$(RUN) tools/test.sh $(TESTS)

#: make check         lint, the tests, the examples, and the tests under asan, tsan and valgrind
check:
	@$(SETUP) check
	@$(SUBMAKE) all tests
	@for target in lint test examples asan tsan valgrind; do $(MAKE) --no-print-directory SETUP=: $$target || exit 1; done

#: make install       to PREFIX (/usr/local), below DESTDIR if given
install: all
	$(INSTALL) -d '$(DESTDIR)$(BINDIR)' '$(DESTDIR)$(INCLUDEDIR)' '$(DESTDIR)$(LUA_LIBDIR)/arvak/store' \
	  '$(DESTDIR)$(LUA_DATADIR)/arvak' '$(DESTDIR)$(LIBDIR)/pkgconfig'
	$(INSTALL) -m 755 $(DEVSERVER) '$(DESTDIR)$(BINDIR)/arvak-devserver'
	$(INSTALL) -m 755 $(MODULE) '$(DESTDIR)$(LUA_LIBDIR)/arvak.so'
	$(INSTALL) -m 755 $(DEVMODULE) '$(DESTDIR)$(LUA_LIBDIR)/arvak/devserver.so'
	$(foreach s,$(STORES),$(call install_store,$s))
	$(INSTALL) -m 644 src/core/arvak.h src/lua/arvak_lua.h src/store/arvak_store.h '$(DESTDIR)$(INCLUDEDIR)'
	$(INSTALL) -m 644 $(ARCHIVE) '$(DESTDIR)$(LIBDIR)/libarvak.a'
	sed -e 's|@PREFIX@|$(PREFIX)|; s|@INCLUDEDIR@|$(INCLUDEDIR)|; s|@LIBDIR@|$(LIBDIR)|' \
	  -e 's|@VERSION@|$(VERSION)|; s|@DEPS_LDFLAGS@|$(DEPS_LDFLAGS)|; s|@GRPC_LIBS@|$(GRPC_LIBS)|' \
	  tools/arvak.pc.in \
	  > '$(DESTDIR)$(LIBDIR)/pkgconfig/arvak.pc'
	chmod 644 '$(DESTDIR)$(LIBDIR)/pkgconfig/arvak.pc'
	$(INSTALL) -m 644 $(META_SRC) $(LOOP_SRC) '$(DESTDIR)$(LUA_DATADIR)/arvak'
	$(INSTALL) -d '$(DESTDIR)$(LUA_DATADIR)/arvak/command' '$(DESTDIR)$(MANDIR)'
	$(INSTALL) -m 644 $(COMMAND_SRC) '$(DESTDIR)$(LUA_DATADIR)/arvak/command'
	$(call launcher,$(LUA_DATADIR),$(LUA_LIBDIR)) > '$(DESTDIR)$(BINDIR)/arvak'
	chmod 755 '$(DESTDIR)$(BINDIR)/arvak'
	$(COMMAND) manual > '$(DESTDIR)$(MANDIR)/arvak.1'
	chmod 644 '$(DESTDIR)$(MANDIR)/arvak.1'

#: make uninstall     with the same PREFIX and DESTDIR
uninstall:
	rm -f '$(DESTDIR)$(BINDIR)/arvak-devserver' '$(DESTDIR)$(INCLUDEDIR)/arvak.h' '$(DESTDIR)$(INCLUDEDIR)/arvak_lua.h' \
	  '$(DESTDIR)$(INCLUDEDIR)/arvak_store.h' $(foreach s,sqlite postgres,$(call store_installed,$s)) \
	  '$(DESTDIR)$(LUA_LIBDIR)/arvak.so' '$(DESTDIR)$(LUA_LIBDIR)/arvak/devserver.so' \
	  '$(DESTDIR)$(LIBDIR)/libarvak.a' '$(DESTDIR)$(LIBDIR)/pkgconfig/arvak.pc' \
	  $(patsubst lua/%,'$(DESTDIR)$(LUA_DATADIR)/%',$(META_SRC) $(LOOP_SRC))
	rm -f '$(DESTDIR)$(BINDIR)/arvak' '$(DESTDIR)$(MANDIR)/arvak.1' $(COMMAND_SRC:lua/%='$(DESTDIR)$(LUA_DATADIR)/%')
	rmdir '$(DESTDIR)$(LUA_DATADIR)/arvak/command' 2>/dev/null || :
	rmdir '$(DESTDIR)$(LUA_LIBDIR)/arvak/store' 2>/dev/null || :
	rmdir '$(DESTDIR)$(LUA_LIBDIR)/arvak' '$(DESTDIR)$(LUA_DATADIR)/arvak' 2>/dev/null || :

#: make clean         remove build/
clean:
	rm -rf build $(BUILD)

# ---- what is built from what ----------------------------------------------------------------------------------------

# Says at once, and by the name of the package, what is missing.
$(BUILD)/needs.ok:
	@mkdir -p $(@D)
	@CC='$(CC)' PKG_CONFIG='$(PKG_CONFIG)' PROTOC_C='$(PROTOC_C)' LUA='$(LUA)' LUA_CFLAGS='$(LUA_CFLAGS)' tools/needs.sh
	@touch $@

# Objects made with other flags are made again. Warnings do not count, so that CI may add -Werror.
FLAGS     = $(CC) $(OPT) $(HARDENING) $(SANITIZE) $(CFLAGS) $(GRPC)
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' '$(subst ','\'',$(FLAGS))' | cmp -s - $@ || printf '%s\n' '$(subst ','\'',$(FLAGS))' > $@

# What is made of many files is made again when one of them has gone, or come with an old date.
$(BUILD)/sources: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' $(CORE_C) $(GLUE_C) $(SERVER_C) $(call below,src/store,%.c) $(LUA_SRC) | sort > $@.now
	@cmp -s $@.now $@ || cp $@.now $@

# The functions of the messages get names of our own, by macros before their declarations: a host may be linked with
# those that it has generated from the same file.
$(PROTO_C): proto/arvak.proto Makefile | $(BUILD)/needs.ok
	@mkdir -p $(@D)
	$(QUIET)$(PROTOC_C) --proto_path=proto --c_out=$(@D) $<
	@{ grep -o 'arvak__v1__[a-z0-9_]*' $(@:.c=.h); grep -o 'arvak__v1__[a-z0-9_]*__method_indices_by_name' $@; } | sort -u | sed 's/.*/#define & arvak__own__&/' > $@.names
	@cat $@.names $(@:.c=.h) > $@.own && mv $@.own $(@:.c=.h) && rm $@.names

$(PROTO_O): $(PROTO_C) $(BUILD)/flags
	@mkdir -p $(@D)
	$(QUIET)$(CC) $(ALL_CFLAGS) -c -o $@ $<

$(BUILD)/obj/core/%.o: src/core/%.c $(PROTO_C) $(BUILD)/flags
	@mkdir -p $(@D)
	$(QUIET)$(CC) $(ALL_CFLAGS) -Isrc/core -c -o $@ $<

$(BUILD)/obj/lua/%.o: src/lua/%.c $(PROTO_C) $(BUILD)/flags
	@mkdir -p $(@D)
	$(QUIET)$(CC) $(ALL_CFLAGS) $(LUA_CFLAGS) -Isrc/lua -Isrc/core -c -o $@ $<

$(BUILD)/gen/embedded.c: tools/embed.lua $(LUA_SRC) $(BUILD)/sources | $(BUILD)/needs.ok
	@mkdir -p $(@D)
	$(QUIET)$(LUA) tools/embed.lua $(foreach f,$(LUA_SRC),$(subst /,.,$(patsubst lua/%.lua,%,$(f)))=$(f)) > $@

$(EMBED_O): $(BUILD)/gen/embedded.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(QUIET)$(CC) $(ALL_CFLAGS) $(LUA_CFLAGS) -Isrc/lua -c -o $@ $<

$(MODULE): $(CORE_O) $(GLUE_O) $(EMBED_O) $(PROTO_O) $(BUILD)/sources
	@mkdir -p $(@D)
	$(QUIET)$(CC) $(ALL_LDFLAGS) $(SHARED) -Wl,--unresolved-symbols=ignore-all -o $@ $(filter %.o,$^) $(FIRST_LIBS) $(LIBS)

# The program's few lines, with the folders where its modules are.
launcher = sed -e 's|@LUA@|$(LUA)|; s|@VERSION@|$(VERSION)|; s|@LUA_DATADIR@|$1|; s|@LUA_LIBDIR@|$2|' tools/arvak.in
$(COMMAND): tools/arvak.in src/core/arvak.h
	@mkdir -p $(@D)
	$(QUIET)$(call launcher,$(LUA_DIR),$(LUA_DIR)) > $@ && chmod 755 $@

$(LOOPS) $(COMMAND_LUA): $(BUILD)/lua/%: lua/%
	@mkdir -p $(@D)
	$(QUIET)cp $< $@

# For hosts, with Lua or without. What is measured without the core is linked with this too, and takes nothing of it.
$(ARCHIVE): $(CORE_O) $(GLUE_O) $(EMBED_O) $(PROTO_O) $(BUILD)/sources
	@rm -f $@
	$(QUIET)$(AR) rcs $@ $(filter %.o,$^)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
