"""No byte of one request in another (T87): every request and every answer carries a mark of its own.

A request's mark stands in its prompt, an answer's in the id of every event and of a whole answer: it is the seed
that the request gave. Whatever a client receives, whole or cut, is searched for marks; what a backend has received
and sent is compared with what the client has sent and received, byte for byte by its CRC. Meanwhile
clients leave in the middle, and backends are killed. Half of the clients speak HTTP/2, with several streams at once.

SLUICE_CANARIES=100000 tests/e2e/run canary: that many requests instead of as many as 20 seconds allow.
"""
import json
import multiprocessing
import os
import random
import re
import ssl
import time
import types
import zlib

from harness.client import CHAT, Client, Closed, chat, sim
from harness.cluster import NAME, PORT
from harness.h2 import H2Client
from harness.proc import wait_for
from harness.suite import test
from suites.usage import plain

PROCESSES = 4  # every other one speaks HTTP/2
STREAMS = 8  # at once, of one connection
SECONDS = 20
LEAST = 1000  # requests, below which a run proves nothing
MARKS = re.compile(rb'chatcmpl-([0-9a-f]{16})')
BACKENDS = ('mv-a', 'mv-b', 'tx-c')


def crc(data):
    return f'{zlib.crc32(data):08x}'


class Asker:
    """One process: requests one after the other, on HTTP/1.1 connections that live for some of them."""

    def __init__(self, address, ca, key, number, count, until):
        self.address = address
        self.ca = ca
        self.key = key
        self.count = count
        self.until = until
        self.chance = random.Random(number)
        self.base = number << 40  # no mark of one process is another's
        self.asked = self.left = self.cut = self.refused = 0
        self.whole = []    # (request id, CRC of what was sent, CRC of what came or None)
        self.foreign = []  # what must stay empty
        self.client = None

    def run(self):
        while self.asked < self.count and time.monotonic() < self.until:
            try:
                if self.client is None or self.chance.randrange(30) == 0:
                    self.renew()
                self.step()
            except (OSError, ssl.SSLError, Closed):
                self.cut += 1
                self.drop()
        self.drop()
        return {name: getattr(self, name) for name in ('asked', 'left', 'cut', 'refused', 'whole', 'foreign')}

    def new_mark(self):
        self.asked += 1
        return self.base | self.asked << 8 | self.chance.randrange(256)

    def drop(self):
        if self.client:
            self.client.close()
        self.client = None

    def renew(self):
        self.drop()
        self.client = Client(self.address, PORT, ca=self.ca, name=NAME, timeout=30)

    def body(self, mark):
        """A fourth streams with usage, a fourth without, the rest is whole; lengths differ widely."""
        kind = self.chance.randrange(4)
        tokens, frame = int(2 ** self.chance.uniform(0, 8)), self.chance.choice((0, 0, 5, 900))
        words = f'tokens={tokens} seed={mark} frame={frame}'
        if self.chance.randrange(8) == 0:
            words += ' tps=2000'
        filler = 'x' * int(2 ** self.chance.uniform(0, 13))
        more = {'stream': True} if kind < 2 else {}
        if kind == 0:
            more['stream_options'] = {'include_usage': True}
        return kind, json.dumps(chat(sim(words, f'mark {mark:016x} {filler}'), **more)).encode()

    def step(self):
        mark = self.new_mark()
        kind, data = self.body(mark)
        leaves = self.chance.randrange(10) == 0
        self.client.send(self.client.head('POST', CHAT, self.key, length=len(data)) + data)
        if leaves and self.chance.randrange(3) == 0:
            self.leave()
            return
        answer = self.client.read_head()
        try:
            self.read(answer, kind, leaves)
        finally:
            self.search(mark, answer, self.client.buffer)
        if leaves and not answer.complete:
            self.leave()
        else:
            self.note(answer, kind, data)

    def note(self, answer, kind, data):
        """An answer that is complete."""
        if answer.status != 200:
            self.refused += 1
            return
        # Of a stream without usage an event was taken out, and the wish for it put in.
        edited = kind == 1
        self.whole.append((plain(answer.field('x-request-id')), None if edited else crc(data),
                           None if edited else crc(answer.body)))

    def leave(self):
        self.left += 1
        self.client.reset()
        self.client = None

    def read(self, answer, kind, leaves):
        if kind < 2 and answer.status == 200:
            for at, _ in enumerate(self.client.read_events(answer)):
                if leaves and at == 3:
                    return
        else:
            self.client.read_body(answer)

    def search(self, mark, answer, behind=b''):
        """Every mark in what came, also behind it, must be this request's."""
        found = {int(text, 16) for text in MARKS.findall(bytes(answer.body) + behind)}
        if not found <= {mark} or (answer.complete and answer.status == 200 and found != {mark}):
            self.foreign.append(f'{mark:016x}: {[f"{one:016x}" for one in found]} {answer!r}')


