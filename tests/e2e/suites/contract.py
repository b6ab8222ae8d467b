"""The client's contract, row by row: contract/*.rows on both surfaces. A failed row is printed with its request
and its answer; the others go on.
"""
from contract import table
from contract.checks import Wrong, check_answer, check_backend, want
from harness import net
from harness.client import Closed, chat
from harness.cluster import NAME
from harness.h2 import DATA, END_HEADERS, END_STREAM, HEADERS, H2Client, block, frame
from harness.proc import wait_for
from harness.suite import test

PREFIX = {'eco': '/v1', 'inf': '/api/v1', 'oth': '/other/v2', 'mod': '/mod/v1'}
SURFACE = {'eco': 'ecolink', 'inf': 'infer', 'oth': 'third', 'mod': 'fourth'}
KEY_PREFIX = {'eco': 'eco_', 'inf': 'sk-infer-', 'oth': 'oth_', 'mod': 'mod_'}
OTHER = {'eco': 'inf', 'inf': 'oth', 'oth': 'mod', 'mod': 'eco'}
NO_LIMITS = {('oth', 'plain')}  # neither its plan nor its surface has any
BEFORE_THE_KEY = ('invalid_api_key', 'bad_request', 'uri_too_long', 'headers_too_large', 'unsupported_coding',
                  'expectation_failed', 'http_version_not_supported')


class Catalogue:
    """Keys and instances that the rows name; made once for a cluster."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.admin = cluster.admin
        self.keys = {}
        self.instances = {'my-llama': cluster.instances['my-llama']}
        self.unique_ids = set()
        for name, limits in (('one', (1, 1)), ('six-hundred', (600, 600)), ('silent', (0, 0))):
            cluster.put('plan', name, requests_per_minute=limits[0], burst=limits[1])
        cluster.put('plan', 'short', requests_per_minute=6000000, body_bytes=200)
        for name, tokens in (('metered', 60000), ('dry', 1)):
            cluster.put('plan', name, requests_per_minute=6000000, tokens_per_minute=tokens, token_burst=tokens)
        cluster.put('pod', 'credential', address=net.HOST4, port=9004, credential='Bearer of-the-backend')
        cluster.model('meta-llama/Llama-3.1-8B-Instruct', mv=['solo'])
        cluster.model('credential', mv=['credential'])
        for name, rates in (('by-token', {'input': 1, 'output': 1}), ('by-second', {'second': '0.000001'}), ('gratis', {}),
                            ('by-request', {'request': '0.000001'})):
            cluster.put('price', name, **{'input': 0, 'output': 0, **rates})
            cluster.model(name, name, mv=['solo'])
        self.make_instances()
        self.make_keys()

    def make_instances(self):
        for name, account, price, state in (('other-llama', 'other', 'normal', 'running'),
                                            ('stopped', 'main', 'normal', 'stopped'),
                                            ('depleted', 'main', 'normal', 'credit_depleted'),
                                            ('depleted-free', 'main', None, 'credit_depleted'),
                                            ('by-token', 'main', 'by-token', 'running'),
                                            ('free', 'main', None, 'running')):
            made = self.admin.call('POST', 'instances', {'name': name, 'account': account, 'price': price,
                                                         'state': state})
            self.instances[name] = f'{name}:{made["id"]}'

    def make_keys(self):
        self.cluster.put('account', 'suspended')
        self.cluster.top_up('suspended', 10)
        for surface in SURFACE:
            for who, account, plan in (('main', 'main', 'wide'), ('other', 'other', 'wide'),
                                       ('poor', 'poor', 'wide'), ('revoked', 'main', 'wide'),
                                       ('suspended', 'suspended', 'wide'),
                                       ('spent', 'main', 'one'), ('limited', 'main', 'six-hundred'),
                                       ('metered', 'main', 'metered'), ('dry', 'main', 'dry'),
                                       ('plain', 'main', 'silent'), ('short', 'main', 'short')):
                self.keys[surface, who] = self.cluster.new_key(account, plan, SURFACE[surface])
            self.keys[surface, 'unknown'] = KEY_PREFIX[surface] + 'x' * 40
            self.keys[surface, 'long'] = KEY_PREFIX[surface] + 'x' * 500
            self.keys[OTHER[surface], 'wrong'] = self.keys[surface, 'main']
            self.cluster.revoke(self.keys[surface, 'revoked'])
        self.cluster.put('account', 'suspended', suspended=True)
        with self.cluster.client() as client:
            wait_for(lambda: all(self.is_answered(client, surface, who, status) for surface in PREFIX
                                 for who, status in (('main', 200), ('suspended', 401), ('revoked', 401),
                                                     ('poor', 200))), 10, 'the catalogue does not arrive')

    def is_answered(self, client, surface, who, status):
        path = f'{PREFIX[surface]}/models'
        return client.request('GET', path, self.keys[surface, who]).status == status

    def names(self, surface, who):
        key = self.keys.get((surface, 'main' if who == '-' else who))
        return table.Names(self.instances, key)

    def spend(self):
        """Its one request a minute, or token, is gone, whenever it was made."""
        with self.cluster.client() as client:
            for surface in PREFIX:
                client.request('GET', f'{PREFIX[surface]}/models', self.keys[surface, 'spent'])
                client.request('POST', f'{PREFIX[surface]}/chat/completions', self.keys[surface, 'dry'],
                               chat(model='solo'))


class Http1:
    """One connection for many rows; a new one after each that ends."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.client = None

    def close(self):
        if self.client:
            self.client.close()
        self.client = None

    def connect(self):
        if not self.client:
            self.client = self.cluster.client()
        return self.client

    def send(self, request, key):
        client = self.connect()
        fields = list(request.fields)
        if request.raw is not None:
            client.send(request.raw)
            return
        length = request.declared if request.body is None else len(request.body)
        if length is not None:
            fields.append(('Transfer-Encoding', 'chunked') if request.is_chunked else
                          ('Content-Length', str(length)))
        body = request.body or b''
        if request.is_chunked:
            body = b'%x\r\n%s\r\n0\r\n\r\n' % (len(body), body)
        client.send(client.head(request.method, request.path, key, fields))
        try:
            client.send(body)
        except OSError:
            pass  # refused by its head, and closed: the answer is there to be read

    def ask(self, request, key, must_close):
        if request.raw is not None or request.declared is not None:
            self.close()
        self.send(request, key)
        answer = self.client.read_head()
        self.client.read_body(answer, request.method)
        if must_close:
            want(self.client.is_closed(), 'the connection goes on')
        if must_close or answer.field('connection') == 'close':
            self.close()
        return answer


