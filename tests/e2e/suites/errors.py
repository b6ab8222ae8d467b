"""Refusals as refusal.def and admit.h have them: status, body, headers, order of checks; what the backend is sent."""
import json
import re
from contextlib import suppress

from harness.backend import header
from harness.client import CHAT, Closed, chat, sim
from harness.proc import wait_for
from harness.suite import test

DURATION = re.compile(r'^(\d+h)?(\d+m)?(\d+(\.\d+)?s)?$|^\d+ms$')
ID = re.compile(r'^[0-9a-f-]{32,36}$')


def refused(cluster, status, code, method='POST', path=CHAT, key='main', body=None, param=None, type=None,
            fields=()):
    with cluster.client() as client:
        answer = client.request(method, path, cluster.keys.get(key, key), body, fields)
    assert answer.status == status, f'{method} {path}: {answer}'
    error = answer.json()['error']
    assert error['code'] == code, f'{code} was expected: {answer}'
    if path.startswith('/api/'):
        assert set(error) == {'code', 'message', 'details'} and isinstance(error['details'], dict), error
    else:
        assert answer.json()['message'] == error['message'] and error['message'], answer
        assert param is None or error['param'] == param, f'param {param}: {error}'
        assert type is None or error['type'] == type, error
    assert answer.field('content-type').startswith('application/json')
    assert ID.match(answer.field('x-request-id') or ''), 'no x-request-id'
    own = 'x-infer-request-id' if path.startswith('/api/') else 'x-ecolink-request-id'
    assert answer.field('x-request-id') == answer.field(own)
    return answer


@test('errors.validation')
def validation(cluster):
    bad = 'invalid_request_error'
    wrong = (
        ('model', 'missing_field', {'messages': [{'role': 'user', 'content': 'x'}]}),
        ('model', 'invalid_value', chat(model=7)),
        ('messages', 'missing_field', {'model': 'sim'}),
        ('messages', 'invalid_value', {'model': 'sim', 'messages': []}),
        ('messages', 'invalid_value', {'model': 'sim', 'messages': 'hello'}),
        ('max_tokens', 'invalid_value', chat(max_tokens=0)),
        ('max_tokens', 'invalid_value', chat(max_tokens=1.5)),
        ('max_completion_tokens', 'invalid_value', chat(max_completion_tokens=-1)),
        ('n', 'invalid_value', chat(n=0)),
        ('temperature', 'invalid_value', chat(temperature=2.5)),
        ('top_p', 'invalid_value', chat(top_p=-0.1)),
        ('presence_penalty', 'invalid_value', chat(presence_penalty=3)),
        ('frequency_penalty', 'invalid_value', chat(frequency_penalty='0')),
        ('stream', 'invalid_value', chat(stream='true')),
        ('stop', 'invalid_value', chat(stop=[1])),
        ('seed', 'invalid_value', chat(seed=1.5)),
        ('response_format', 'invalid_value', chat(response_format='json')),
        ('tools', 'invalid_value', chat(tools={})),
        ('tool_choice', 'invalid_value', chat(tool_choice=1)),
        ('model', 'duplicate_field', b'{"model":"sim","messages":[{}],"model":"solo"}'),
        ('model', 'duplicate_field', b'{"model":"sim","messages":[{}],"mod\\u0065l":"solo"}'),
        ('max_tokens', 'duplicate_field', b'{"model":"sim","messages":[{}],"max_tokens":1,"max_tokens":9}'),
    )
    for param, code, body in wrong:
        refused(cluster, 400, code, body=body, param=param, type=bad)
    for body in (b'', b'{', b'[]', b'"x"', b'{"model":"sim",}', b'{"model":"sim"} {}', b'{"model":"\xff"}',
                 b'{"a":' + b'[' * 200 + b']' * 200 + b'}', b'{"model":01}', b'nul'):
        refused(cluster, 400, 'invalid_json', body=body, type=bad)
    with cluster.client() as client:
        for body in (chat(temperature=None, max_tokens=None, stop=None), chat(temperature=2, top_p=1, n=1),
                     chat(stop=['a'], seed=-5, tools=[], tool_choice='auto', response_format={}, x={'a': 1})):
            assert client.ask(cluster.key, body).status == 200, body


