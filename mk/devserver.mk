# The dev server, as a program and as a module.
# SPDX-License-Identifier: Apache-2.0

SERVER_C  = $(filter-out %/main.c %/module.c,$(call below,src/devserver,%.c))
SERVER_O  = $(call objects,$(SERVER_C))
DEVMODULE = $(BUILD)/lua/arvak/devserver.so
DEVSERVER = $(BUILD)/bin/arvak-devserver

$(BUILD)/obj/devserver/%.o: src/devserver/%.c $(PROTO_C) $(BUILD)/flags
	@mkdir -p $(@D)
	$(QUIET)$(CC) $(ALL_CFLAGS) -Isrc/devserver $(if $(filter %/module.c,$<),$(LUA_CFLAGS)) \
	  $(if $(filter %/main.c,$<),-DARVAK_VERSION='"$(VERSION)"') -c -o $@ $<

$(DEVMODULE): $(SERVER_O) $(BUILD)/obj/devserver/module.o $(PROTO_O) $(BUILD)/sources
	@mkdir -p $(@D)
	$(QUIET)$(CC) $(ALL_LDFLAGS) $(SHARED) -Wl,--unresolved-symbols=ignore-all -o $@ $(filter %.o,$^) $(LIBS)

$(DEVSERVER): $(SERVER_O) $(BUILD)/obj/devserver/main.o $(PROTO_O) $(BUILD)/sources
	@mkdir -p $(@D)
	$(QUIET)$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) -Wl,--as-needed $(LIBS)
