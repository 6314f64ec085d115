EXTENSION = order_engine
EXTVERSION = $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" $(srcdir)/order_engine.control)
MODULE_big = order_engine

# Layers: an include goes to the same folder or to one further left (script/lint layers).
FOLDERS = base shop journal machine stock order worker relay
SOURCES = $(wildcard $(srcdir)/src/*.c $(FOLDERS:%=$(srcdir)/src/%/*.c))
LAYER_HEADERS = $(wildcard $(FOLDERS:%=$(srcdir)/src/%/*.h))
OBJS = $(patsubst $(srcdir)/%.c,%.o,$(SOURCES))

# In the order in which the install script needs them.
FRAGMENTS = shop/schema shop/slot shop/order_id shop/direct_write stock/stock stock/stock_mode machine/machine journal/journal journal/outbox journal/stock_journal \
	shop/setup shop/comments order/order order/reservation order/order_replay order/payment order/order_read worker/service worker/keeper worker/reconcile machine/attach relay/relay \
	shop/privileges
SQL_FRAGMENTS = $(FRAGMENTS:%=$(srcdir)/src/%.sql)
EXTENSION_SQL = $(EXTENSION)--$(EXTVERSION).sql
DATA_built = $(EXTENSION_SQL)
EXTRA_CLEAN = $(EXTENSION_SQL)

# make installcheck: what the running server allows, each in a database of its own (test/README.md).
# Older makes do not hand on to $(shell) what is set on their command line.
SERVER = $(foreach name,PGHOST PGPORT PGUSER,$(if $($(name)),$(name)='$($(name))'))
ALLOWED = $(shell PATH="$(bindir):$$PATH" $(SERVER) $(srcdir)/test/lib/allowed_tests $(1))
FRESH_DATABASE = --launcher=$(abspath $(srcdir))/test/lib/fresh_database
REGRESS = $(call ALLOWED,regress)
REGRESS_OPTS = $(FRESH_DATABASE)
ISOLATION = $(call ALLOWED,isolation)
ISOLATION_OPTS = $(FRESH_DATABASE) --inputdir=$(srcdir)/test/isolation
TAP_TESTS = 1
PROVE_TESTS = $(call ALLOWED,tap)

PG_CPPFLAGS = -I$(srcdir)/src -DORDER_ENGINE_VERSION='"$(EXTVERSION)"'
SHLIB_LINK = -Wl,--version-script=$(srcdir)/src/exports.map

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
override with_llvm = no
include $(PGXS)

$(EXTENSION_SQL): $(SQL_FRAGMENTS) $(srcdir)/order_engine.control $(srcdir)/Makefile
	cat $(SQL_FRAGMENTS) > $@

$(shell mkdir -p $(dir $(OBJS)))
$(OBJS): $(LAYER_HEADERS) $(srcdir)/Makefile

# For PGXN and who packages: what is committed, less what .gitattributes names.
DISTVERSION = $(shell sed -n '/"version"/{s/.*: "\(.*\)",/\1/p;q;}' $(srcdir)/META.json)
DIST = $(EXTENSION)-$(DISTVERSION)
dist:
	git -C $(srcdir) archive --format=zip --prefix=$(DIST)/ --output=$(CURDIR)/$(DIST).zip HEAD

# Everything that must hold: see test/README.md.
test:
	$(srcdir)/script/test

# The Kafka publisher is a library of its own; WITH_KAFKA=no builds without it.
WITH_KAFKA ?= yes
KAFKA = src/relay/kafka
KAFKA_TARGETS = kafka-all kafka-install kafka-uninstall kafka-clean
ifeq ($(WITH_KAFKA),yes)
all install uninstall clean: %: kafka-%
endif
$(KAFKA_TARGETS): kafka-%:
	mkdir -p $(KAFKA)
	$(MAKE) -C $(KAFKA) -f $(abspath $(srcdir))/$(KAFKA)/Makefile $(if $(VPATH),VPATH=$(abspath $(VPATH))/$(KAFKA)) \
		$* PG_CONFIG=$(PG_CONFIG)
.PHONY: dist test $(KAFKA_TARGETS)
