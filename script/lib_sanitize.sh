# PostgreSQL with assertions and sanitizers, built from the sources that this
# system's mirror has of the package, and what they say: `. script/lib_sanitize.sh`
# after lib.sh, with `major` set.
#
#   beforehand, as whoever called    sanitize_build
#   in the stage                     sanitize_watch, sanitize_prefix, sanitize_check, sanitize_judge

# Of the server, all but the two checks that instrument every access to memory and
# make it three times as slow to build: what they find there ends in a SIGSEGV, which
# AddressSanitizer shows too.  The extension has them, and the server's headers with it.
# An automatic variable that nobody set holds a pattern, not by chance what is right;
# clang's is no valid bool either (gcc's is false).  Allocated memory holds garbage
# too, and the cache forgets a relation that nobody has open.  (To forget catalogs'
# rows as well makes everything seven times as slow.)
sanitize_cflags='-O1 -gline-tables-only -fsanitize=address,undefined -fno-sanitize=null,alignment -ftrivial-auto-var-init=pattern'
sanitize_cppflags='-DRANDOMIZE_ALLOCATED_MEMORY -DRELCACHE_FORCE_RELEASE'
sanitize_extension_cflags='-fsanitize=null,alignment,float-cast-overflow,local-bounds'
sanitize_configure=(
	--enable-cassert --enable-tap-tests --without-readline --without-zlib --without-icu
	CFLAGS="$sanitize_cflags" CPPFLAGS="$sanitize_cppflags"
)

# The clang that the package of server headers is for; the sanitizers' libraries
# are a package beside it.
sanitize_clang_version()
{
	apt-cache depends "postgresql-server-dev-$major" 2>/dev/null |
		sed -nE 's/.*Depends: clang-([0-9]+)$/\1/p' | head -n 1
}


# ---- building it ----

# apt with the system's own sources, as lists of source packages, in a folder of its
# own: it trusts what the system trusts, and changes nothing of it.
sanitize_apt_configure()
{
	local dir=$1 list
	mkdir -p "$dir"/{sources.list.d,lists/partial,cache/archives/partial}
	for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
		[ ! -f "$list" ] || sed -nE 's/^deb(-src)?( +)/deb-src\2/p' "$list" | sort -u >"$dir/sources.list.d/$(basename "$list" .list).list"
	done
	for list in /etc/apt/sources.list.d/*.sources; do
		[ ! -f "$list" ] || sed -E 's/^Types:.*/Types: deb-src/' "$list" >"$dir/sources.list.d/$(basename "$list")"
	done
	sanitize_apt=(
		-o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$dir/sources.list.d"
		-o Dir::State::lists="$dir/lists" -o Dir::Cache="$dir/cache"
	)
}

# Unpacks the newest source of the package that is to be had (a mirror may list one
# that it does not have) into $1.  apt checks it against the signed lists.
sanitize_fetch()
{
	local dir=$1 version
	sanitize_apt_configure "$dir/apt"
	# other packages' mirrors may have no sources: what matters is tried next
	apt-get "${sanitize_apt[@]}" -q update || true
	cd "$dir" || return
	for version in $(apt-cache "${sanitize_apt[@]}" showsrc "postgresql-$major" | sed -n 's/^Version: //p' | sort -ruV); do
		if apt-get "${sanitize_apt[@]}" -q source --only-source "postgresql-$major=$version"; then
			mv "postgresql-$major-"*/ source
			return
		fi
	done
	echo "no source of postgresql-$major is to be had"
	return 1
}

# The prefix holds the word "postgres", else the package's own patch installs the
# libraries into the system's folder.  ecpg, which nobody needs, is left out.
sanitize_compile()
{
	local dir=$1 clang
	clang=clang-$(sanitize_clang_version)
	cd "$dir/source" &&
		sed -i 's/ ecpg$//' src/interfaces/Makefile &&
		./configure -q --prefix="$dir/postgresql" CC="$clang" "${sanitize_configure[@]}" &&
		make -s -j"$(nproc)" -C src &&
		make -s -C src install &&
		cd "$dir" &&
		rm -rf source apt postgresql-"$major"_*
}

