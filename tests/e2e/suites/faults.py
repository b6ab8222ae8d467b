"""Everything that a backend can do wrong, as a table: what the client sees, how often and where it was
tried, and what is billed.

Each fault is asked for as a whole answer and as a stream, of a model that has one region and of one whose second
region is well; the words of a fault are for the backend of the first region only. Every row has pods of its
own, so that no row suffers for another one's bad reputation, and so all rows can run at once.
"""
import json
import re
from concurrent.futures import ThreadPoolExecutor

from harness import net
from harness.backend import expected
from harness.client import CHAT, Closed, chat, sim
from harness.proc import wait_for
from harness.suite import test
from suites.usage import cost_of, plain, rows_of

RESPONSES, COMPLETIONS = '/v1/responses', '/v1/completions'
KINDS = {CHAT: '', RESPONSES: ' kind=response', COMPLETIONS: ' kind=completion'}
TOKENS = 16
AT_ONCE = 12  # and beside them all rows in which nothing happens for a while
KEEP_ALIVE = b': keep-alive\n\n'
SICK, WELL = 'fault', 'fault2'  # the backends of region mv and tx
OK, CLIENT_ABORT, UPSTREAM_ERROR, TIMEOUT = range(4)  # enum usage_outcome
FINAL, RUNNING, ESTIMATED = range(3)                  # enum usage_source


class Fails:
    """No byte of an answer: another region answers instead, or there is an error of ours."""

    def __init__(self, status, codes, outcome=UPSTREAM_ERROR):
        self.status = status
        self.codes = codes
        self.outcome = outcome


class Cut:
    """The answer has begun: what came stands, then an error event (of a stream), then an abort."""

    def __init__(self, events=0, code='upstream_failed', outcome=UPSTREAM_ERROR, source=ESTIMATED):
        self.events = events
        self.code = code
        self.outcome = outcome
        self.source = source


class Whole:
    """The answer is complete; bill: exact, estimated, free, suspect, or of half or the rest of usage."""

    def __init__(self, bill='exact', once=False):
        self.bill = bill
        self.once = once  # costs the backend its connection


class Error:
    """The backend's own error is the client's answer."""

    def __init__(self, status):
        self.status = status


LOST = Fails(502, ('upstream_failed',))
SILENT = Fails(504, ('upstream_timeout',), TIMEOUT)
BUSY = Fails(503, ('no_healthy_region', 'overloaded'))
LATE = {'code': 'upstream_timeout', 'outcome': TIMEOUT}

FAULTS = (  # words, whole, stream
    # before the head
    ('reset', LOST, LOST),
    ('close_early', LOST, LOST),
    ('bad_head', LOST, LOST),
    ('endless_headers', LOST, LOST),
    ('informational=9', LOST, LOST),
    ('informational=100000', LOST, LOST),
    ('error=101', LOST, LOST),
    ('two_lengths', LOST, None),
    ('chunked both_framings', LOST, LOST),
    ('hang', SILENT, SILENT),
    ('ttft=30s', SILENT, SILENT),
    ('error=429', BUSY, BUSY),
    ('error=429 retry_after=7', BUSY, BUSY),
    ('error=503', BUSY, BUSY),
    ('error=502', LOST, LOST),
    ('error=504', LOST, LOST),
    ('error=500', Error(500), Error(500)),
    ('error=501', Error(501), Error(501)),
    ('error=400', Error(400), Error(400)),
    ('error=404', Error(404), Error(404)),
    ('error=422', Error(422), Error(422)),
    # between head and payload
    ('reset_after=0', Cut(), Cut()),
    ('close_after_headers', Cut(), Cut()),
    ('hang_after_headers', Cut(**LATE), Cut(**LATE)),
    ('first_event=30s', Cut(**LATE), Cut(**LATE)),
    ('chunked bad_chunk=0', Cut(), Cut()),
    # inside
    ('part_bytes=50 reset_after=0', Cut(), None),
    ('part_bytes=50 close_after=0', Cut(), None),
    ('part_bytes=50 hang_after=0', Cut(**LATE), None),
    ('chunked part_bytes=50 bad_chunk=0', Cut(), None),
    ('chunked part_bytes=50 close_after=0', Cut(), None),
    ('long_length=10', Cut(), None),
    ('reset_after=5', None, Cut(5)),
    ('close_after=5', None, Cut(5)),
    ('until_close close_after=5', None, Cut(5)),
    ('hang_after=5', None, Cut(5, **LATE)),
    ('bad_chunk=5', None, Cut(5)),
    ('frame=7 reset_after=5', None, Cut(4)),
    # odd, but whole
    ('', Whole(), Whole()),
    ('informational=8', Whole(), Whole()),
    ('frame=3 chunked', Whole(), Whole()),
    ('until_close', Whole(once=True), Whole(once=True)),
    ('extra_bytes=100', Whole(once=True), Whole(once=True)),
    ('no_done', None, Whole()),
    ('decoys', Whole(), Whole()),
    ('decoys frame=1', None, Whole()),
    # usage
    ('no_usage', Whole('estimated'), Whole('estimated')),
    ('no_usage no_done', None, Whole('estimated')),
    ('usage_null', Whole('estimated'), Whole('estimated')),
    ('usage_zero', Whole('free'), Whole('free')),
    ('usage_negative', Whole('suspect'), Whole('suspect')),
    ('usage_huge', Whole('suspect'), Whole('suspect')),
    ('usage_half', Whole('half'), Whole('half')),
    ('usage_rest', Whole('rest'), Whole('rest')),
    ('until_close no_done', None, Cut(TOKENS + 2, source=RUNNING)),
    ('until_close part_bytes=50 close_after=0', Cut(), None),
    ('usage_early', None, Whole()),
    ('usage_early no_usage_null', None, Whole()),
    ('usage_late', None, Whole('estimated')),
    # the end
    ('torn=1', None, Whole()),
    ('no_done torn=1', None, Whole()),
    ('no_done torn=2', None, Whole()),
    ('no_done torn=1 frame=5', None, Whole()),
    ('no_done torn=20', None, Whole('estimated')),
    ('usage_late torn=1', None, Whole('estimated')),
    ('usage_early no_done torn=2', None, Whole()),
)

