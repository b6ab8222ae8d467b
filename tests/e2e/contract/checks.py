"""What every answer must be, and what a row says of its own answer."""
import re
import time
import zlib

from contract.table import CODES, body_of
from harness.backend import header

ID = re.compile(r'[0-9a-f]{32}')
NUMBER = re.compile(r'\d+')
DURATION = re.compile(r'\d{1,3}ms|\d+s|\d+m\d{1,2}s')
PREFIXES = {'eco': 'x-ecolink-', 'inf': 'x-infer-', 'oth': 'x-other-', 'mod': 'x-mod-'}
WITH_CODES = ('inf', 'oth')  # errors: codes
WITH_UNIX_TIME = ('inf',)   # reset: unix
KEYS_WITH_TOKENS = ('metered', 'dry')
WITH_OVERHEAD = ('oth',)    # overhead: yes
# Never shown: what a backend says of itself and of its connection.
HIDDEN = ('keep-alive', 'trailer', 'set-cookie')
HIDDEN_UNLESS_VERBATIM = ('server', 'x-sim-region')


class Wrong(Exception):
    pass


def want(condition, what):
    if not condition:
        raise Wrong(what)


def check_fields(answer, surface, is_verbatim):
    names = [name for name, _ in answer.fields]
    want(len(names) == len(set(names)), f'a field stands twice: {names}')
    for name in HIDDEN + (() if is_verbatim else HIDDEN_UNLESS_VERBATIM):
        want(name not in names, f'{name} is shown')
    overhead = answer.field('x-sluice-overhead-us')
    want((overhead is not None) == (surface in WITH_OVERHEAD), f'x-sluice-overhead-us: {overhead}')
    want(overhead is None or NUMBER.fullmatch(overhead), f'x-sluice-overhead-us: {overhead}')
    want('content-length' not in names or 'transfer-encoding' not in names, 'two lengths')
    want(ID.fullmatch(answer.field('x-request-id') or ''), 'no x-request-id')
    want(answer.field(PREFIXES[surface] + 'request-id') == answer.field('x-request-id'), 'two request ids')


def check_tokens(answer, has_limits):
    for name in ('limit', 'remaining', 'reset'):
        value = answer.field(f'x-ratelimit-{name}-tokens')
        want((value is not None) == has_limits, f'x-ratelimit-{name}-tokens: {value}')
        want(not has_limits or (DURATION if name == 'reset' else NUMBER).fullmatch(value), f'{name}-tokens: {value}')


def check_limits(answer, surface, has_limits):
    """Families; the short one's reset is seconds left on one surface and Unix time on the other."""
    names = [f'x-ratelimit-{name}{family}' for family in ('', '-requests')
             for name in ('limit', 'remaining', 'reset')]
    for name in names:
        want((answer.field(name) is not None) == has_limits, f'{name}: {answer.field(name)}')
    if not has_limits:
        return
    want(DURATION.fullmatch(answer.field('x-ratelimit-reset-requests')), 'reset-requests is no duration')
    want(answer.field('x-ratelimit-limit') == answer.field('x-ratelimit-limit-requests'), 'two limits')
    want(0 <= int(answer.field('x-ratelimit-remaining')) <= 100_000_000, 'remaining')
    reset = int(answer.field('x-ratelimit-reset')) - (int(time.time()) if surface in WITH_UNIX_TIME else 0)
    want(-2 <= reset <= 3600, f'x-ratelimit-reset: {answer.field("x-ratelimit-reset")}')