# Another one for each version of the installed package, and for each recipe.
sanitize_key()
{
	{
		dpkg-query -W "postgresql-$major" "clang-$(sanitize_clang_version)"
		printf '%s\n' "${sanitize_configure[@]}" "$sanitize_extension_cflags"
	} | md5sum | cut -c 1-8
}

# Builds it where that was not done yet; those that nobody used for a week go.  Where
# it is goes on with the environment.
sanitize_build()
{
	local dir base
	base=$(cache_dir)/sanitized-pg$major
	dir=$base-$(sanitize_key)
	(
		flock 9
		if [ ! -f "$dir/complete" ]; then
			rm -rf --one-file-system "$dir"
			mkdir -p "$dir"
			echo "building PostgreSQL $major with sanitizers in $dir (this takes minutes)"
			(
				export ASAN_OPTIONS=detect_leaks=0
				sanitize_fetch "$dir" && sanitize_compile "$dir"
			) >"$dir/log" 2>&1 </dev/null || { tail -n 30 "$dir/log" >&2; die "could not build it ($dir/log)"; }
			touch "$dir/complete"
		fi
		touch "$dir"
		find "$(dirname "$dir")" -maxdepth 1 -type d -name 'sanitized-pg*' -mtime +7 -exec rm -rf --one-file-system {} +
	) 9>"$base.lock" || exit
	export ORDER_ENGINE_SANITIZED=$dir/postgresql
}


# ---- using it ----

# A private copy in $1, as prefix_make makes of the system's, with the system's pgTAP,
# which is SQL alone.
sanitize_prefix()
{
	prefix_make "$1" "$ORDER_ENGINE_SANITIZED/bin/pg_config"
	cp "$("$(pg_config_of "$major")" --sharedir)/extension/pgtap"* "$("$PG_CONFIG" --sharedir)/extension/"
	# PGXS adds it to the flags of the server
	export COPT=$sanitize_extension_cflags
}

# From here on every process that we start reports into $1.  What the undefined does
# not end is to go on, so that one run tells all; an assertion that fails has a stack.
# A backend that dies without a signal would pass for one that ended.
sanitize_watch()
{
	local common
	reports=$1
	mkdir -p "$reports"
	common="log_path=$reports/report:log_exe_name=1:print_stacktrace=1:disable_coredump=1"
	export ASAN_OPTIONS="$common:abort_on_error=1:handle_abort=1:detect_leaks=0:detect_stack_use_after_return=0"
	export UBSAN_OPTIONS="$common:halt_on_error=0:suppressions=$root/test/sanitizer/suppressions"
	export ASAN_SYMBOLIZER_PATH
	ASAN_SYMBOLIZER_PATH=/usr/lib/llvm-$(sanitize_clang_version)/bin/llvm-symbolizer
	[ -x "$ASAN_SYMBOLIZER_PATH" ] || die "there is no $ASAN_SYMBOLIZER_PATH: run script/setup --sanitize"
}

# That the flags arrived: a build without them has nothing to report.
sanitize_check()
{
	grep -q '^#define USE_ASSERT_CHECKING 1' "$("$PG_CONFIG" --includedir-server)/pg_config.h" ||
		die "this PostgreSQL has no assertions"
	[[ $(nm -D "$("$PG_CONFIG" --pkglibdir)/order_engine.so") == *__asan_*__ubsan_* ]] ||
		die "the extension was built without sanitizers"
}

# Prints what was reported since, and what the logs below $1 ... tell of it, and leaves
# in `findings` how many it is.
sanitize_judge()
{
	"$root/script/sanitizer_reports" "$reports" "$@" >"$reports/all"
	findings=$(sed -n '$s/ findings$//p' "$reports/all")
	sed '$d' "$reports/all"
}
