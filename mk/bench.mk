# What is measured, and how.
# SPDX-License-Identifier: Apache-2.0

BENCHES   = $(BUILD)/bench/raw $(BUILD)/bench/wake $(BUILD)/bench/clock.so

.PHONY: bench soak follow follow-run

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