class Http2:
    """As Http1; a row is a stream. Bodies stay below the first window."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.client = None

    def close(self):
        if self.client:
            self.client.close()
        self.client = None

    def ask(self, request, key, must_close):
        assert not must_close, 'no stream ends its connection'
        self.client = self.client or H2Client(self.cluster)
        stream, body = self.client.new_stream(), request.body
        fields = [(':method', request.method), (':scheme', 'https'), (':authority', NAME), (':path', request.path)]
        fields += [('authorization', f'Bearer {key}')] if key else []
        length = request.declared if body is None else len(body)
        fields += [('content-length', str(length))] if length is not None else []
        fields += [(name.lower(), value) for name, value in request.fields]
        out = frame(HEADERS, END_HEADERS | (END_STREAM if length is None else 0), stream.number, block(fields))
        for at in range(0, len(body or b''), 16384):
            out += frame(DATA, END_STREAM if at + 16384 >= len(body) else 0, stream.number, body[at:at + 16384])
        self.client.send(out)
        self.client.finish(stream)
        want(stream.complete, f'the stream was reset with {stream.reset}')
        if self.client.goaway:
            self.close()
        return stream


class Section:
    """All rows of one file over one wire."""

    def __init__(self, cluster, name, wire):
        self.rows = table.read(name)
        self.wire = wire
        self.cluster = cluster
        if not getattr(cluster, 'contract', None):
            cluster.contract = Catalogue(cluster)
        self.catalogue = cluster.contract
        self.failed = 0
        self.count = 0
        self.answered = []  # (row, surface, request, answer, names)

    def fail(self, row, surface, request, why, answer=None):
        self.failed += 1
        print(f'    {row.name} on {SURFACE[surface]} over {type(self.wire).__name__}: {why}')
        print(f'        {request}')
        if answer:
            print(f'        {answer.status} {answer.fields} {answer.body[-900:]!r}')

    def ask(self, row, surface):
        names = self.catalogue.names(surface, row.who)
        key = None if row.who == '-' else self.catalogue.keys[surface, row.who]
        request = table.Request(row, PREFIX[surface], names)
        has_limits = (surface, row.who) not in NO_LIMITS and row.code not in BEFORE_THE_KEY and row.status != 204
        answer = None
        self.count += 1
        try:
            answer = self.wire.ask(request, key, 'closes' in row.answer)
            check_answer(row, surface, answer, names, has_limits)
            one = answer.field('x-request-id')
            want(one is None or one not in self.catalogue.unique_ids, 'a request id that was given before')
            self.catalogue.unique_ids.add(one)
            self.answered.append((row, surface, request, answer, names))
        except (Wrong, ValueError, KeyError) as why:
            self.fail(row, surface, request, why, answer)
        except (Closed, OSError) as why:
            self.fail(row, surface, request, f'{type(why).__name__} {why}')
            self.wire.close()

    def entries(self):
        """By request id what the backends wrote, once all that must come has come."""
        wanted = {one[3].field('x-request-id') for one in self.answered if one[0].backend}
        found = {}

        def all_came():
            for backend in self.cluster.backends.values():
                found.update((entry['id'], entry) for entry in backend.new_served())
            return wanted <= set(found)
        try:
            wait_for(all_came, 5)
        except AssertionError:
            pass  # the rows without an entry say which
        return found

    def check_backends(self):
        found = self.entries()
        for row, surface, request, answer, names in self.answered:
            entry = found.get(answer.field('x-request-id'))
            try:
                if row.backend:
                    want(entry, 'no backend was asked')
                    check_backend(row, request, entry, names)
                elif row.code:
                    want(not entry, 'a backend was asked')
            except Wrong as why:
                self.fail(row, surface, request, why, answer)

    def run(self, is_wanted):
        for backend in self.cluster.backends.values():
            backend.mark()
        if any(row.who in ('spent', 'dry') for row in self.rows):
            self.catalogue.spend()
        for row in self.rows:
            for surface in row.surfaces:
                if is_wanted(row):
                    self.ask(row, surface)
        self.wire.close()
        self.check_backends()
        assert not self.failed, f'{self.failed} failures in {self.count} requests'


def add_section(name):
    @test(f'contract.{name}.http1', seconds=120)
    def over_http1(cluster):
        Section(cluster, name, Http1(cluster)).run(lambda row: row.version != '2')

    @test(f'contract.{name}.http2', seconds=120)
    def over_http2(cluster):
        Section(cluster, name, Http2(cluster)).run(lambda row: row.version != '1')


for section in ('endpoints', 'keys', 'fields', 'order', 'http', 'headers', 'edits', 'cors', 'limits', 'third'):
    add_section(section)
