# Shared by the programs of this folder: `. script/lib.sh`, with bash and set -eu.
#
#   where things are      root, cache_dir, installed_major, pg_config_of, is_at_home, find_java
#   an unprivileged user  become_tester: PostgreSQL refuses to run as root, and root's
#                         checkout may be out of reach for anybody else
#   a private PostgreSQL  prefix_make, strict_make, extension_install: the system's installation is
#                         only ever read
#   scratch servers       cluster_start, cluster_stop, kafka_start, kafka_stop,
#                         shop_start, shop_stop (a preloaded cluster with a broker)

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export LC_ALL=C.UTF-8
# nothing of the caller's PostgreSQL may leak into ours
unset PGHOST PGHOSTADDR PGPORT PGDATABASE PGUSER PGPASSWORD PGSERVICE PGOPTIONS PGDATA MAKEFLAGS MAKELEVEL MFLAGS

die()
{
	echo "${0##*/}: $*" >&2
	exit 1
}

# A script's usage is the comment it opens with.
usage()
{
	sed -n '2,/^[^#]/{s/^#$//p;s/^# //p}' "$0" >&2
	exit 2
}


# ---- where things are ----

# What is worth keeping between runs and checkouts: jars, chroots.  Root's own
# folder must be root's: in a folder that others may write to, somebody else's
# would be a trap.
cache_dir()
{
	local dir=${ORDER_ENGINE_CACHE:-}
	if [ -z "$dir" ]; then
		if [ "$(id -u)" = 0 ]; then dir=/var/tmp/order_engine; else dir=$root/build; fi
	fi
	mkdir -p "$dir"
	[ -O "$dir" ] || die "$dir belongs to somebody else"
	echo "$dir"
}

