#!/usr/bin/env python3
"""The same segments into our TCP and into the kernel's: tcp_replay.py [--show] [NAME…]

Each case plays a peer, segment by segment, over a tap device, once with our stack at the other end and once with the
kernel. What comes back is compared: flags, sequence and acknowledgment numbers, length, SACK blocks. Differences that we
want are in tcp_replay.accepted with their reasons. Prints "ok NAME" or "not ok NAME: why".
"""
import argparse
import concurrent.futures
import fcntl
import os
import select
import struct
import subprocess
import sys
import time
from pathlib import Path as File

sys.path.insert(0, str(File(__file__).resolve().parents[2] / 'tools/benchmark'))
import path  # pylint: disable=wrong-import-position

ACCEPTED = File(__file__).with_suffix('.accepted')
QUIET_S = 0.13   # longer than either delays an ACK, shorter than any retransmission
PEER, STACK = bytes([10, 8, 0, 9]), bytes([10, 8, 0, 1])
PEER_MAC = bytes([2, 0, 0, 0, 0, 9])
ISN = 0x10000000
WINDOW = 60000
FLAGS = {'F': 1, 'S': 2, 'R': 4, 'P': 8, 'A': 16, 'U': 32}
LISTENS = ':1B58 ' + '0' * 32 + ':0000 0A'  # in /proc/net/tcp6: port 7000, state LISTEN
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454ca, 2, 0x1000

READS = ('', 'eof,wait:5s')           # an application that reads, and stays when the peer has ended
ENDS = ('', 'eof')                    # ends as soon as the peer has
SHUTS = ('shutdown', 'eof,wait:5s')   # ends its side at once, reads on
SENDS = ('send:1000', 'eof,wait:5s')
SLEEPS = ('', 'wait:9s')