@test('errors.keys')
def keys(cluster):
    kind = 'authentication_error'
    for key in (None, 'eco_unknown', 'sk-other', '', 'eco_' + 'x' * 500, cluster.keys['infer']):
        refused(cluster, 401, 'invalid_api_key', key=key, body=chat(), type=kind)
    foreign = chat(model=cluster.instances['my-llama'])
    refused(cluster, 401, 'not_instance_owner', key='other', body=foreign, type=kind)
    basic = [('Authorization', f'Basic {cluster.key}')]
    refused(cluster, 401, 'invalid_api_key', key=None, fields=basic, body=chat(), type=kind)
    twice = [('Authorization', f'Bearer {cluster.key}')]
    with cluster.client() as client:
        answer = client.ask(cluster.key, chat(), twice)
        assert answer.status in (400, 401), f'two keys: {answer}'
    gone = cluster.new_key()
    refused(cluster, 404, 'model_not_found', key=gone, body=chat(model='none'), param='model')
    cluster.revoke(gone)
    with cluster.client() as client:
        wait_for(lambda: client.request('POST', CHAT, gone, chat()).status == 401, 1, 'a revoked key works')


@test('errors.money')
def money(cluster):
    kind = 'insufficient_quota'
    poor = refused(cluster, 402, 'insufficient_balance', key='poor', body=chat(), type=kind)
    assert poor.field('x-should-retry') == 'false'
    free = refused(cluster, 402, 'model_not_priced', body=chat(model='unpriced'), type=kind)
    assert free.field('x-should-retry') == 'false'


@test('errors.paths')
def paths(cluster):
    refused(cluster, 404, 'not_found', 'GET', '/v1/nothing')
    refused(cluster, 401, 'invalid_api_key', 'GET', '/v1/nothing', key=None)
    refused(cluster, 404, 'model_not_found', body=chat(model='none'), param='model')
    misnamed = chat(model='other:' + cluster.instances['my-llama'].split(':')[1])
    refused(cluster, 404, 'model_not_found', body=misnamed, param='model')
    wrong = refused(cluster, 405, 'method_not_allowed', 'GET', CHAT)
    assert wrong.field('allow') == 'POST', wrong.field('allow')
    large = [('Content-Length', str(33 << 20)), ('Content-Type', 'application/json')]
    with cluster.client() as client:
        client.send(client.head('POST', CHAT, cluster.key, large))
        answer = client.read_head()
        client.read_body(answer)
        assert answer.status == 413 and answer.json()['error']['code'] == 'payload_too_large', answer
        assert answer.field('x-should-retry') == 'false'
    refused(cluster, 503, 'no_healthy_region', body=chat(model='dead'), type='server_error')
    for path in ('/healthz', '/readyz'):
        with cluster.client() as client:
            assert client.request('GET', path).status == 200


@test('errors.infer')
def infer(cluster):
    path = '/api' + CHAT
    with cluster.client() as client:
        answer = client.request('POST', path, cluster.keys['infer'], chat(sim('tokens=4')))
        assert answer.status == 200 and answer.json()['usage']['completion_tokens'] == 4
        assert int(answer.field('x-ratelimit-reset')) > 1_600_000_000, 'Unix time on this surface'
    refused(cluster, 401, 'UNAUTHORIZED', path=path, key='main', body=chat())
    refused(cluster, 422, 'INVALID_JSON', path=path, key='infer', body=b'{')
    refused(cluster, 400, 'VALIDATION_ERROR', path=path, key='infer', body={'model': 'sim'})
    refused(cluster, 404, 'NOT_FOUND', path=path, key='infer', body=chat(model='none'))
    refused(cluster, 405, 'METHOD_NOT_ALLOWED', 'GET', path, key='infer')
    refused(cluster, 413, 'PAYLOAD_TOO_LARGE', path=path, key='infer', body=chat('x' * (1 << 20)))
    refused(cluster, 503, 'SERVICE_UNAVAILABLE', path=path, key='infer', body=chat(model='dead'))