def check_repeat(answer, repeat):
    should = answer.field('x-should-retry')
    want(should == {'no': 'false', 'soon': 'true'}.get(repeat), f'x-should-retry: {should}')
    after, after_ms = answer.field('retry-after'), answer.field('retry-after-ms')
    if repeat not in ('later', 'soon'):
        want(after is None and after_ms is None, f'retry-after: {after}')
        return
    want(after is not None and after_ms is not None, 'no retry-after')
    want(1 <= int(after) <= 60 and 0 < int(after_ms) <= 60000, f'retry-after: {after}, {after_ms}')
    want((int(after_ms) + 999) // 1000 == int(after), f'retry-after: {after}, but {after_ms} ms')


def check_refusal(answer, surface, code, param):
    """The body's form on either surface; nothing else stands in it."""
    known = CODES[code]
    want(answer.field('content-type') == 'application/json', 'content-type')
    body = answer.json()
    if surface in WITH_CODES:
        want(set(body) == {'error'}, f'members {set(body)}')
        error = body['error']
        want(set(error) == {'code', 'message', 'details'}, f'members of error: {set(error)}')
        want(error['code'] == known.infer_code, f'code {error["code"]}, not {known.infer_code}')
        want(not param or error['details'] == {'field': param}, f'details {error["details"]}')
    else:
        want(set(body) == {'error', 'message'}, f'members {set(body)}')
        error = body['error']
        want(set(error) == {'message', 'type', 'param', 'code'}, f'members of error: {set(error)}')
        want(error['code'] == code, f'code {error["code"]}, not {code}')
        want(error['type'] == known.type, f'type {error["type"]}')
        want(not param or error['param'] == param, f'param {error["param"]}')
        want(body['message'] == error['message'], 'two messages')
    want(error['message'], 'no message')
    check_repeat(answer, known.repeat)


def check_answer(row, surface, answer, names, has_limits):
    want(answer.status == row.status_on(surface), f'status {answer.status}')
    check_fields(answer, surface, '/proxy/' in row.request_text)
    if row.request_text.split()[1] not in ('/healthz', '/readyz') or row.code:
        check_limits(answer, surface, has_limits)
        check_tokens(answer, has_limits and row.who in KEYS_WITH_TOKENS)
    if row.code and not row.request_text.startswith('HEAD'):
        check_refusal(answer, surface, row.code, row.param)
    for part in row.answer[1:]:
        check_part(part, answer, surface, names)


def check_part(part, answer, surface, names):
    found = re.fullmatch(r'body (!?)~ (.*)', part)
    if found:
        # A name is meant as it stands, the rest is the pattern.
        pattern = re.sub(r'[$#][a-z]+(?:-[a-z]+)*', lambda name: re.escape(names.put(name[0])), found[2])
        pattern = re.sub(r'^(\^?)\{', r'\1\\{', pattern)
        want(bool(re.search(pattern.encode(), answer.body)) != bool(found[1]), part)
    elif part != 'closes':
        check_field(part, lambda name: [answer.field(PREFIXES[surface] + name if name == 'region' else name)])


def check_field(part, values_of):
    """`name!` or `name: pattern` of one field."""
    if part.endswith('!'):
        values = [value for value in values_of(part[:-1]) if value is not None]
        want(not values, f'{part[:-1]}: {values}')
        return
    name, pattern = part.split(': ', 1)
    values = [value for value in values_of(name) if value is not None]
    want(len(values) == 1 and re.fullmatch(pattern, values[0]), f'{name}: {values}, not {pattern}')


def check_bytes(entry, body):
    want(entry['request_bytes'] == len(body), f'the backend got {entry["request_bytes"]} bytes of {len(body)}')
    want(entry['request_crc32'] == f'{zlib.crc32(body):08x}', 'the backend got other bytes')


def check_backend(row, request, entry, names):
    """entry: what the backend wrote of this request."""
    for part in row.backend:
        kind, _, rest = part.partition(' ')
        if part == 'same':
            check_bytes(entry, request.body)
        elif kind == 'body':
            check_bytes(entry, body_of(names.put(rest)))
        elif kind in ('path', 'method', 'model'):
            want(entry[kind] == names.put(rest), f'the backend\'s {kind} is {entry[kind]}')
        elif part == 'include_usage':
            want(entry['include_usage'], 'usage was not asked for')
        elif part != 'came':
            check_field(part, lambda name: header(entry, name))
    for _, value in entry['headers']:
        want(not names.key or names.key not in value, 'the client\'s key reached the backend')