# name: (application's tracks, options of our SYN, steps). A step is "FLAGS SEQ ACK [LEN] [options]", numbers relative to
# either end's first; "connect" is the handshake; "wait MS". "port" sends to a port where nobody listens.
CASES = {
    # nobody listens
    'closed-syn': (None, '', ['S 0 0 port']),
    'closed-syn-with-data': (None, '', ['S 0 0 10 port']),
    'closed-ack': (None, '', ['A 1 77 port']),
    'closed-data': (None, '', ['PA 1 77 10 port']),
    'closed-fin': (None, '', ['FA 1 77 port']),
    'closed-fin-alone': (None, '', ['F 1 0 port']),
    'closed-reset': (None, '', ['R 1 0 port', 'RA 1 77 port']),
    'closed-nothing': (None, '', ['- 1 0 port', '- 1 0 10 port']),
    'closed-syn-ack': (None, '', ['SA 0 77 port']),
    # a listener
    'listen-ack': (READS, '', ['A 1 77']),
    'listen-reset': (READS, '', ['R 0 0', 'RA 1 77']),
    'listen-syn-reset': (READS, '', ['SR 0 0']),
    'listen-syn-ack': (READS, '', ['SA 0 77']),
    'listen-fin': (READS, '', ['F 0 0']),
    'listen-nothing': (READS, '', ['- 0 0']),
    'listen-syn': (READS, '', ['S 0 0']),
    'listen-syn-with-data': (READS, '', ['S 0 0 10', 'A 1 1', 'PA 1 1 10']),
    'listen-syn-fin': (READS, '', ['SF 0 0']),
    # the handshake
    'handshake-syn-again': (READS, '', ['S 0 0', 'S 0 0']),
    'handshake-bad-ack': (READS, '', ['S 0 0', 'A 1 77', 'A 1 1', 'PA 1 1 5']),
    'handshake-early-ack': (READS, '', ['S 0 0', 'A 1 0']),
    'handshake-reset': (READS, '', ['S 0 0', 'R 1 0', 'A 1 1']),
    'handshake-reset-elsewhere': (READS, '', ['S 0 0', 'R 100000 0', 'A 1 1', 'PA 1 1 5']),
    'handshake-data-with-ack': (READS, '', ['S 0 0', 'PA 1 1 100']),
    'handshake-fin-with-ack': (READS, '', ['S 0 0', 'FA 1 1']),
    'handshake-ack-lost': (READS, '', ['S 0 0', 'PA 1 1 10', 'A 1 1']),
    # data
    'data-in-order': (READS, '', ['connect', 'PA 1 1 100', 'PA 101 1 100']),
    'data-two-full-segments': (READS, '', ['connect', 'A 1 1 1460', 'A 1461 1 1460']),
    'data-again': (READS, '', ['connect', 'PA 1 1 100', 'PA 1 1 100']),
    'data-partly-again': (READS, '', ['connect', 'PA 1 1 100', 'PA 51 1 100']),
    'data-hole': (READS, 'sack', ['connect', 'PA 101 1 100', 'PA 301 1 100', 'PA 1 1 100', 'PA 201 1 100']),
    'data-hole-no-sack': (READS, '', ['connect', 'PA 101 1 100', 'PA 1 1 100']),
    'data-again-dsack': (READS, 'sack', ['connect', 'PA 1 1 100', 'PA 1 1 100']),
    'data-hole-again': (READS, 'sack', ['connect', 'PA 101 1 100', 'PA 101 1 100', 'PA 1 1 100']),
    'data-far-beyond-window': (READS, '', ['connect', 'PA 1000001 1 100']),
    'data-far-before-window': (READS, '', ['connect', 'PA -1000 1 100']),
    'data-without-ack-flag': (READS, '', ['connect', 'P 1 1 100', 'PA 1 1 100']),
    'data-ack-of-unsent': (READS, '', ['connect', 'PA 1 5000 100']),
    'data-old-ack': (READS, '', ['connect', 'PA 1 0 100']),
    'data-very-old-ack': (READS, '', ['connect', 'PA 1 -100000 100']),
    'data-urgent': (READS, '', ['connect', 'PAU 1 1 100']),
    'data-bad-checksum': (READS, '', ['connect', 'PA 1 1 100 bad', 'PA 1 1 100']),
    'keepalive': (READS, '', ['connect', 'A 0 1', 'A 0 1 1']),
    'ack-beyond-window': (READS, '', ['connect', 'A 1000001 1']),
    'ack-of-unsent': (READS, '', ['connect', 'A 1 5000']),
    'nothing': (READS, '', ['connect', '- 1 1', '- 1 1 10']),
    'all-flags': (READS, '', ['connect', 'FSRPAU 1 1 10']),
    # resets and SYNs
    'reset-exact': (READS, '', ['connect', 'R 1 0', 'A 1 1']),
    'reset-exact-with-ack': (READS, '', ['connect', 'RA 1 1', 'A 1 1']),
    'reset-in-window': (READS, '', ['connect', 'R 500 0', 'PA 1 1 10']),
    'reset-before-window': (READS, '', ['connect', 'R 0 0', 'PA 1 1 10']),
    'reset-beyond-window': (READS, '', ['connect', 'R 1000001 0', 'PA 1 1 10']),
    'syn-in-window': (READS, '', ['connect', 'S 500 0', 'PA 1 1 10']),
    'syn-first-again': (READS, '', ['connect', 'S 0 0', 'PA 1 1 10']),
    'syn-beyond-window': (READS, '', ['connect', 'S 1000001 0', 'PA 1 1 10']),
    'syn-ack': (READS, '', ['connect', 'SA 0 1', 'PA 1 1 10']),
    # timestamps
    'paws': (READS, 'ts', ['connect', 'PA 1 1 100 ts:2000', 'PA 101 1 100 ts:1000', 'PA 101 1 100 ts:2001']),
    'ts-missing': (READS, 'ts', ['connect', 'PA 1 1 100 ts:2000', 'PA 101 1 100', 'PA 101 1 100 ts:2002']),
    'paws-reset': (READS, 'ts', ['connect', 'PA 1 1 10 ts:2000', 'R 11 0 ts:1', 'PA 11 1 10 ts:2001']),
    # the peer ends
    'fin': (READS, '', ['connect', 'FA 1 1']),
    'fin-with-data': (READS, '', ['connect', 'FPA 1 1 100']),
    'fin-again': (READS, '', ['connect', 'FA 1 1', 'FA 1 1']),
    'fin-before-data': (READS, '', ['connect', 'FA 101 1', 'PA 1 1 100']),
    'fin-then-data': (READS, '', ['connect', 'FA 1 1', 'PA 2 1 100']),
    'fin-without-ack-flag': (READS, '', ['connect', 'F 1 1']),
    'fin-beyond-window': (READS, '', ['connect', 'FA 1000001 1']),
    'fin-answered': (ENDS, '', ['connect', 'FA 1 1', 'A 2 2', 'A 2 2', 'FA 1 2']),
    'last-ack-reset': (ENDS, '', ['connect', 'FA 1 1', 'R 2 0', 'A 2 2']),
    'last-ack-old-ack': (ENDS, '', ['connect', 'FA 1 1', 'A 2 1', 'A 2 2', 'A 2 2']),
    # the application ends
    'shut': (SHUTS, '', ['connect', 'A 1 2', 'PA 1 2 100', 'FA 101 2', 'FA 101 2']),
    'shut-simultaneous': (SHUTS, '', ['connect', 'FA 1 1', 'A 2 2', 'FA 1 2']),
    'shut-fin-acks': (SHUTS, '', ['connect', 'FA 1 2', 'A 2 2']),
    'shut-data-before-ack': (SHUTS, '', ['connect', 'PA 1 1 100', 'FA 101 2']),
    'time-wait-data': (SHUTS, '', ['connect', 'FA 1 2', 'PA 2 2 10', 'A 1 2']),
    'time-wait-old-syn': (SHUTS, '', ['connect', 'FA 1 2', 'S -5000 0']),
    'time-wait-reset-elsewhere': (SHUTS, '', ['connect', 'FA 1 2', 'R 100 0', 'FA 1 2']),
    'fin-wait-reset': (SHUTS, '', ['connect', 'A 1 2', 'R 1 0', 'A 1 2']),
    'fin-wait-syn': (SHUTS, '', ['connect', 'A 1 2', 'S 100 0']),
    'abort': (('wait:800ms,abort', ''), '', ['connect', 'wait 1000', 'PA 1 1 10']),
    'close-unread': (('', 'wait:1s,close'), '', ['connect', 'PA 1 1 100', 'wait 1000', 'PA 101 1 10']),
    # it sends
    'send': (SENDS, '', ['connect', 'A 1 1001', 'A 1 1001']),
    'send-acked-in-part': (SENDS, '', ['connect', 'A 1 501', 'A 1 1001']),
    'send-acked-with-data': (SENDS, '', ['connect', 'PA 1 1001 100']),
    'send-reset-by-ack': (SENDS, '', ['connect', 'RA 1 1001', 'A 1 1001']),
}