RESPONSE_FAULTS = (  # of /v1/responses, whose streams end with their usage and have no data: [DONE]
    ('', Whole(), Whole()),
    ('frame=1', None, Whole()),
    ('event_bytes=3000', Whole(), Whole()),
    ('torn=1', None, Whole()),
    ('torn=20', None, Whole('estimated')),
    ('no_usage', Whole('estimated'), Whole('estimated')),
    ('usage_null', Whole('estimated'), Whole('estimated')),
    ('usage_zero', Whole('free'), Whole('free')),
    ('usage_negative', Whole('suspect'), Whole('suspect')),
    ('usage_half', Whole('half'), Whole('half')),
    ('usage_rest', Whole('rest'), Whole('rest')),
    ('decoys', Whole(), Whole()),
    ('error=429', BUSY, BUSY),
    ('error=500', Error(500), Error(500)),
    ('reset', LOST, LOST),
    ('hang', SILENT, SILENT),
    ('reset_after=5', None, Cut(5)),
    ('part_bytes=50 reset_after=0', Cut(), None),
    ('until_close', Whole(once=True), Whole(once=True)),
    ('until_close event_bytes=30000', None, Whole(once=True)),
    ('until_close close_after=5', None, Cut(5)),
    ('until_close part_bytes=50 close_after=0', Cut(), None),
)

COMPLETION_FAULTS = (
    ('', Whole(), Whole()),
    ('until_close', Whole(once=True), Whole(once=True)),
    ('until_close close_after=5', None, Cut(5)),
    ('until_close part_bytes=50 close_after=0', Cut(), None),
    ('no_usage', Whole('estimated'), Whole('estimated')),
    ('reset_after=5', None, Cut(5)),
)


