EXTENSION = order_engine
EXTVERSION = $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" order_engine.control)
MODULE_big = order_engine

# One concept, one name: SOURCES lists the C files, FRAGMENTS the SQL files in
# the order in which the install script needs them.
SOURCES = \
	order_engine shared settings shape shop statement row \
	call context property \
	slot order_id guard stock \
	machine machine_definition machine_diagram \
	line event order order_create order_trigger order_replay payment order_read \
	keeper attach \
	journal journal_ring journal_read journal_backlog outbox \
	worker relay relay_message relay_status log_publisher
OBJS = $(addprefix src/,$(addsuffix .o,$(SOURCES)))
FRAGMENTS = \
	schema \
	slot order_id guard stock machine journal outbox \
	setup \
	order order_replay payment order_read \
	keeper attach relay \
	privileges
SQL_FRAGMENTS = $(addprefix src/,$(addsuffix .sql,$(FRAGMENTS)))

# Not INSTALL_SCRIPT: that name is PGXS's, for install(1).
EXTENSION_SQL = $(EXTENSION)--$(EXTVERSION).sql
DATA_built = $(EXTENSION_SQL)
EXTRA_CLEAN = $(EXTENSION_SQL)

PG_CFLAGS = -Wall -Wextra -Werror -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers
PG_CPPFLAGS = -I$(srcdir)/src -DORDER_ENGINE_VERSION='"$(EXTVERSION)"'
SHLIB_LINK = -Wl,--version-script=$(srcdir)/src/exports.map

WITH_KAFKA ?= yes

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
override with_llvm = no
include $(PGXS)

$(EXTENSION_SQL): $(SQL_FRAGMENTS) order_engine.control Makefile
	cat $(SQL_FRAGMENTS) > $@

$(OBJS): $(wildcard $(srcdir)/src/*.h) Makefile

# Everything that must hold: see test/README.md.
test:
	$(srcdir)/script/test
.PHONY: test

# The Kafka publisher is a library of its own; WITH_KAFKA=no builds without it.
ifeq ($(WITH_KAFKA),yes)
KAFKA_TARGETS = kafka-all kafka-install kafka-uninstall kafka-clean
all: kafka-all
install: kafka-install
uninstall: kafka-uninstall
clean: kafka-clean
$(KAFKA_TARGETS): kafka-%:
	$(MAKE) -C $(srcdir)/src/kafka $* PG_CONFIG=$(PG_CONFIG)
.PHONY: $(KAFKA_TARGETS)
endif