# Newest PostgreSQL that has what building an extension takes, empty if none.
installed_major()
{
	local config
	for config in $(printf '%s\n' /usr/lib/postgresql/*/bin/pg_config | sort -t / -k 5,5nr); do
		if [ -x "$config" ] && [ -f "$("$config" --pgxs)" ]; then
			basename "$(dirname "$(dirname "$config")")"
			return
		fi
	done
}

pg_config_of()
{
	echo "/usr/lib/postgresql/$1/bin/pg_config"
}

# Which Debian release has PostgreSQL $1, empty if none is known to.
release_of_major()
{
	case $1 in
		15) echo bookworm ;;
		17) echo trixie ;;
		18) echo forky ;;
	esac
}

# Whether this system is to have PostgreSQL $1 (empty: its own) itself: it has it,
# or its release does.  Other majors live in chroots.
is_at_home()
{
	[ -z "$1" ] || [ -x "$(pg_config_of "$1")" ] ||
		grep -q "^VERSION_CODENAME=$(release_of_major "$1")\$" /etc/os-release
}

# A Java that Kafka 3.9 runs on, empty if there is none.
find_java()
{
	local java
	for java in "${JAVA_HOME:-/nowhere}/bin/java" /usr/lib/jvm/java-{17,21}-openjdk*/bin/java; do
		if [ -x "$java" ]; then
			echo "$java"
			return
		fi
	done
	command -v java || true
}


# ---- an unprivileged user, a place of his own ----

# The checkout without what was built or left in it.
tree_copy()
{
	mkdir -p "$1"
	tar -C "$root" -cf - --exclude=./.git --exclude=./tmp --exclude=./tmp_check --exclude=./build --exclude=./results \
		--exclude='*.o' --exclude='*.bc' --exclude='*.so' --exclude='*.so.*' --exclude='./order_engine--[0-9.]*.sql' . |
		tar -C "$1" -xf - --no-same-owner
}

# Files that went from the checkout go from the copy, what was built there stays:
# the next build is an incremental one.
tree_refresh()
{
	if [ -d "$1" ]; then
		find "$1" -type f ! -name "*.o" ! -name "*.so" -delete
	fi
	tree_copy "$1"
}

# Takes the first stage that no other run is using.  The lock is held by fd 8,
# which every process of the run inherits, so it ends with the last of them.
stage_claim()
{
	local number
	for number in 1 2 3 4 5 6 7 8; do
		stage=$1-$number
		mkdir -p "$stage"
		exec 8>>"$stage/lock"
		flock -n 8 && return
	done
	die "eight runs are under way already in $1-*"
}

# Runs the calling script again from a copy of the checkout in a stage, as a user
# who is not root, with its arguments, for the PostgreSQL in `major` (and `variant`,
# where there is more than one build of it).  Returns in that second run only, with
# `stage` set.
become_tester()
{
	local script=${0##*/} tester=postgres base
	if [ -n "${ORDER_ENGINE_STAGE:-}" ]; then
		stage=$ORDER_ENGINE_STAGE
		unset ORDER_ENGINE_STAGE
		return
	fi
	if [ "$(id -u)" != 0 ]; then
		mkdir -p "$root/tmp"
		stage_claim "$root/tmp/pg$major${variant:-}"
		tree_refresh "$stage/tree"
		exec env ORDER_ENGINE_STAGE="$stage" KAFKA_JARS="$(cache_dir)/kafka" CLIENTS="$(cache_dir)/clients" \
			"$stage/tree/script/reap" bash "$stage/tree/script/$script" "$@"
	fi
	id "$tester" >/dev/null 2>&1 || die "there is no user $tester: run script/setup"
	base=$(cache_dir)/stage
	mkdir -p "$base"
	# those of checkouts that are no more
	find "$base" -mindepth 1 -maxdepth 1 -mtime +3 -exec rm -rf --one-file-system {} +
	# one stage for each checkout: its copy is then built incrementally
	stage_claim "$base/$(printf '%s' "$root" | md5sum | cut -c 1-8)-pg$major${variant:-}"
	tree_refresh "$stage/tree"
	chown -R "$tester:" "$stage"
	cd "$stage"
	exec runuser -u "$tester" -- env HOME="$stage" ORDER_ENGINE_STAGE="$stage" \
		KAFKA_JARS="$(cache_dir)/kafka" CLIENTS="$(cache_dir)/clients" \
		"$stage/tree/script/reap" bash "$stage/tree/script/$script" "$@"
}


# ---- a private PostgreSQL ----

# Copies the installation of `major` (or the one with the pg_config $2) to $1 and puts
# it first in PATH.  PostgreSQL finds its files relative to its programs, so the copy
# installs into itself.
prefix_make()
{
	local prefix=$1 config=${2:-$(pg_config_of "$major")} dir stamp
	[ -x "$config" ] || die "PostgreSQL $major is not installed: run script/setup $major"
	stamp=$config\ $("$config" --version)\ $(stat -c %Y "$("$config" --bindir)" "$("$config" --pkglibdir)" "$("$config" --sharedir)/extension" | tr '\n' ' ')
	if [ "$(cat "$prefix/stamp" 2>/dev/null)" != "$stamp" ]; then
		rm -rf "$prefix"
		# built against the one before
		find "$root" \( -name '*.o' -o -name '*.so' \) -delete
		for dir in "$("$config" --bindir)" "$("$config" --pkglibdir)" "$("$config" --sharedir)"; do
			[ ! -d "$prefix$dir" ] || continue
			mkdir -p "$prefix$(dirname "$dir")"
			cp -RL --preserve=mode,timestamps "$dir" "$prefix$(dirname "$dir")/"
		done
		dir=$("$config" --includedir)
		mkdir -p "$prefix$(dirname "$dir")"
		ln -s "$dir" "$prefix$dir"
		printf '%s' "$stamp" >"$prefix/stamp"
	fi
	export PG_CONFIG=$prefix$config
	export PATH=$prefix$("$config" --bindir):$PATH
}

# make, for what the project builds itself: the compiler's warnings are errors.  They are
# not in the Makefile, since a compiler that we do not know may warn of more.
strict_make()
{
	local warnings='-Wall -Wextra -Werror -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers'
	make -s -j2 PG_CONFIG="$PG_CONFIG" COPT="$warnings ${COPT:-}" "$@"
}

# Builds the checkout and installs it into the private PostgreSQL.  What an older build
# installed goes first.
extension_install()
{
	rm -f "$("$PG_CONFIG" --sharedir)/extension/order_engine"* "$("$PG_CONFIG" --pkglibdir)/order_engine"*.so
	strict_make -C "$root"
	strict_make -C "$root" install >/dev/null
}


# ---- scratch servers ----

# A new cluster in $1, on a socket of its own; further arguments are lines of
# postgresql.conf.  Its superuser is postgres, whoever runs it.
cluster_start()
{
	local dir=$1 line
	shift
	rm -rf "$dir"
	mkdir -p "$dir"
	# not under $dir: a socket's path may have 107 bytes
	mktemp -d /tmp/order_engine.XXXXXX >"$dir/socket"
	initdb -D "$dir/data" -U postgres -A trust -E UTF8 --no-locale -N >"$dir/initdb.log" ||
		{ cat "$dir/initdb.log" >&2; die "initdb failed"; }
	{
		echo "listen_addresses = ''"
		echo "unix_socket_directories = '$(cat "$dir/socket")'"
		echo "log_line_prefix = '%m [%p] %q%a %d '"
		for line in "$@"; do
			printf '%s\n' "$line"
		done
	} >>"$dir/data/postgresql.conf"
	cluster_resume "$dir"
}

# Starts a cluster of cluster_start again.
cluster_resume()
{
	pg_ctl -D "$1/data" -l "$1/log" -w -t 120 -s start 8>&- </dev/null ||
		{ tail -n 30 "$1/log" >&2; die "PostgreSQL did not start"; }
}

# Ends it and keeps its data.
cluster_stop()
{
	[ ! -f "$1/data/postmaster.pid" ] || pg_ctl -D "$1/data" -m "${2:-fast}" -w -s stop 8>&-
}

cluster_remove()
{
	[ -f "$1/socket" ] || return 0
	cluster_stop "$1" immediate || true
	rm -rf "$(cat "$1/socket")" "$1"
}

# Lets psql and the rest find that cluster.
cluster_use()
{
	export PGHOST PGPORT=5432 PGUSER=postgres PGDATABASE=${2:-postgres}
	PGHOST=$(cat "$1/socket")
}

kafka_start()
{
	"$root/test/kafka/kafka" start "$@" 8>&-
}

kafka_stop()
{
	"$root/test/kafka/kafka" stop "$1"
}

# A running shop in $1: broker, preloaded cluster with a relay, database "shop"
# with the extension and its tables.  Further arguments are lines of postgresql.conf.
shop_start()
{
	local dir=$1 bootstrap
	shift
	mkdir -p "$dir"
	bootstrap=$(kafka_start "$dir/kafka")
	cluster_start "$dir/pg" \
		"shared_preload_libraries = 'order_engine'" \
		"order_engine.databases = 'shop'" \
		"order_engine.publisher = 'kafka'" \
		"order_engine.kafka_config = 'bootstrap.servers=$bootstrap'" \
		"$@"
	cluster_use "$dir/pg" shop
	psql -qX -v ON_ERROR_STOP=1 -d postgres -c 'CREATE DATABASE shop'
	psql -qX -v ON_ERROR_STOP=1 -c 'CREATE EXTENSION order_engine' -c 'SET client_min_messages = error' \
		-c 'SELECT order_engine.setup()' >/dev/null
}

shop_stop()
{
	cluster_remove "$1/pg"
	[ ! -d "$1/kafka" ] || kafka_stop "$1/kafka"
	rm -rf "$1"
}