class Row:
    """One request of the table; its checks raise AssertionError."""

    def __init__(self, cluster, number, words, want, stream, regions, wants_usage=False, path=CHAT):
        self.cluster = cluster
        self.words = words
        self.want = want
        self.stream = stream
        self.regions = regions
        self.wants_usage = wants_usage
        self.path = path
        self.model = f'row-{number}' if isinstance(number, int) else number
        self.request_id = self.again_id = self.request_bytes = None
        self.name = f'{path} {words or "well"}, {"stream" if stream else "whole"}' \
            f'{" with usage" if wants_usage else ""}, {regions} regions'

    def sell(self):
        """A model, and a pod for the first region; the second region's is well and everybody's."""
        put = lambda noun, name, **body: self.cluster.admin.call('PUT', f'{noun}/{name}', body)  # noqa: E731
        put('models', self.model, price='normal')
        put('pods', self.model, address=net.HOST4, port=self.cluster.backends[SICK].port)
        for at, (region, pod) in enumerate((('mv', self.model), ('tx', 'row-well'))[:self.regions]):
            put('deployments', f'{self.model}-{region}', model=self.model, region=region, position=at, pods=[pod])

    def is_silent(self):
        return isinstance(self.want, (Fails, Cut)) and self.want.outcome == TIMEOUT

    # ---- the client's view

    def sick_words(self):
        return f'tokens={TOKENS} {self.words} only_port={self.cluster.backends[SICK].port}'

    def body(self):
        more = {'stream': True} if self.stream else {}
        if self.wants_usage:
            more['stream_options'] = {'include_usage': True}
        text = sim(self.sick_words())
        if self.path == RESPONSES:
            return {'model': self.model, 'input': text, **more}
        if self.path == COMPLETIONS:
            return {'model': self.model, 'prompt': text, **more}
        return chat(text, model=self.model, **more)

    def wanted_body(self, words):
        ends_with_usage = re.search('no_done|usage_late', words) and 'usage_early' not in words
        if ends_with_usage and not self.wants_usage and self.path == CHAT:
            words = re.sub(r'torn=\d+', '', words)  # what is torn is the event that the client must not see
        words += KINDS[self.path] + (' usage' if self.wants_usage else '')
        return expected(self.cluster.sim, f'tokens={TOKENS} {words} model={self.model} '
                        f'prompt_bytes={len(sim(self.sick_words()))}', self.stream)

    def ask(self):
        self.request_bytes = len(json.dumps(self.body()))
        with self.cluster.client(timeout=60) as client:
            answer = client.start('POST', self.path, self.cluster.key, self.body())
            self.request_id = answer.field('x-request-id')
            assert self.request_id, 'an answer has no id'
            assert self.is_event_stream(answer) == (self.stream and answer.status == 200), answer.fields
            try:
                client.read_body(answer)
            except Closed:
                pass
            if not answer.complete:
                answer.pieces.append(self.rest(client, answer))
            self.check_answer(answer)
            if isinstance(self.want, Whole) and self.regions == 1:
                again = client.begin(self.cluster.key, chat(sim('tokens=1'), model=self.model))
                client.read_body(again)
                assert again.status == 200, f'the next one: {again}'
                self.again_id = again.field('x-request-id')

    @staticmethod
    def is_event_stream(answer):
        return answer.field('content-type') == 'text/event-stream'

    @staticmethod
    def rest(client, answer):
        """What of a cut answer with a length has come."""
        return bytes(client.buffer) if answer.field('content-length') else b''

    def check_answer(self, answer):
        want = self.want
        if isinstance(want, Fails) and self.regions == 2:
            assert answer.status == 200 and answer.complete, answer
            assert answer.field('x-ecolink-region') == 'tx', 'the second region did not answer'
            assert without_comments(answer.body) == self.wanted_body(f'{self.words} only_port=1'), answer
        elif isinstance(want, Fails):
            assert answer.status == want.status and answer.complete, answer
            assert answer.json()['error']['code'] in want.codes, answer
            if want.status == 503:
                assert int(answer.field('retry-after')) >= 1 and int(answer.field('retry-after-ms')) >= 1
        elif isinstance(want, Error):
            assert answer.status == want.status and answer.complete, answer
            assert answer.json()['error']['code'] == 'simulated', answer
        elif isinstance(want, Whole):
            assert answer.status == 200 and answer.complete, answer
            assert without_comments(answer.body) == self.wanted_body(self.words), answer.body[-400:]
        else:
            self.check_cut(answer)

    def check_cut(self, answer):
        assert answer.status == 200 and not answer.complete, f'looks whole: {answer}'
        if not self.stream:
            assert self.wanted_body('').startswith(answer.body), answer
            return
        events = [event + b'\n\n' for event in without_comments(answer.body).split(b'\n\n') if event]
        assert KEEP_ALIVE in answer.body or self.want.events > 0 or not self.is_silent(), 'no comments'
        sent = b''.join(events[:-1])
        assert len(events) == self.want.events + 1, f'{len(events)} events: {answer.body[-300:]}'
        assert self.wanted_body('').startswith(sent), sent
        assert events[-1].startswith(b'data: {"error":'), events[-1]
        error = json.loads(events[-1][6:])['error']
        assert error['type'] == 'server_error' and error['code'] == self.want.code, error
        assert b'data: [DONE]' not in answer.body

    # ---- the backends' view

    def tries(self):
        """How many tries each backend must have seen."""
        return 1, int(isinstance(self.want, Fails) and self.regions == 2)

    def check_served(self, sick, well, again):
        assert (len(sick), len(well)) == self.tries(), \
            f'tried {len(sick)} and {len(well)} times, not {self.tries()}'
        if self.is_silent():
            assert sick[0]['end'] == 'peer_reset', f'the abandoned try ended as {sick[0]["end"]}'
        if again and self.want.once:
            assert again['connection'] != sick[0]['connection'], 'a connection was used again'
        elif again and not self.words:
            assert again['connection'] == sick[0]['connection'], 'a good connection was not used again'

    # ---- the bill

    def check_bill(self, row, sick, well):
        want = self.want
        passed_over = isinstance(want, Fails) and self.regions == 2
        assert row['cost_nano'] == cost_of(row), row
        assert row['region'] == ('tx' if passed_over else 'mv'), row['region']
        if passed_over or (isinstance(want, Whole) and want.bill == 'exact'):
            entry = well[0] if passed_over else sick[0]
            self.check_row(row, 200, OK, FINAL, entry['prompt_tokens'], entry['completion_tokens'])
        elif isinstance(want, Fails):
            self.check_row(row, want.status, want.outcome, FINAL, 0, 0)
        elif isinstance(want, Error):
            self.check_row(row, want.status, OK, FINAL, 0, 0)
        elif isinstance(want, Cut) and want.source == RUNNING:
            counts = sick[0]['prompt_tokens'], sick[0]['completion_tokens']
            self.check_row(row, 200, want.outcome, RUNNING, *counts)
        elif isinstance(want, Cut):
            # Counted events say a little more than tokens: the first one has only a role.
            count = want.events if self.stream else row['completion_tokens']
            assert self.stream or count <= 50 // 4 or 'long_length' in self.words, row
            self.check_row(row, 200, want.outcome, ESTIMATED, self.request_bytes // 4, count)
        elif want.bill == 'free':
            self.check_row(row, 200, OK, FINAL, 0, 0)
        elif want.bill == 'rest':
            self.check_row(row, 200, OK, ESTIMATED, self.request_bytes // 4, sick[0]['completion_tokens'])
        else:
            count = row['completion_tokens']
            prompt = sick[0]['prompt_tokens'] if want.bill == 'half' else self.request_bytes // 4
            assert count >= TOKENS and (not self.stream or count <= TOKENS + 3), row  # events, not tokens
            self.check_row(row, 200, OK, ESTIMATED, prompt, count)
        assert bool(row['suspect']) == (isinstance(want, Whole) and want.bill in ('suspect', 'half', 'rest')), row

    @staticmethod
    def check_row(row, *wanted):
        has = tuple(row[name] for name in ('status', 'outcome', 'source', 'prompt_tokens', 'completion_tokens'))
        assert has == wanted, f'the ledger has {has}, not {wanted}'


def without_comments(body):
    """What a slow machine may put before a stream's first event."""
    while body.startswith(KEEP_ALIVE):
        body = body[len(KEEP_ALIVE):]
    return body


def kinds_of_row():
    """(words, want, is a stream, regions, asks for usage, path) of each row."""
    for path, faults in ((CHAT, FAULTS), (RESPONSES, RESPONSE_FAULTS), (COMPLETIONS, COMPLETION_FAULTS)):
        for words, whole, stream in faults:
            for want, streams in ((whole, False), (stream, True)):
                may_ask = streams and path != RESPONSES and isinstance(want, Whole)
                for regions in (1, 2) if want else ():
                    for wants_usage in (False, True) if may_ask else (False,):
                        yield words, want, streams, regions, wants_usage, path


def rows_of_table(cluster):
    for number, kind in enumerate(kinds_of_row()):
        yield Row(cluster, number, *kind)


class Failures:
    def __init__(self):
        self.texts = []

    def run(self, row, check, *given):
        try:
            check(*given)
        except Exception as why:
            self.texts.append(f'{row.name}: {type(why).__name__} {" ".join(str(why).split())[:300]}')


def entries_by_id(backend):
    by_id = {}
    for entry in backend.new_served():
        by_id.setdefault(plain(entry['id']), []).append(entry)
    return by_id


def all_up(cluster):
    pods = cluster.admin.call('GET', 'status')['pods']
    return all(pod['probe'] == 'up' for pod in pods if pod['name'].startswith(('row-', 'burst-')))


def put_well_pod(cluster):
    cluster.admin.call('PUT', 'pods/row-well', {'address': net.HOST4, 'port': cluster.backends[WELL].port})


@test('faults.table', layout='many-pods', seconds=240)
def table(cluster):
    rows = list(rows_of_table(cluster))
    sick, well = cluster.backends[SICK], cluster.backends[WELL]
    failures = Failures()
    sick.mark()
    well.mark()
    put_well_pod(cluster)
    silent = [row for row in rows if row.is_silent()]
    others = [row for row in rows if not row.is_silent()]
    with ThreadPoolExecutor(AT_ONCE) as pool, ThreadPoolExecutor(len(silent)) as beside:
        list(pool.map(lambda row: row.sell(), rows))
        wait_for(lambda: all_up(cluster), 60, 'not all pods have been probed', every=0.5)
        with cluster.client() as client:
            wait_for(lambda: rows[-1].model in str(client.request('GET', '/v1/models', cluster.key).json()), 30,
                     'the last model is not for sale')
        waiting = beside.map(lambda row: failures.run(row, row.ask), silent)
        list(pool.map(lambda row: failures.run(row, row.ask), others))
        list(waiting)
    asked = [row for row in rows if row.request_id]
    agains = [row.again_id for row in asked if row.again_id]
    bills = rows_of(cluster, [row.request_id for row in asked] + agains, 30)
    wanted = sum(sum(row.tries()) for row in asked) + len(agains)
    failures.run(rows[0], wait_for, lambda: len(sick.new_served()) + len(well.new_served()) >= wanted, 30,
                 'some tries are missing')
    at_sick, at_well = entries_by_id(sick), entries_by_id(well)
    for row in asked:
        name = plain(row.request_id)
        tried = at_sick.get(name, []), at_well.get(name, [])
        again = at_sick[plain(row.again_id)][0] if row.again_id else None
        failures.run(row, row.check_served, *tried, again)
        if (len(tried[0]), len(tried[1])) == row.tries():
            failures.run(row, row.check_bill, bills[name], *tried)
    print(f'# {len(rows)} rows')
    assert not failures.texts, f'{len(failures.texts)} of {len(rows)} rows: ' + ' | '.join(failures.texts)


def burst(cluster, status, requests=40, threads=4):
    """(answers, tries at the sick pod, tries at the well one) of a burst of one error."""
    sick, well = cluster.backends[SICK], cluster.backends[WELL]
    row = Row(cluster, f'burst-{status}', f'error={status}', None, False, 2)
    put_well_pod(cluster)
    row.sell()
    wait_for(lambda: all_up(cluster), 60, 'not all pods have been probed', every=0.5)
    sick.mark()
    well.mark()

    def work(number):
        with cluster.client() as client:
            for turn in range(requests // threads):
                body = chat(sim(row.sick_words()), model=row.model, stream=turn % 2 == 1)
                yield client.ask(cluster.key, body)
    with ThreadPoolExecutor(threads) as pool:
        answers = sum(pool.map(lambda number: list(work(number)), range(threads)), [])
    bills = rows_of(cluster, [answer.field('x-request-id') for answer in answers], 30)
    assert len(bills) == requests
    return answers, len(sick.new_served()), len(well.new_served())


@test('faults.bursts', layout='many-pods', seconds=120)
def bursts(cluster):
    """A pod that errs for a while: the other region serves, and a pod that fails is soon not asked any more."""
    for status in (429, 502, 503, 504):
        answers, at_sick, at_well = burst(cluster, status)
        assert all(answer.status == 200 and answer.complete for answer in answers), f'{status}: {answers}'
        assert at_well == len(answers), f'{status}: {at_well} tries at the well pod'
        assert at_sick <= 0.2 * len(answers) + 10, f'{status}: {at_sick} of {len(answers)} went to the sick pod'
    answers, at_sick, at_well = burst(cluster, 500)
    assert {answer.status for answer in answers} <= {200, 500}, answers
    assert at_sick + at_well == len(answers), 'a 500 was sent again'
    assert at_sick >= 3, 'the pod never erred'