class StreamAsker(Asker):
    """The same over HTTP/2, some at once on each connection; some of them are cancelled in the middle."""

    def renew(self):
        self.drop()
        self.client = H2Client(types.SimpleNamespace(host4=self.address, ca=self.ca, key=self.key), timeout=30)

    def begin(self):
        mark = self.new_mark()
        kind, data = self.body(mark)
        return mark, kind, data, self.client.begin('POST', CHAT, self.key, data)

    def step(self):
        ways = [self.begin() for _ in range(self.chance.randrange(1, STREAMS + 1))]
        leaving = [stream for *_, stream in ways if self.chance.randrange(10) == 0]
        try:
            while not all(stream.over for *_, stream in ways):
                self.client.read_frame()
                for stream in leaving:
                    if not stream.over and len(stream.frames) > 3:
                        self.client.cancel(stream)
                        self.left += 1
        finally:
            for mark, *_, stream in ways:
                self.search(mark, stream)
        for _, kind, data, stream in ways:
            if stream.complete:
                self.note(stream, kind, data)
            elif stream not in leaving:
                self.cut += 1
        if self.client.goaway:
            self.drop()


def ask(given):
    *_, number, _, _ = given
    return (Asker, StreamAsker)[number % 2](*given).run()


def kill_in_turn(cluster, work):
    """Kills and restarts the first region's backends in turn, once a second, until the work is done."""
    pair = [cluster.backends['mv-a'], cluster.backends['mv-b']]
    kills = 0
    try:
        while not work.ready():
            work.wait(0.7)
            pair[kills % 2].process.kill()
            work.wait(0.3)
            pair[kills % 2].start()
            kills += 1
    finally:
        for backend in pair:
            if not backend.process.is_alive():
                backend.start()
    return kills


def compare(cluster, reports, kills):
    """What backends say of each whole request against what its client says; the number compared. A backend that is
    killed between its last byte and its log owes a line; one killed before its bytes left has a line too many.
    """
    served = {}
    for name in BACKENDS:
        for entry in cluster.backends[name].new_served():
            served.setdefault(plain(entry['id']), []).append(entry)
    compared = owed = 0
    for name, sent, received in (one for report in reports for one in report['whole']):
        ends = [entry for entry in served.get(name, ()) if entry['end'] == 'complete']
        for entry in served.get(name, ()) if sent else ():
            assert entry['request_crc32'] == sent, f'{name}: the backend got another body'
        owed += not ends
        if received and ends:
            assert received in [entry['body_crc32'] for entry in ends], f'{name}: the client got another body'
            compared += 1
    assert owed <= kills, f'no backend knows {owed} requests that were answered'
    return compared


@test('canary.marks', seconds=2000)
def marks(cluster):
    wanted = int(os.environ.get('SLUICE_CANARIES', '0'))
    until = time.monotonic() + (1800 if wanted else SECONDS)
    count = -(-wanted // PROCESSES) if wanted else 1 << 30
    for name in BACKENDS:
        cluster.backends[name].mark()
    given = [(cluster.host4, cluster.ca, cluster.key, number + 1, count, until) for number in range(PROCESSES)]
    with multiprocessing.get_context('fork').Pool(PROCESSES) as pool:
        work = pool.map_async(ask, given, chunksize=1)
        kills = kill_in_turn(cluster, work)
        reports = work.get(60)
    total = {name: sum(report[name] for report in reports) for name in ('asked', 'left', 'cut', 'refused')}
    foreign = [text for report in reports for text in report['foreign']]
    wait_for(lambda: cluster.counter('pool_exchanges_used') == 0, 15, 'requests stay behind')
    compared = compare(cluster, reports, kills)
    print(f'# {total["asked"]} requests, {compared} compared byte for byte, {total["left"]} left by their client, '
          f'{total["cut"]} cut, {total["refused"]} refused, {kills} kills')
    assert not foreign, f'{len(foreign)} answers have something of another request: {foreign[:3]}'
    assert total['asked'] >= (wanted or LEAST) and kills > 5, f'{total}, {kills} kills'
    assert total['left'] > total['asked'] // 50 and compared > total['asked'] // 3, f'{total}, {compared} compared'
    assert total['refused'] <= total['asked'] // 100, f'{total["refused"]} were refused'
    wait_for(lambda: all(cluster.pod_is_up(name) for name in ('mv-a', 'mv-b')), 10, 'the pods are not up again')
