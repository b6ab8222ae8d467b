# shellcheck shell=bash
# Sourced: packages of another suite of this machine's own distribution, without a change of the machine.
#
# The suite is read with a temporary apt configuration made from the machine's: same mirror, same proxy, same
# keyring, other suite. The caller sets tmp (a folder that it removes), codename (of this machine) and suite,
# and has say and fail; and sets architecture, if packages and all that they depend on are to be another one's.

as_root()
{
	if [ "$(id -u)" = 0 ]; then
		env DEBIAN_FRONTEND=noninteractive "$@"
	elif command -v sudo >/dev/null; then
		sudo env DEBIAN_FRONTEND=noninteractive "$@"
	else
		fail "needs root, and there is no sudo; as root run: $*"
	fi
}

# This machine's mirror of the release itself (not security, not updates): "keyring URI".
mirror()
{
	local files=() file
	for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list \
		/etc/apt/sources.list.d/*.sources; do
		[ -r "$file" ] && files+=("$file")
	done
	[ ${#files[@]} -gt 0 ] || return 1
	awk -v suite="$codename" '
	function found() { print (key == "" ? "-" : key), uri; done = 1; exit }
	function stanza()
	{
		if (types ~ /(^| )deb( |$)/ && suites ~ ("(^| )" suite "( |$)") && enabled != "no")
			found()
		types = suites = uri = key = enabled = ""
	}
	FNR == 1 { stanza() }
	/^[ \t]*#/ { next }
	FILENAME ~ /\.sources$/ {
		if ($0 ~ /^[ \t]*$/) { stanza(); next }
		name = tolower($1); value = $0; sub(/^[^:]*:[ \t]*/, "", value)
		if (name == "types:") types = value
		if (name == "suites:") suites = value
		if (name == "uris:") { split(value, words, /[ \t]+/); uri = words[1] }
		if (name == "signed-by:" && value ~ /^\//) key = value
		if (name == "enabled:") enabled = tolower(value)
		next
	}
	$1 == "deb" {
		key = ""
		if (match($0, /signed-by=[^] \t,]+/)) key = substr($0, RSTART + 10, RLENGTH - 10)
		line = $0; sub(/^deb[ \t]+(\[[^]]*\][ \t]*)?/, "", line)
		split(line, words, /[ \t]+/)
		if (words[2] == suite) { uri = words[1]; found() }
		key = ""
	}
	END { if (!done) stanza() }
	' "${files[@]}" | head -1 | grep .
}

# apt-get over the suite that carries what we need, with state and cache of its own.
other_apt()
{
	(cd "$tmp/work" && APT_CONFIG=$tmp/apt.conf apt-get -q "$@" >"$tmp/log" 2>&1) ||
		{ tail -8 "$tmp/log" >&2; return 1; }
}

# Once per run, and only if something has to be fetched.
prepare_other_apt()
{
	[ -e "$tmp/apt.conf" ] && return
	local keyring uri
	read -r keyring uri < <(mirror) || fail "no mirror of $codename among this machine's apt sources"
	[ "$keyring" != - ] || keyring=/usr/share/keyrings/debian-archive-keyring.gpg
	if [ "$suite" != "$codename" ] &&
		[ ! -e /usr/share/keyrings/debian-archive-trixie-automatic.gpg ]; then
		say "packages: the archive keyring does not know the keys of $suite yet, upgrading it"
		as_root apt-get -q -y update >"$tmp/log" 2>&1 || fail "apt-get update failed"
		as_root apt-get -q -y install debian-archive-keyring >"$tmp/log" 2>&1 ||
			{ tail -5 "$tmp/log" >&2; fail "could not upgrade debian-archive-keyring"; }
	fi
	mkdir -p "$tmp"/{work,sources,parts,lists/partial,cache/archives/partial}
	printf '%s\n' 'Types: deb deb-src' "URIs: $uri" "Suites: $suite" 'Components: main' \
		"Signed-By: $keyring" >"$tmp/sources/other.sources"
	# Hooks (after an update, around dpkg) are this machine's business, not this temporary copy's.
	apt-config dump | grep -vE '^(APT::Update::|DPkg::|Dir|Acquire::Languages)' >"$tmp/apt.conf"
	cat >>"$tmp/apt.conf" <<-END
	Dir::Etc::Main "/dev/null";
	Dir::Etc::Parts "$tmp/parts";
	Dir::Etc::SourceList "/dev/null";
	Dir::Etc::SourceParts "$tmp/sources";
	Dir::State::Lists "$tmp/lists";
	Dir::Cache "$tmp/cache";
	Acquire::Languages "none";
	END
	if [ -n "${architecture:-}" ]; then
		: >"$tmp/status" # of what is installed: nothing
		cat >>"$tmp/apt.conf" <<-END
		#clear APT::Architectures;
		APT::Architecture "$architecture";
		APT::Architectures { "$architecture"; };
		Dir::State::status "$tmp/status";
		END
	fi
	chmod 600 "$tmp/apt.conf"
	chmod 755 "$tmp"
	if [ "$(id -u)" = 0 ]; then
		chown -R _apt "$tmp/work" "$tmp/lists" "$tmp/cache"
	fi
	say "reading the package lists of $suite"
	other_apt update || fail "cannot read $suite from this machine's mirror"
}
