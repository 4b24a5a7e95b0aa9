# The stores: a module and an archive for each database whose library is here. The others are left out, with a line that
# says so (tools/needs.sh).
# SPDX-License-Identifier: Apache-2.0

# The library of each, as pkg-config calls it.
STORE_LIB_sqlite   = sqlite3
STORE_LIB_postgres = libpq
# Those whose library is here and whose source is, too.
STORES    = $(call once,STORES,$(foreach s,sqlite postgres,$(if $(wildcard src/store/$s_module.c),$(shell $(PKG_CONFIG) --exists $(STORE_LIB_$s) 2>/dev/null && echo $s))))
# Of one database: everything that begins with its name, or is in a folder of that name. The rest is common.
store_own = $(wildcard src/store/$1*.c src/store/$1/*.c)
STORE_COMMON_C = $(filter-out $(call store_own,sqlite) $(call store_own,postgres),$(call below,src/store,%.c))
STORE_COMMON_O = $(call objects,$(STORE_COMMON_C))
store_o   = $(STORE_COMMON_O) $(call objects,$(call store_own,$1))
store_libs = $(shell $(PKG_CONFIG) --libs $(STORE_LIB_$1))
STORE_MODULES  = $(STORES:%=$(BUILD)/lua/arvak/store/%.so)
STORE_ARCHIVES = $(STORES:%=$(BUILD)/libarvak-%.a)

# The installed files of each.
store_installed = '$(DESTDIR)$(LUA_LIBDIR)/arvak/store/$1.so' '$(DESTDIR)$(LIBDIR)/libarvak-$1.a' \
  '$(DESTDIR)$(LIBDIR)/pkgconfig/arvak-$1.pc'
define install_store
	$(INSTALL) -m 755 $(BUILD)/lua/arvak/store/$1.so '$(DESTDIR)$(LUA_LIBDIR)/arvak/store/$1.so'
	$(INSTALL) -m 644 $(BUILD)/libarvak-$1.a '$(DESTDIR)$(LIBDIR)/libarvak-$1.a'
	sed -e 's|@PREFIX@|$(PREFIX)|; s|@INCLUDEDIR@|$(INCLUDEDIR)|; s|@LIBDIR@|$(LIBDIR)|' \
	  -e 's|@VERSION@|$(VERSION)|; s|@STORE@|$1|; s|@LIBRARY@|$(STORE_LIB_$1)|' tools/arvak-store.pc.in \
	  > '$(DESTDIR)$(LIBDIR)/pkgconfig/arvak-$1.pc'
	chmod 644 '$(DESTDIR)$(LIBDIR)/pkgconfig/arvak-$1.pc'

endef

$(BUILD)/obj/store/%.o: src/store/%.c $(BUILD)/flags | $(BUILD)/needs.ok
	@mkdir -p $(@D)
	$(QUIET)$(CC) $(ALL_CFLAGS) $(LUA_CFLAGS) $(if $(filter postgres%,$*),$(shell $(PKG_CONFIG) --cflags libpq)) \
	  -c -o $@ $<

# What is made of many files, for one database.
define store_rules
$(BUILD)/lua/arvak/store/$1.so: $(call store_o,$1) $(BUILD)/sources
	@mkdir -p $$(@D)
	$$(QUIET)$$(CC) $$(ALL_LDFLAGS) $$(SHARED) -Wl,--unresolved-symbols=ignore-all -o $$@ $$(filter %.o,$$^) \
	  $$(call store_libs,$1) -lpthread -lm

$(BUILD)/libarvak-$1.a: $(call store_o,$1) $(BUILD)/sources
	@rm -f $$@
	$$(QUIET)$$(AR) rcs $$@ $$(filter %.o,$$^)
endef
$(foreach s,sqlite postgres,$(eval $(call store_rules,$s)))
