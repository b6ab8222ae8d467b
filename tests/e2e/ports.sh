#!/bin/bash
# Every kind of port that needs no NIC, under the real programs; see usage.
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.." || exit 1

usage()
{
	cat <<-'END'
	Usage: tests/e2e/ports.sh [--build FOLDER] [--keep] [--list] [NAME…]

	Starts sluice-dataplane on each kind of port, without huge pages and with them, with one queue and,
	where the driver can have two on a veth, with two. Pings it over IPv4 and IPv6, asks it for /healthz
	over TLS, and sees that it takes nothing from another VLAN; where the driver knows its link, that it
	announces itself when the link comes back. On a port shared with a kernel, asks services of both. Runs the cases whose names begin with one
	of the NAMEs; without a NAME, all. Each prints "ok NAME", "not ok NAME: why" or "skip NAME: why"; the
	last line is "N passed, N failed". Everything runs in network and mount namespaces of its own.

	Huge pages are used if the machine has free ones (as root: echo 512 >/proc/sys/vm/nr_hugepages), AF_XDP
	if the user may load BPF programs (root).

	  --build FOLDER  where the programs are (build)
	  --keep          keeps the logs of a good run too, in FOLDER/ports/
	  --list          prints the names and stops

	Exit codes: 0 all passed, 1 something failed, 2 wrong use, 3 this machine cannot run them.
	END
}

# NAME DEVICE QUEUES HUGE-PAGES [KEY=VALUE…]; @ is the interface. vlan and mtu are those of the port and of the link,
# offload.X is a key of the port; with tap the port is shared with a kernel, which gets no more than rate.
cases=(
	"af-packet         net_af_packet0,iface=@,qpairs=1 1 no"
	"af-packet-2       net_af_packet0,iface=@,qpairs=2 2 no"
	"af-packet-2-huge  net_af_packet0,iface=@,qpairs=2 2 yes"
	"tap               net_tap0,iface=@ 1 no"
	"tap-2             net_tap0,iface=@ 2 no"
	"tap-2-huge        net_tap0,iface=@ 2 yes"
	"af-xdp            net_af_xdp0,iface=@,force_copy=1 1 no"
	"tap-offload       net_tap0,iface=@ 1 no offload.tcp_checksum=on offload.ip_checksum=on offload.receive_checksum=on"
	"tap-no-offload    net_tap0,iface=@ 1 no offload.tcp_checksum=off offload.ip_checksum=off offload.receive_checksum=off"
	"vlan              net_af_packet0,iface=@,qpairs=2 2 no vlan=77"
	"tap-vlan          net_tap0,iface=@ 1 no vlan=77"
	"jumbo             net_af_packet0,iface=@,qpairs=1,blocksz=36864,framesz=9216,framecnt=512 1 no mtu=9000"
	"jumbo-vlan        net_af_packet0,iface=@,qpairs=1,blocksz=36864,framesz=9216,framecnt=512 1 no mtu=9000 vlan=77"
	"shared            net_af_packet0,iface=@,qpairs=1 1 no tap=kernel0"
	"shared-2          net_af_packet0,iface=@,qpairs=2 2 no tap=kernel0"
	"shared-vlan       net_af_packet0,iface=@,qpairs=1 1 no tap=kernel0 vlan=77"
	"shared-rate       net_af_packet0,iface=@,qpairs=1 1 no tap=kernel0 rate=2000"
	"af-xdp-huge       net_af_xdp0,iface=@,force_copy=1 1 yes"
)

build=build
keep=
inside=
names=()
while [ $# -gt 0 ]; do
	case $1 in
	--help | -h) usage; exit 0 ;;
	--build) [ $# -ge 2 ] || { usage >&2; exit 2; }; build=$2; shift ;;
	--keep) keep=yes ;;
	--list) printf '%s\n' "${cases[@]%% *}"; exit 0 ;;
	--inside) inside=yes ;; # the script calls itself so within its namespaces
	-*) usage >&2; exit 2 ;;
	*) names+=("$1") ;;
	esac
	shift
done

