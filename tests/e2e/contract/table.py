"""Rows of the contract: what a line of a .rows file means as a request, and what its answer must be.

    where | who | request | answer | backend

where    eco, inf, both of them, oth, mod: which surfaces (the last two are sluice.yaml's own, harness/cluster.py); with .1 or .2 behind
         it: over HTTP/1.1, or HTTP/2, only.
who      whose key (suites/contract.py), or - for none.
request  METHOD PATH BODY ; Field: value ; …    ~ is the surface's prefix, $NAME an instance as name:id, #NAME
         its id, $key the key, \\xNN a byte. BODY: nothing; `chat` (to the model solo) or `chat @MODEL "more":1`;
         `form NAME=VALUE …` (@N: a file of N bytes); `depth N`, `fill N [chunked]`: a chat so deep, so
         long; `declare N`: only a content-length; anything else: itself. `fields N`, `field N`: so many further
         fields, one so long. `raw BYTES`: the connection's bytes, with ~ \\r \\n \\xNN.
answer   STATUS [code [param]] ; name: pattern ; name! (absent) ; body ~ pattern ; body !~ pattern ; closes
backend  what it got: same (byte for byte) ; body BODY ; path TEXT ; method TEXT ; model TEXT ; name: pattern ;
         name! ; include_usage ; came. Empty where the answer is a refusal: nothing came.
"""
import json
import os
import re

FOLDER = os.path.dirname(os.path.abspath(__file__))
BOUNDARY = 'contract-boundary'
CHAT = '{"model":%s,"messages":[{"role":"user","content":"hi"}]%s}'


def read_lines(name):
    """(line number, columns) of a table's rows."""
    with open(os.path.join(FOLDER, f'{name}.rows'), encoding='utf-8') as table:
        for number, line in enumerate(table, 1):
            if line.strip() and not line.startswith('#'):
                yield number, [column.strip() for column in line.rstrip('\n').split('|')]


class Code:
    def __init__(self, type, status, infer_status, infer_code, repeat):
        self.type = type
        self.status = {'eco': int(status), 'inf': int(infer_status), 'oth': int(infer_status),
                       'mod': int(status)}
        self.infer_code = infer_code
        self.repeat = repeat


CODES = {columns[0]: Code(*columns[1:]) for _, columns in read_lines('codes')}


class Row:
    def __init__(self, table, number, where, who, request, answer, backend=''):
        self.name = f'{table}.rows:{number}'
        where, _, version = where.partition('.')
        self.surfaces = {'both': ('eco', 'inf'), 'eco': ('eco',), 'inf': ('inf',), 'oth': ('oth',),
                         'mod': ('mod',)}[where]
        self.version = version  # the only one; empty: each
        self.who = who
        self.request_text, *self.field_texts = split(request)
        self.answer = split(answer)
        self.backend = split(backend)
        words = self.answer[0].split()
        self.status = int(words[0])
        self.code = words[1] if len(words) > 1 else None
        self.param = words[2] if len(words) > 2 else None
        assert self.code is None or self.status == CODES[self.code].status['eco'], f'{self.name}: wrong status'

    def status_on(self, surface):
        return CODES[self.code].status[surface] if self.code else self.status


def read(table):
    return [Row(table, number, *columns) for number, columns in read_lines(table)]


def split(text):
    return [part for part in re.split(r'\s+;\s+|^;\s+', text) if part]


class Names:
    """What stands for $NAME and #NAME, and a key."""

    def __init__(self, instances, key):
        self.instances = instances  # name -> name:id
        self.key = key or ''

    def put(self, text):
        text = re.sub(r'\$(key|[a-z]+(?:-[a-z]+)*)', lambda found: self.key if found[1] == 'key' else
                      self.instances[found[1]], text)
        return re.sub(r'#([a-z]+(?:-[a-z]+)*)', lambda found: self.instances[found[1]].split(':')[1], text)


def bytes_of(text):
    return re.sub(rb'\\x([0-9a-f]{2})', lambda found: bytes([int(found[1], 16)]), text.encode())


def form_of(words):
    body = b''
    for word in words:
        name, value = word.split('=', 1)
        extra, data = '', value.encode()
        if value.startswith('@'):
            extra, data = '; filename="a.mp3"\r\nContent-Type: audio/mpeg', bytes(range(256))
            data = (data * (int(value[1:]) // len(data) + 1))[:int(value[1:])]
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'
        body += head.encode() + data + b'\r\n'
    return body + f'--{BOUNDARY}--\r\n'.encode()


def body_of(text):
    """Bytes of a body, or None where there is none."""
    kind, _, rest = text.partition(' ')
    if not text:
        return None
    if kind == 'chat':
        model, more = re.fullmatch(r'(?:@(\S*))?\s*(.*)', rest).groups()
        return bytes_of(CHAT % (json.dumps('solo' if model is None else model), f',{more}' if more else ''))
    if kind == 'form':
        return form_of(rest.split())
    if kind == 'depth':
        return bytes_of(CHAT % ('"solo"', ',"x":' + '[' * (int(rest) - 1) + ']' * (int(rest) - 1)))
    if kind == 'fill':
        empty = len(CHAT % ('"solo"', ',"x":""'))
        return bytes_of(CHAT % ('"solo"', ',"x":"' + 'y' * (int(rest.split()[0]) - empty) + '"'))
    return bytes_of(text)


class Request:
    """A row's request on one surface. raw: bytes instead of all else. declared: a length that nothing follows."""

    def __init__(self, row, prefix, names):
        text = names.put(row.request_text)
        self.raw = self.declared = self.body = None
        self.method, _, rest = text.partition(' ')
        self.fields = []
        if self.method == 'raw':
            self.raw = bytes_of(rest.replace('~', prefix, 1).replace('\\r', '\r').replace('\\n', '\n'))
            self.method = 'GET'
            return
        path, _, body = rest.partition(' ')
        path = re.sub(r'\?(\d+)$', lambda found: '?' + 'x' * int(found[1]), path)
        self.path = path.replace('~', prefix, 1)
        self.is_chunked = body.startswith('fill') and body.endswith('chunked')
        if body.startswith('declare '):
            self.declared = int(body.split()[1])
        else:
            self.body = body_of(body)
        for field in row.field_texts:
            self.add_field(names.put(field))
        if (self.body is not None or self.declared) and not self.has('content-type'):
            self.fields.append(('Content-Type', f'multipart/form-data; boundary={BOUNDARY}'
                                if body.startswith('form ') else 'application/json'))

    def add_field(self, text):
        many = re.fullmatch(r'fields (\d+)', text)
        long = re.fullmatch(r'field (\d+)', text)
        if many:
            self.fields += [(f'x-{number}', 'a') for number in range(int(many[1]))]
        elif long:
            self.fields.append((f'x-long-{len(self.fields)}', 'y' * int(long[1])))
        else:
            name, value = text.split(':', 1)
            self.fields.append((name, value.strip()))

    def has(self, name):
        return any(field.lower() == name for field, _ in self.fields)

    def __str__(self):
        if self.raw is not None:
            return repr(self.raw)
        fields = ' '.join(f'[{name}: {value[:90]}]' for name, value in self.fields)
        return f'{self.method} {self.path[:200]} {fields} {(self.body or b"")[:300]!r}'
