# arvak for Lua. `make help` lists the targets; README.md tells the story.
# SPDX-License-Identifier: Apache-2.0

PREFIX     ?= /usr/local
BUILD      ?= build
CC         ?= cc
AR         ?= ar
LUA        ?= lua5.4
PKG_CONFIG ?= pkg-config
PROTOC_C   ?= protoc-c
OPT        ?= -O2 -g

# luarocks and packagers give these; a plain `make install` derives them from PREFIX.
BINDIR      ?= $(PREFIX)/bin
LUA_LIBDIR  ?= $(PREFIX)/lib/lua/5.4
LUA_DATADIR ?= $(PREFIX)/share/lua/5.4

LUA_CFLAGS ?= $(shell $(PKG_CONFIG) --cflags lua5.4)
LIBS        = -lgrpc -lgpr -lprotobuf-c -lpthread -lm
WARNINGS    = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Werror=implicit-fallthrough
ifeq ($(CI),true)
WARNINGS   += -Werror
endif
ALL_CFLAGS  = -std=c11 -D_GNU_SOURCE -pthread -fPIC -fvisibility=hidden $(OPT) $(WARNINGS) -MMD -MP \
              -Isrc/core -I$(BUILD)/proto $(SANITIZE) $(CFLAGS)
ALL_LDFLAGS = -pthread $(SANITIZE) $(LDFLAGS)
SHARED      = -shared -Wl,-z,nodelete -Wl,-z,defs -Wl,--as-needed

PROTO_C   = $(BUILD)/proto/arvak.pb-c.c
PROTO_O   = $(BUILD)/obj/proto/arvak.pb-c.o
CORE_O    = $(patsubst src/%.c,$(BUILD)/obj/%.o,$(wildcard src/core/*.c))
GLUE_O    = $(patsubst src/%.c,$(BUILD)/obj/%.o,$(wildcard src/lua/*.c))
SERVER_C  = $(filter-out %/main.c %/module.c,$(wildcard src/devserver/*.c))
SERVER_O  = $(patsubst src/%.c,$(BUILD)/obj/%.o,$(SERVER_C))
LUA_SRC   = $(wildcard lua/*.lua) $(filter-out lua/arvak/meta.lua,$(wildcard lua/arvak/*.lua))
EMBED_O   = $(BUILD)/obj/lua/embedded.o
CORE_TESTS = $(patsubst spec/core/%_test.c,$(BUILD)/test/%_test,$(wildcard spec/core/*_test.c))
SERVER_TESTS = $(patsubst spec/devserver/%_test.c,$(BUILD)/test/devserver/%_test,$(wildcard spec/devserver/*_test.c))

MODULE    = $(BUILD)/lua/arvak.so
DEVMODULE = $(BUILD)/lua/arvak/devserver.so
DEVSERVER = $(BUILD)/bin/arvak-devserver

.DELETE_ON_ERROR:
.PHONY: all help

all: $(MODULE) $(DEVMODULE) $(DEVSERVER)

$(PROTO_C): proto/arvak.proto
	@mkdir -p $(@D)
	$(PROTOC_C) --proto_path=proto --c_out=$(@D) $<

$(PROTO_O): $(PROTO_C)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -c -o $@ $<

$(BUILD)/obj/core/%.o: src/core/%.c $(PROTO_C)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -c -o $@ $<

$(BUILD)/obj/devserver/%.o: src/devserver/%.c $(PROTO_C)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(if $(filter %/module.c,$<),$(LUA_CFLAGS)) -c -o $@ $<

$(BUILD)/obj/lua/%.o: src/lua/%.c $(PROTO_C)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(LUA_CFLAGS) -c -o $@ $<

$(BUILD)/gen/embedded.c: tools/embed.lua $(LUA_SRC)
	@mkdir -p $(@D)
	$(LUA) tools/embed.lua $(foreach f,$(LUA_SRC),$(subst /,.,$(patsubst lua/%.lua,%,$(f)))=$(f)) > $@

$(EMBED_O): $(BUILD)/gen/embedded.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(LUA_CFLAGS) -Isrc/lua -c -o $@ $<

$(MODULE): $(CORE_O) $(GLUE_O) $(EMBED_O) $(PROTO_O)
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) $(SHARED) -Wl,--unresolved-symbols=ignore-all -o $@ $^ $(LIBS)

$(DEVMODULE): $(SERVER_O) $(BUILD)/obj/devserver/module.o $(PROTO_O)
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) $(SHARED) -Wl,--unresolved-symbols=ignore-all -o $@ $^ $(LIBS)

$(DEVSERVER): $(SERVER_O) $(BUILD)/obj/devserver/main.o $(PROTO_O)
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ -Wl,--as-needed $(LIBS)

$(BUILD)/test/%_test: spec/core/%_test.c $(CORE_O) $(PROTO_O)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $< $(CORE_O) $(PROTO_O) -lcmocka $(LIBS)

$(BUILD)/test/devserver/%_test: spec/devserver/%_test.c $(SERVER_O) $(PROTO_O)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -Isrc/devserver -o $@ $< $(SERVER_O) $(PROTO_O) -lcmocka -lcjson $(LIBS)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