is_chosen()
{
	local name
	[ ${#names[@]} -gt 0 ] || return 0
	for name in "${names[@]}"; do
		[[ $1 != "$name"* ]] || return 0
	done
	return 1
}

if [ -z "$inside" ]; then
	for program in control/sluice-control dataplane/sluice-dataplane; do
		[ -x "$build/$program" ] || { echo "ports: $build/$program is not built" >&2; exit 3; }
	done
	space=(unshare --net --mount --pid --fork --kill-child --mount-proc)
	[ "$(id -u)" = 0 ] || space+=(--user --map-root-user)
	"${space[@]}" true || { echo "ports: this machine allows no namespaces" >&2; exit 3; }
	exec "${space[@]}" "$0" --inside --build "$build" ${keep:+--keep} "${names[@]}"
fi

root=$build/ports
rm -rf "$root"
mkdir -p "$root"
mount -t tmpfs -o mode=1777 shm /dev/shm
ip link set lo up

# The edge's end of the link lies in a namespace whose kernel must not answer for it.
unshare --net sleep infinity &
holder=$!
until [ "$(readlink /proc/$holder/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.01; done
edge=(nsenter -t "$holder" -n)
"${edge[@]}" sh -c 'echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6'

# A TAP interface whose frames go through the other one with a tag, and back: not every kernel has VLAN devices.
put_tags() # INTERFACE TAP
{
	exec python3 - "$1" "$2" "$vlan" <<-'END'
	import ctypes, fcntl, os, select, socket, struct, sys
	link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
	link.bind((sys.argv[1], 0))
	link.setsockopt(263, 8, 1)  # SOL_PACKET, PACKET_AUXDATA: the kernel takes tags out of the frame
	tap = os.open('/dev/net/tun', os.O_RDWR)
	fcntl.ioctl(tap, 0x400454ca, struct.pack('16sH', sys.argv[2].encode(), 0x1002))
	fcntl.ioctl(tap, 0x8924, struct.pack('16sH6s', sys.argv[2].encode(), 1, link.getsockname()[4]))
	vlan = int(sys.argv[3])
	while True:
	    for ready in select.select([link, tap], [], [])[0]:
	        if ready == tap:
	            frame = os.read(tap, 70000)
	            link.send(frame[:12] + struct.pack('!HH', 0x8100, vlan) + frame[12:])
	            continue
	        frame, extra, _, source = link.recvmsg(70000, 100)
	        tag = next((struct.unpack('IIIHHHH', data)[5] & 4095 for _, kind, data in extra
	                    if kind == 8 and struct.unpack('IIIHHHH', data)[0] & 0x10), None)
	        if tag is None and frame[12:14] == b'\x81\x00':
	            tag = struct.unpack('!H', frame[14:16])[0] & 4095
	            frame = frame[:12] + frame[16:]
	        if tag == vlan and source[2] != 4:
	            os.write(tap, frame)
	END
}

# Ours, on the interface, or with a VLAN on one above it.
give_addresses() # INTERFACE
{
	local on=$1
	ip link set "$1" mtu $mtu up
	if [ $vlan != 0 ]; then
		on=tagged0
		put_tags "$1" $on >"$root/tags.log" 2>&1 &
		tagger=$!
		until ip link set $on mtu $((mtu > 1500 ? mtu : 1500)) up 2>/dev/null; do
			kill -0 $tagger || return 1
			sleep 0.05
		done
	fi
	ip address add 10.77.0.1/24 dev $on
	ip address add fd77::1/64 dev $on nodad
}

# With as many queues as the port: what the kernel puts into a queue that nobody opened is lost.
make_link() # QUEUES
{
	local queues=(numtxqueues "$1" numrxqueues "$1")
	ip link add host0 "${queues[@]}" type veth peer name edge0 "${queues[@]}"
	ip link set edge0 netns "$holder"
	"${edge[@]}" ip link set edge0 mtu $mtu up
	give_addresses host0
	# The kernel computes no checksums on a veth, and joins segments, unless it is told not to.
	local off=(rx off tx off sg off tso off gso off gro off)
	ethtool -K host0 "${off[@]}"
	"${edge[@]}" ethtool -K edge0 "${off[@]}"
}

make_certificate()
{
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 7 -subj /CN=ports.test \
		-addext subjectAltName=DNS:ports.test -keyout "$root/key.pem" -out "$root/chain.pem" \
		2>"$root/openssl.log"
	echo ports-token-0123456789abcdef0123456789 >"$root/token"
	chmod 600 "$root/token"
}

# Of the case, with defaults.
read_settings() # KEY=VALUE…
{
	local setting
	vlan=0
	mtu=1500
	offload=
	tap=
	rate=
	for setting; do
		case $setting in
		vlan=*) vlan=${setting#*=} ;;
		mtu=*) mtu=${setting#*=} ;;
		tap=*) tap=${setting#*=} ;;
		rate=*) rate=${setting#*=} ;;
		offload.*) setting=${setting#*.}; offload+=${offload:+, }"${setting%=*}: ${setting#*=}" ;;
		*) echo "ports: unknown setting $setting" >&2; exit 1 ;;
		esac
	done
}

write_config() # DEVICE QUEUES HUGE-PAGES
{
	cat >"$root/sluice.yaml" <<-END
	instance: ports
	workers: $2
	idle: sleep
	memory:
	  huge_pages: $3
	  size: 128MiB
	ports:
	  - device: "$1"
	    addresses: [10.77.0.2/24, "fd77::2/64"]
	    mtu: $mtu
	    vlan: $vlan
	    offload: {$offload}
	    exception: {tap: "$tap"${rate:+, rate: $rate}}
	listeners:
	  - port: 443
	    certificates:
	      - chain: $PWD/$root/chain.pem
	        key: $PWD/$root/key.pem
	limits:
	  clients: 256
	  upstreams: 256
	spool:
	  path: $PWD/$root/spool
	  segment: 4MiB
	store:
	  path: $PWD/$root/sluice.db
	admin:
	  address: 127.0.0.1
	  port: 9900
	  token_file: $PWD/$root/token
	END
}

free_huge_pages()
{
	cat /sys/kernel/mm/hugepages/*/free_hugepages 2>/dev/null | awk '{ sum += $1 } END { print sum + 0 }'
}

# Why a case cannot run here; nothing if it can.
why_not() # DEVICE HUGE-PAGES
{
	if [ "$2" = yes ] && [ "$(free_huge_pages)" -lt 256 ]; then
		echo "fewer than 256 free huge pages"
	elif [[ $1 == net_af_xdp* ]] && [ "$(awk '$2 == 0 { print $3 }' /proc/self/uid_map)" != 4294967295 ]; then
		echo "needs root, to load a BPF program"
	fi
}

# Waits up to 20 s for a line in a log, as long as its program lives.
wait_for_line() # LOG TEXT PID
{
	local turn
	for ((turn = 0; turn < 200; turn++)); do
		! grep -q "$2" "$1" || return 0
		kill -0 "$3" 2>/dev/null || return 1
		sleep 0.1
	done
	return 1
}

ask()
{
	local host
	for host in -4\ 10.77.0.2 -6\ fd77::2; do
		# Small, the largest that fits, and many: with two queues both are met.
		# shellcheck disable=SC2086
		ping -q -c 3 -i 0.05 -W 2 $host || { echo "no answer to ping $host"; return 1; }
		# shellcheck disable=SC2086
		ping -q -c 3 -i 0.05 -W 2 -M do -s $((mtu - 48)) $host || { echo "no answer to a long ping $host"; return 1; }
	done
	for host in 10.77.0.2 '[fd77::2]'; do
		for ((turn = 0; turn < 8; turn++)); do
			curl -sS --max-time 5 --cacert "$root/chain.pem" --resolve "ports.test:443:$host" \
				https://ports.test/healthz || { echo "no answer to GET from $host"; return 1; }
		done
	done
}

# Frames of another VLAN are none of ours, also where the driver takes the tag out.
ask_from_other_vlan() # INTERFACE
{
	python3 - "$1" <<-'END' || return 1
	import socket, sys
	link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
	link.bind((sys.argv[1], 0))
	mac = link.getsockname()[4]
	asks = bytes.fromhex('0001080006040001') + mac + bytes([10, 77, 0, 1]) + bytes(6) + bytes([10, 77, 0, 2])
	link.send(b'\xff' * 6 + mac + bytes.fromhex('810000050806') + asks + bytes(18))
	END
	for _ in $(seq 50); do
		curl -sS -H "authorization: Bearer $(cat "$root/token")" http://127.0.0.1:9900/metrics >"$root/metrics"
		grep -q 'verdict="ETH_NOT_OURS"} [1-9]' "$root/metrics" && break
		sleep 0.1
	done
	grep -q 'tcp_segments_out.* [1-9]' "$root/metrics" || { echo "no tcp_segments_out is counted"; return 1; }
	grep -q 'verdict="ETH_NOT_OURS"} [1-9]' "$root/metrics" || { echo "a frame of VLAN 5 was taken"; return 1; }
}

# What an operator's kernel does at the other end of the TAP interface: our addresses and one of its own, a service
# on a port that is not ours, and connections that it opens itself. In a namespace of its own, since the kernel
# that has edge0 sees all frames, too.
start_kernel()
{
	unshare --net sleep infinity &
	kernel_holder=$!
	until [ "$(readlink /proc/$kernel_holder/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.01; done
	kernel=(nsenter -t "$kernel_holder" -n)
	"${edge[@]}" ip link set "$tap" netns "$kernel_holder" || return 1
	"${kernel[@]}" ip link set "$tap" up
	"${kernel[@]}" ip address add 10.77.0.2/24 dev "$tap"
	"${kernel[@]}" ip address add 10.77.0.9/24 dev "$tap"
	"${kernel[@]}" ip address add fd77::2/64 dev "$tap" nodad
	"${kernel[@]}" ip address add fd77::9/64 dev "$tap" nodad
	talk serve :: 2222 &
	service=$!
	until "${kernel[@]}" ss -Hlnt | grep -q :2222; do kill -0 $service || return 1; sleep 0.05; done
}

# serve ADDRESS PORT in the kernel's namespace: echoes. ask ADDRESS PORT, here: 200,000 bytes there and back.
talk() # serve|ask ADDRESS PORT
{
	local where=()
	[ "$1" = ask ] || where=("${kernel[@]}")
	exec "${where[@]}" python3 - "$@" <<-'END'
	import socket, sys, threading
	what, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
	if what == 'serve':
	    listener = socket.create_server((address, port), family=socket.AF_INET6, dualstack_ipv6=True)
	    while True:
	        peer, _ = listener.accept()
	        with peer:
	            while data := peer.recv(65536):
	                peer.sendall(data)
	data = bytes(range(250)) * 800
	with socket.create_connection((address, port), timeout=5) as peer:
	    threading.Thread(target=lambda: (peer.sendall(data), peer.shutdown(socket.SHUT_WR))).start()
	    got = b''
	    while piece := peer.recv(65536):
	        got += piece
	sys.exit(got != data)
	END
}

ask_kernel()
{
	local host
	start_kernel || { echo "the interface $tap cannot be used"; return 1; }
	for host in 10.77.0.9 fd77::9; do
		ping -q -c 3 -i 0.05 -W 2 $host || { echo "no answer to ping $host of the kernel's"; return 1; }
	done
	for host in 10.77.0.2 fd77::2 10.77.0.9 fd77::9; do
		(talk ask $host 2222) || { echo "the kernel's service at $host does not answer"; return 1; }
	done
	# Both at once, at one address: ours while the kernel's is busy.
	ask || return 1
	for host in 10.77.0.1 fd77::1; do
		"${kernel[@]}" ping -q -c 3 -i 0.05 -W 2 $host || { echo "the kernel's own ping of $host"; return 1; }
	done
	# A port of nobody is refused by the kernel, at once.
	if curl -sS --max-time 2 http://10.77.0.2:81/; then
		echo "port 81 answers"
		return 1
	elif [ $? != 7 ]; then
		echo "port 81 is not refused"
		return 1
	fi
	curl -sS -H "authorization: Bearer $(cat "$root/token")" http://127.0.0.1:9900/metrics >"$root/metrics"
	grep -q 'frames_to_kernel.* [1-9]' "$root/metrics" || { echo "no frames_to_kernel is counted"; return 1; }
	grep -q 'frames_from_kernel.* [1-9]' "$root/metrics" || { echo "no frames_from_kernel is counted"; return 1; }
}

# More than the kernel is to get: it gets no more, and we are served meanwhile.
flood_kernel()
{
	local flood code=0
	python3 - <<-'END' &
	import socket, time
	to = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
	until = time.monotonic() + 1.5
	while time.monotonic() < until:
	    for _ in range(50):
	        to.sendto(b'flood', ('10.77.0.9', 9))
	    time.sleep(0.002)
	END
	flood=$!
	ask || code=1
	wait $flood
	[ $code = 0 ] || { echo "not served during a flood for the kernel"; return 1; }
	sleep 0.2
	curl -sS -H "authorization: Bearer $(cat "$root/token")" http://127.0.0.1:9900/metrics >"$root/metrics"
	grep -q 'verdict="EXCEPTION_RATE"} [1-9]' "$root/metrics" || { echo "a flood for the kernel is not bounded"; return 1; }
}

# Whether our address is announced within SECONDS.
hears_of_us() # INTERFACE SECONDS
{
	python3 - "$@" <<-'END'
	import socket, sys, time
	link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
	link.bind((sys.argv[1], 0))
	ours = bytes([10, 77, 0, 2])
	until = time.monotonic() + float(sys.argv[2])
	while (rest := until - time.monotonic()) > 0:
	    link.settimeout(rest)
	    try:
	        frame = link.recv(2000)
	    except TimeoutError:
	        break
	    if frame[12:14] == b'\x81\x00':
	        frame = frame[:12] + frame[16:]
	    if frame[12:14] == b'\x08\x06' and frame[28:32] == ours and frame[38:42] == ours:
	        sys.exit(0)
	sys.exit(1)
	END
}

# A link that was away and is back: others hear where we are.
ask_after_link_loss() # INTERFACE FOLDER
{
	local turn
	# Those of the start end first.
	for ((turn = 0; turn < 10; turn++)); do
		hears_of_us "$1" 1.5 || break
	done
	[ $turn -lt 10 ] || { echo "announcements do not end"; return 1; }
	ip link set "$1" down
	wait_for_line "$2/dataplane.log" '"link_down"' "$dataplane" || { echo "nobody saw the link go"; return 1; }
	ip link set "$1" up
	hears_of_us "$1" 5 || { echo "no announcement after the link came back"; return 1; }
}

stop() # NAME PID
{
	local code=0
	kill -TERM "$2" 2>/dev/null
	wait "$2" || code=$?
	[ $code = 0 ] || why="${why:+$why; }$1 ended with $code"
}

# Sets `why` to what failed, or to nothing.
try() # DEVICE QUEUES HUGE-PAGES FOLDER
{
	local device=${1/@/edge0} where=("${edge[@]}") interface=
	why=
	if [[ $1 == net_tap* ]]; then
		# The kernel's end of a TAP device is in the namespace of who made it.
		device=${1/@/tap0} where=() interface=tap0
	fi
	write_config "$device" "$2" "$3"
	rm -rf "$root"/sluice.db* "$root/spool" /dev/shm/*
	mkdir "$root/spool"
	"$build/control/sluice-control" --config "$root/sluice.yaml" 2>"$4/control.log" &
	local control=$!
	[ -n "$interface" ] || make_link "$2" >"$4/link.log" 2>&1
	"${where[@]}" "$build/dataplane/sluice-dataplane" --config "$root/sluice.yaml" 2>"$4/dataplane.log" &
	local dataplane=$!
	if ! wait_for_line "$4/dataplane.log" '"serving"' "$dataplane"; then
		why="the dataplane does not serve: $(tail -n 1 "$4/dataplane.log")"
	else
		if [ -n "$interface" ]; then
			give_addresses $interface
		fi
		{ ask && { [ -z "$tap" ] || ask_kernel; } && { [ -z "$rate" ] || flood_kernel; } &&
			ask_from_other_vlan "${interface:-host0}" &&
			{ [ -z "$interface" ] || ask_after_link_loss "$interface" "$4"; }; } \
			>"$4/ask.log" 2>&1 || why=$(tail -n 1 "$4/ask.log")
	fi
	[ $vlan = 0 ] || kill "$tagger"
	[ -z "$tap" ] || kill "$service" "$kernel_holder"
	stop dataplane $dataplane
	stop control $control
	[ -n "$interface" ] || ip link delete host0
}

make_certificate
passed=0
failed=0
for line in "${cases[@]}"; do
	read -r name device queues huge settings <<<"$line"
	# shellcheck disable=SC2086
	read_settings $settings
	is_chosen "$name" || continue
	why=$(why_not "$device" "$huge")
	if [ -n "$why" ]; then
		echo "skip $name: $why"
		continue
	fi
	mkdir -p "$root/$name"
	try "$device" "$queues" "$huge" "$root/$name" 2>>"$root/$name/shell.log"
	if [ -z "$why" ]; then
		echo "ok $name"
		passed=$((passed + 1))
	else
		echo "not ok $name: $why"
		failed=$((failed + 1))
	fi
done
kill "$holder"
[ $failed -gt 0 ] || [ -n "$keep" ] || rm -rf "$root"
echo "$passed passed, $failed failed"
[ $failed = 0 ]
