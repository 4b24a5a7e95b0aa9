# The reference, written from the annotations, and the documents as a site.
# SPDX-License-Identifier: Apache-2.0

SITE      = $(BUILD)/docs

.PHONY: docs reference

#: make docs          the documents as HTML in build/docs; begin with build/docs/index.html
docs:
	@$(SETUP) docs
	@$(LUA) tools/site/site.lua $(SITE)

#: make reference     writes docs/reference/ anew from lua/arvak/meta.lua
reference:
	@$(SETUP) build
	@$(LUA) tools/reference.lua