def checksum(data):
    data += b'\0' * (len(data) % 2)
    total = sum(struct.unpack(f'!{len(data) // 2}H', data))
    while total > 0xffff:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def content(seq, length):
    """The stream that the application checks: tests/support/stream.c with key 1, whose byte 0 has number 1."""
    def word(index):
        z = (1 + (index + 1) * 0x9e3779b97f4a7c15) % 2 ** 64
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9 % 2 ** 64
        z = (z ^ z >> 27) * 0x94d049bb133111eb % 2 ** 64
        return z ^ z >> 31
    return bytes(word((seq - 1 + i) // 8) >> (seq - 1 + i) % 8 * 8 & 0xff for i in range(length))


class Wire:
    """A tap whose other side is a stack in a namespace of its own."""

    def __init__(self, stack):
        self.stack = stack
        self.space = f'replay-{stack}'
        self.mac = None
        path.ip('netns', 'add', self.space)
        self.fd = os.open('/dev/net/tun', os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(self.fd, TUNSETIFF, struct.pack('16sH22x', f'rt-{stack}'.encode(), IFF_TAP | IFF_NO_PI))
        path.ip('link', 'set', f'rt-{stack}', 'netns', self.space)
        subprocess.run(['ip', 'netns', 'exec', self.space, 'sysctl', '-qw', 'net.ipv6.conf.all.disable_ipv6=1'],
                       check=True)
        path.ip('-n', self.space, 'link', 'set', f'rt-{stack}', 'name', 't0', 'up')
        path.ip('-n', self.space, 'link', 'set', 'lo', 'up')
        if stack == 'linux':
            path.ip('-n', self.space, 'address', 'add', '10.8.0.1/24', 'dev', 't0')

    def start(self, tracks):
        """The application; for ours it is the stack as well."""
        if tracks is None:
            if self.stack == 'linux':
                return None
            tracks = READS
        own = ['--interface', 't0', '--address', '10.8.0.1/24'] if self.stack == 'sluice' else []
        program = subprocess.Popen(['ip', 'netns', 'exec', self.space, str(path.PROGRAMS[self.stack]), '--listen',
                                    '7000', '--write', tracks[0], '--read', tracks[1], '--linger', '5000', *own],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        table, text = ('packet', '') if self.stack == 'sluice' else ('tcp6', LISTENS)
        for _ in range(500):
            with open(f'/proc/{program.pid}/net/{table}', encoding='ascii') as lines:
                if any(text in line for line in list(lines)[1:]):
                    return program
            if program.poll() is not None:
                break
            time.sleep(0.01)
        raise path.Failed(f'{self.stack} does not start: {program.communicate()[1]}')

    def frames(self, quiet_s):
        """Frames until it has been quiet for so long."""
        while select.select([self.fd], [], [], quiet_s)[0]:
            yield os.read(self.fd, 4096)

    def send(self, packet):
        os.write(self.fd, self.mac + PEER_MAC + b'\x08\0' + packet)

    def answer_arp(self, frame):
        if frame[12:14] == b'\x08\x06' and frame[20:22] == b'\0\1' and frame[38:42] == PEER:
            os.write(self.fd, frame[6:12] + PEER_MAC + frame[12:20] + b'\0\2' + PEER_MAC + PEER + frame[22:32])

    def find(self):
        """Asks for the stack's address."""
        for _ in range(50):
            os.write(self.fd, b'\xff' * 6 + PEER_MAC + bytes.fromhex('08060001080006040001') + PEER_MAC + PEER +
                     bytes(6) + STACK)
            for frame in self.frames(0.1):
                self.answer_arp(frame)
                if frame[12:14] == b'\x08\x06' and frame[20:22] == b'\0\2':
                    self.mac = frame[22:28]
                    return
        raise path.Failed(f'{self.stack} does not answer ARP')


class Peer:
    """One connection's other end, played by hand."""

    def __init__(self, wire, port, options):
        self.wire = wire
        self.port = port
        self.options = options
        self.heard = set()
        self.base = None  # the stack's first number

    def emit(self, flags, seq, ack, length, extra):
        options = b''
        if 'S' in flags and 'R' not in flags:
            options += struct.pack('!BBH', 2, 4, 1460)
            if self.options == 'sack':
                options += bytes([4, 2, 1, 1])
        times = next((int(word[3:]) for word in extra if word.startswith('ts:')), None)
        if self.options == 'ts' and 'S' in flags:
            times = 1000
        if times is not None:
            options += bytes([1, 1, 8, 10]) + struct.pack('!II', times, 0)
        payload = content(seq, length)
        ack_number = ((self.base or 0) + ack) % 2 ** 32 if 'A' in flags else 0
        header = struct.pack('!HHIIBBHHH', self.port, 7001 if 'port' in extra else 7000, (ISN + seq) % 2 ** 32, ack_number,
                             (20 + len(options)) // 4 << 4, sum(FLAGS[f] for f in flags), WINDOW, 0,
                             20 if 'U' in flags else 0) + options + payload
        pseudo = PEER + STACK + struct.pack('!HH', 6, len(header))
        sum_ = checksum(pseudo + header) ^ (0x55 if 'bad' in extra else 0)
        header = header[:16] + struct.pack('!H', sum_) + header[18:]
        ip = struct.pack('!BBHHHBBH', 0x45, 0, 20 + len(header), 0, 0x4000, 64, 6, 0) + PEER + STACK
        self.wire.send(ip[:10] + struct.pack('!H', checksum(ip)) + ip[12:] + header)

    def read(self, frame):
        """A segment to us as a text, or None."""
        ihl = (frame[14] & 15) * 4
        if frame[12:14] != b'\x08\0' or frame[23] != 6:
            return None
        tcp = frame[14 + ihl:14 + struct.unpack('!H', frame[16:18])[0]]
        _, port, seq, ack, offset, bits = struct.unpack('!HHIIBB', tcp[:14])
        if port != self.port:
            return None
        flags = ''.join(f for f, bit in FLAGS.items() if bits & bit and f != 'P')
        if 'S' in flags:
            self.base = seq
        base = self.base if self.base is not None else 0
        words = [flags or '-', str(self.relative(seq, base))]
        if 'A' in flags:
            words.append(str(self.relative(ack, ISN)))
        length = len(tcp) - (offset >> 4) * 4
        if length > 0:
            words.append(f'len {length}')
        return ' '.join(words + self.sacks(tcp[20:(offset >> 4) * 4]))

    @staticmethod
    def relative(number, base):
        return (number - base + 2 ** 31) % 2 ** 32 - 2 ** 31

    def sacks(self, options):
        found = []
        while options and options[0] != 0:
            if options[0] == 1:
                options = options[1:]
                continue
            if options[0] == 5:
                edges = struct.unpack(f'!{(options[1] - 2) // 4}I', options[2:options[1]])
                found = [f'sack {self.relative(left, ISN)}-{self.relative(right, ISN)}'
                         for left, right in zip(edges[::2], edges[1::2])]
            options = options[max(options[1], 2):]
        return found

    def collect(self):
        """What the stack says until it is quiet. Retransmissions are not counted: when they come is not compared."""
        said = []
        for frame in self.wire.frames(QUIET_S):
            self.wire.answer_arp(frame)
            text = self.read(frame)
            if text is None or self.is_again(text):
                continue
            # An ACK alone, then a FIN with the same numbers: the application ended behind the delayed ACK's time. When
            # it ends is the scheduler's, not TCP's.
            if said and text == f'F{said[-1]}':
                said.pop()
            said.append(text)
        return said

    def is_again(self, text):
        """A retransmission, of this step or an earlier one: it takes up numbers that were taken up before."""
        words = text.split()
        flags, length = words[0].strip('A'), 'len' in words and words[words.index('len') + 1]
        if not length and flags not in ('S', 'F'):
            return False
        numbers = flags, words[1], length
        if numbers in self.heard:
            return True
        self.heard.add(numbers)
        return False

    def step(self, text):
        words = text.split()
        if words[0] == 'connect':
            self.emit('S', 0, 0, 0, [])
            for _ in range(10):
                self.collect()
                if self.base is not None:
                    break
            self.emit('A', 1, 1, 0, ['ts:1001'] if self.options == 'ts' else [])
            return self.collect()
        if words[0] == 'wait':
            time.sleep(int(words[1]) / 1000)
            return self.collect()
        flags = words[0].replace('-', '')
        length = int(words[3]) if len(words) > 3 and words[3].isdigit() else 0
        self.emit(flags, int(words[1]), int(words[2]), length, words[3:])
        return self.collect()


def play(wire, number, case):
    """The transcript: what came back after each step."""
    tracks, options, steps = case
    program = wire.start(tracks)
    try:
        wire.find()
        peer = Peer(wire, 20000 + number, options)
        return [f'{step} > {", ".join(peer.step(step)) or "silence"}' for step in steps]
    finally:
        if program is not None:
            program.kill()
            program.wait()


def read_accepted():
    """{name: (reason, [ours])}"""
    accepted = {}
    name = None
    for line in ACCEPTED.read_text(encoding='utf-8').splitlines():
        if line.startswith('#') or not line.strip():
            continue
        if not line.startswith(' '):
            name, reason = line.split(': ', 1)
            accepted[name] = (reason, [])
        elif line.startswith('    ours:  '):
            accepted[name][1].append(line[11:])
    return accepted


def judge(name, transcripts, accepted):
    """None, or what is wrong."""
    ours, linux = transcripts['sluice'], transcripts['linux']
    if name in accepted:
        if ours == accepted[name][1]:
            return None
        return f'ours is not what was accepted: {"; ".join(ours)}'
    differences = [f'ours {a}, kernel {b.split(" > ")[1]}' for a, b in zip(ours, linux) if a != b]
    return '; '.join(differences) or None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('names', nargs='*', help='only cases whose name begins so')
    parser.add_argument('--show', action='store_true', help='what both said, as tcp_replay.accepted has it')
    args = parser.parse_args()
    chosen = [name for name in CASES if not args.names or name.startswith(tuple(args.names))]
    if not chosen:
        parser.error('no such case')
    path.enter()
    path.build()
    accepted = read_accepted()
    wires = [Wire('sluice'), Wire('linux')]
    failed = [name for name in accepted if name not in CASES]
    for name in failed:
        print(f'not ok {name}: accepted, but there is no such case')
    pool = concurrent.futures.ThreadPoolExecutor(len(wires))
    for number, name in enumerate(chosen):
        plays = {wire.stack: pool.submit(play, wire, number, CASES[name]) for wire in wires}
        transcripts = {stack: future.result() for stack, future in plays.items()}
        wrong = judge(name, transcripts, accepted)
        failed += [name] if wrong else []
        print(f'not ok {name}: {wrong}' if wrong else f'ok {name}', flush=True)
        if args.show:
            for stack, label in (('sluice', 'ours: '), ('linux', 'linux:')):
                print('\n'.join(f'    {label} {line}' for line in transcripts[stack]))
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
