# SPDX-License-Identifier: Apache-2.0
EXTRA_DIST += compiler/support/embed.sh
nodist_libmlcc_a_SOURCES = compiler/support/embedded.c
BUILT_SOURCES += compiler/support/embedded.c
CLEANFILES += compiler/support/embedded.c

compiler/support/embedded.c: $(srcdir)/compiler/support/embed.sh $(EMBEDDED_FILES) Makefile
	@mkdir -p compiler/support
	$(AM_V_GEN)cd $(srcdir) && sh compiler/support/embed.sh $(EMBEDDED_FILES) >$(abs_builddir)/$@.tmp && \
	    mv $(abs_builddir)/$@.tmp $(abs_builddir)/$@
