# What is measured, and how.
# SPDX-License-Identifier: Apache-2.0

BENCHES   = $(BUILD)/bench/raw $(BUILD)/bench/wake $(BUILD)/bench/clock.so

.PHONY: bench soak fairness follow follow-run

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

$(BUILD)/bench/%: bench/%.c $(ARCHIVE)
	@mkdir -p $(@D)
	$(QUIET)$(CC) $(ALL_CFLAGS) -Isrc/core $(ALL_LDFLAGS) -o $@ $(filter %.c %.a,$^) -Wl,--as-needed $(LIBS)

# Whole Lua states in C.
$(BUILD)/bench/fairness: bench/fairness.c $(ARCHIVE)
	@mkdir -p $(@D)
	$(QUIET)$(CC) $(ALL_CFLAGS) $(LUA_CFLAGS) -Isrc/lua -Isrc/core $(ALL_LDFLAGS) -Wl,-E -o $@ $(filter %.c %.a,$^) \
	  $(shell $(PKG_CONFIG) --libs lua5.4) $(LIBS)

#: make fairness      a plugin's latency beside others that wait or compute, and beside threads that use no arvak
fairness:
	@$(SETUP) build
	@$(SUBMAKE) all $(BUILD)/bench/fairness
	@$(RUN) $(BUILD)/bench/fairness

$(BUILD)/bench/clock.so: bench/clock.c
	@mkdir -p $(@D)
	$(QUIET)$(CC) $(ALL_CFLAGS) $(LUA_CFLAGS) $(ALL_LDFLAGS) -shared -o $@ $<

#: make follow        which functions and files a circuit passes through, at -O0; V=1 prints each step
follow:
	@$(SETUP) build
	@$(SUBMAKE) BUILD=build/follow OPT='-O0 -g -finstrument-functions' all build/follow/lua/follow.so
	@LD_PRELOAD='$(CURDIR)/build/follow/lua/follow.so' $(MAKE) --no-print-directory BUILD=build/follow follow-run

follow-run:
	@$(RUN) $(LUA) bench/follow.lua $(if $(V),-v)

# Preloaded into make and shells too, which have no Lua: hence lazy.
$(BUILD)/lua/follow.so: bench/follow.c
	@mkdir -p $(@D)
	$(QUIET)$(CC) $(filter-out -finstrument-functions,$(ALL_CFLAGS)) $(LUA_CFLAGS) $(ALL_LDFLAGS) \
	  -Wl,-z,lazy -shared -o $@ $<
