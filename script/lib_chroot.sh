# A Debian of another release in a folder, for the PostgreSQL majors that this
# system does not have: `. script/lib_chroot.sh` after lib.sh.  Needs root.
#
# Processes inside have mounts and a process table of their own, which vanish
# with the last of them: removing the folder can never reach into the host.

# The mirrors of an archive (debian or debian-security) to try, the best first: the one
# that this system uses itself, if it is a Debian, the same host's, the public one.
chroot_mirrors()
{
	local archive=$1 own=
	if grep -q '^ID=debian$' /etc/os-release; then
		own=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
			sed -nE 's/^(URIs: *|deb +(\[[^]]*\] +)?)(https?:[^ ]*\/debian(-security)?)\/?( .*)?$/\3/p')
	fi
	grep "/$archive\$" <<<"$own" || true
	[ -z "$own" ] || sed -E "s,/debian(-security)?\$,/$archive," <<<"$own"
	case $archive in
		debian) echo http://deb.debian.org/debian ;;
		debian-security) echo http://security.debian.org/debian-security ;;
	esac
}

# The first of them that has the suite, empty if none does.
chroot_mirror()
{
	local archive=$1 suite=$2 mirror scratch
	scratch=$(mktemp -d)
	for mirror in $(chroot_mirrors "$archive" | awk '!seen[$0]++'); do
		if /usr/lib/apt/apt-helper -qq -o Acquire::http::Timeout=10 -o Acquire::https::Timeout=10 \
			download-file "$mirror/dists/$suite/InRelease" "$scratch/InRelease" >/dev/null 2>&1; then
			echo "$mirror"
			break
		fi
	done
	rm -rf "$scratch"
}

chroot_source()
{
	local archive=$1 suite=$2 mirror
	mirror=$(chroot_mirror "$archive" "$suite")
	[ -z "$mirror" ] || echo "deb $mirror $suite main"
}

# What the chroot is updated from: its release, and what came after it, which a
# release that is still being made may lack.
chroot_sources()
{
	chroot_source debian "$1"
	chroot_source debian "$1-updates"
	chroot_source debian-security "$1-security"
}

# Older debootstraps do not know younger releases, which are all built alike.
chroot_debootstrap()
{
	local suite=$1 dir=$2 recipe=/usr/share/debootstrap/scripts/$1 mirror
	[ -e "$recipe" ] || recipe=/usr/share/debootstrap/scripts/sid
	mirror=$(chroot_mirror debian "$suite")
	[ -n "$mirror" ] || die "no mirror has Debian $suite"
	echo "making a Debian $suite in $dir" >&2
	debootstrap --variant=minbase "$suite" "$dir" "$mirror" "$recipe" >"$dir.log" 2>&1 ||
		{ tail -n 20 "$dir.log" >&2; die "debootstrap failed"; }
}

# What reaches the network from here must do so from inside: names, proxies and
# the authorities this system trusts.  The last before Java copies them.
chroot_configure()
{
	local dir=$1
	cp -L /etc/resolv.conf /etc/hosts "$dir/etc/"
	apt-config dump | sed -nE '/^Acquire::(https?::Proxy|Check-(Date|Valid-Until)) /p' >"$dir/etc/apt/apt.conf.d/90host"
	printf '#!/bin/sh\nexit 101\n' >"$dir/usr/sbin/policy-rc.d"
	chmod +x "$dir/usr/sbin/policy-rc.d"
	mkdir -p "$dir/etc/postgresql-common/createcluster.d"
	echo 'create_main_cluster = false' >"$dir/etc/postgresql-common/createcluster.d/order_engine.conf"
	if ls /usr/local/share/ca-certificates/*.crt >/dev/null 2>&1; then
		mkdir -p "$dir/usr/local/share/ca-certificates"
		cp -L /usr/local/share/ca-certificates/*.crt "$dir/usr/local/share/ca-certificates/"
	fi
	if [ -f "$HOME/.m2/settings.xml" ]; then
		mkdir -p "$dir/root/.m2"
		cp -L "$HOME/.m2/settings.xml" "$dir/root/.m2/"
	fi
}

# Runs a command inside, as root, with a clean environment, and passes on its status.
chroot_run()
{
	local dir=$1
	shift
	unshare --mount --pid --fork --kill-child --propagation private bash -c '
		set -e
		dir=$1
		shift
		mount -t proc proc "$dir/proc"
		mount -t tmpfs -o mode=755 tmpfs "$dir/dev"
		for node in null zero full random urandom tty; do
			: >"$dir/dev/$node"
			mount --bind "/dev/$node" "$dir/dev/$node"
		done
		ln -s /proc/self/fd "$dir/dev/fd"
		ln -s fd/0 "$dir/dev/stdin"
		ln -s fd/1 "$dir/dev/stdout"
		ln -s fd/2 "$dir/dev/stderr"
		mkdir "$dir/dev/shm"
		mount -t tmpfs -o mode=1777 tmpfs "$dir/dev/shm"
		# no exec: this shell is process 1 and reaps the orphans, a killed postmaster too
		status=0
		chroot "$dir" /usr/bin/env -i HOME=/root LC_ALL=C.UTF-8 \
			PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@" || status=$?
		exit $status
	' chroot_run "$dir" "$@"
}

# Brings what is installed there to what the release has today.  False if no mirror is
# within reach: what was there before still tests.
chroot_update()
{
	local suite=$1 dir=$2 sources
	sources=$(chroot_sources "$suite")
	if [[ $sources != *" $suite main"* ]]; then
		echo "no mirror is within reach: the Debian $suite stays as old as it is" >&2
		return 1
	fi
	echo "updating the Debian $suite in $dir" >&2
	printf '%s\n' "$sources" >"$dir/etc/apt/sources.list"
	chroot_run "$dir" DEBIAN_FRONTEND=noninteractive sh -c \
		'apt-get -q update && apt-get -y -q dist-upgrade --no-install-recommends' >"$dir.log" 2>&1 </dev/null ||
		{ tail -n 20 "$dir.log" >&2; die "could not update it"; }
}

# A chroot of that release with nothing installed, made once, then kept.  It is updated
# once a day, and when this file, which says how, has changed since.
chroot_bare()
{
	local name=$1 suite=$2 dir mark recipe
	dir=$(cache_dir)/$name
	mark=$dir/etc/order_engine_chroot
	recipe=$(md5sum <"$root/script/lib_chroot.sh")
	[ "$(id -u)" = 0 ] || die "making a chroot needs root"
	"$root/script/setup" --chroot >&2
	(
		flock 9
		if [ ! -f "$mark" ]; then
			rm -rf --one-file-system "$dir"
			mkdir -p "$dir"
			chroot_debootstrap "$suite" "$dir"
			: >"$mark"
		fi
		if [ "$(cat "$mark")" != "$recipe" ] || [ -n "$(find "$mark" -mtime +0)" ]; then
			chroot_configure "$dir"
			! chroot_update "$suite" "$dir" || echo "$recipe" >"$mark"
		fi
	) 9>"$dir.lock" || exit
	echo "$dir"
}

# Copies the checkout inside, to a place of this run's own (see stage_claim):
# chroot_copy is its path as seen from there.
chroot_copy_checkout()
{
	stage_claim "$1/srv/$(printf '%s' "$root" | md5sum | cut -c 1-8)"
	tree_refresh "$stage/tree"
	chroot_copy=${stage#"$1"}/tree
}