@test('errors.headers-to-the-client')
def headers_to_the_client(cluster):
    """Of a plan with a burst of 60, and one more a minute."""
    key = cluster.new_key(plan='burst')
    with cluster.client() as client:
        answers = [client.ask(key, chat(sim('tokens=1'))) for _ in range(3)]
    ids = set()
    for answer in answers:
        assert answer.field('x-ecolink-region') == 'mv', answer.fields
        assert ID.match(answer.field('x-request-id'))
        assert answer.field('x-request-id') == answer.field('x-ecolink-request-id')
        ids.add(answer.field('x-request-id'))
        for name in ('limit', 'remaining', 'reset'):
            assert answer.field(f'x-ratelimit-{name}') is not None, name
            assert answer.field(f'x-ratelimit-{name}-requests') is not None, name
        assert DURATION.match(answer.field('x-ratelimit-reset-requests'))
        assert answer.field('x-sluice-overhead-us') is None, 'off by default'
        names = [name for name, _ in answer.fields]
        assert len(names) == len(set(names)), f'a field stands twice: {names}'
    assert len(ids) == 3
    left = [int(answer.field('x-ratelimit-remaining-requests')) for answer in answers]
    assert left == [59, 58, 57], left


@test('errors.headers-to-the-backend')
def headers_to_the_backend(cluster):
    backend = cluster.backends['solo']
    backend.mark()
    trace = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
    sent = [('X-Forwarded-For', '6.6.6.6'), ('X-Forwarded-Proto', 'http'), ('TE', 'trailers'),
            ('Connection', 'keep-alive, x-private'), ('x-private', 'secret'), ('traceparent', trace),
            ('x-request-id', 'chosen-by-the-client')]
    with cluster.client() as client:
        first = client.ask(cluster.key, chat(model='solo'), sent)
        second = client.ask(cluster.key, chat(model='solo'))
    entries = backend.wait_served(2)
    for entry, answer in zip(entries, (first, second)):
        assert entry['id'] == answer.field('x-request-id') != 'chosen-by-the-client'
        assert len(header(entry, 'host')) == 1 and header(entry, 'host')[0].startswith('10.77.0.1'), entry
        assert cluster.key not in str(entry), 'the client\'s key reached the backend'
        for name in ('authorization', 'x-forwarded-for', 'x-forwarded-proto', 'x-private', 'te'):
            assert not header(entry, name), f'{name} reached the backend'
        assert header(entry, 'content-type') == ['application/json']
        assert len(header(entry, 'traceparent')) == 1
    assert header(entries[0], 'traceparent')[0][:35] == trace[:35], 'the trace was not kept'
    assert re.match(r'^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$', header(entries[1], 'traceparent')[0])


@test('errors.cut-streams')
def cut_streams(cluster):
    """The event that ends a stream whose backend was lost is a refusal in its surface's form."""
    body = chat(sim('tokens=50 reset_after=5'), model='fault', stream=True)
    for path, surface, code in ((CHAT, 'ecolink', 'upstream_failed'), ('/api' + CHAT, 'infer', 'BAD_GATEWAY'),
                                ('/other/v2/chat/completions', 'third', 'BAD_GATEWAY')):
        key = cluster.new_key('main', 'wide', surface)

        def cut():
            with cluster.client() as client:
                answer = client.start('POST', path, key, body)
                if answer.status != 200:
                    return None  # the key is on its way, or the pod is out after the round before
                with suppress(Closed):
                    client.read_body(answer)
                return answer
        answer = wait_for(cut, 15, 'the stream does not begin')
        events = answer.body.split(b'\n\n')
        assert not answer.complete and b'[DONE]' not in answer.body, answer
        assert events[-1] == b'' and events[-2].startswith(b'data: {"error":'), events[-2:]
        last = json.loads(events[-2][6:])
        assert last['error']['code'] == code, last
        if surface == 'ecolink':
            assert set(last['error']) == {'message', 'type', 'param', 'code'} and last['error']['type'] == 'server_error'
        else:
            assert set(last) == {'error'} and set(last['error']) == {'code', 'message', 'details'}, last
