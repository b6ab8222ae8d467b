"""Attacks on HTTP/1.1 (tests/README.md T45-T63) as rows: bytes in, statuses out.

A row is what a client sends. Behind it goes SECOND, a whole request that would reach a backend. Where the
row is refused, the connection ends and SECOND is nobody's; where it is answered, SECOND is answered, too:
so each row also says where the router believes that the row's request ended.
"""

CHAT = '/v1/chat/completions'
# Of a fixed text, since it stands in bodies whose lengths are told.
KEY = b'eco_attacker-0123456789-0123456789'
BODY = b'{"model":"solo","messages":[{"role":"user","content":"x [[sim tokens=1]]"}]}'


class Row:
    def __init__(self, threat, name, data, statuses, goes_on, split=None):
        self.threat = threat
        self.name = name
        self.data = data
        self.statuses = statuses  # of the answers, SECOND's included if the connection goes on
        self.goes_on = goes_on
        self.split = split  # sent in pieces of this many bytes

    def __repr__(self):
        return f'{self.threat} {self.name}'


def request(*fields, line=b'POST ' + CHAT.encode() + b' HTTP/1.1', host=b'Host: edge', key=KEY, body=b'',
            end=b'\r\n'):
    """A request out of raw parts; None leaves a part out."""
    lines = [line]
    if host is not None:
        lines.append(host)
    if key is not None:
        lines.append(b'Authorization: Bearer ' + key)
    lines += fields
    return end.join(lines) + end + end + body


def with_length(*fields, body=BODY, **more):
    return request(*fields, b'Content-Type: application/json', b'Content-Length: %d' % len(body), body=body, **more)


def chunked(wire, *fields, **more):
    return request(*fields, b'Transfer-Encoding: chunked', body=wire, **more)


def chunk(data=BODY, size=None, extension=b'', end=b'\r\n', behind=b'\r\n'):
    return (b'%x' % len(data) if size is None else size) + extension + end + data + behind


GET = dict(line=b'GET /v1/models HTTP/1.1')
LAST = b'0\r\n\r\n'
SECOND = with_length()

rows = []


def bad(threat, name, data, status=400, **more):
    rows.append(Row(threat, name, data, [status], False, **more))


def fine(threat, name, data, *statuses, **more):
    rows.append(Row(threat, name, data, [*(statuses or (200,)), 200], True, **more))


def closes(threat, name, data, *statuses, **more):
    """Answered, and the connection ends as it should."""
    rows.append(Row(threat, name, data, list(statuses), False, **more))


# ---- T45: length and coding together

SMUGGLED = b'0\r\n\r\n' + SECOND
bad('T45', 'length, coding', request(b'Content-Length: 5', b'Transfer-Encoding: chunked', body=LAST))
bad('T45', 'coding, length', request(b'Transfer-Encoding: chunked', b'Content-Length: 5', body=LAST))
bad('T45', 'length of zero, coding', request(b'Content-Length: 0', b'Transfer-Encoding: chunked', body=LAST))
bad('T45', 'a request in the gap of CL.TE',
    request(b'Content-Length: %d' % len(SMUGGLED), b'Transfer-Encoding: chunked', body=SMUGGLED))
bad('T45', 'a request in the gap of TE.CL',
    request(b'Content-Length: 4', b'Transfer-Encoding: chunked', body=chunk(SECOND) + LAST))
bad('T45', 'in one piece per byte', request(b'Content-Length: 5', b'Transfer-Encoding: chunked', body=LAST), split=1)
bad('T45', 'coding in odd letters', request(b'content-length: 5', b'tRaNsFeR-eNcOdInG: ChUnKeD', body=LAST))
bad('T45', 'unknown coding and length', request(b'Content-Length: 5', b'Transfer-Encoding: x', body=LAST), 501)
bad('T45', 'on a GET', request(b'Content-Length: 5', b'Transfer-Encoding: chunked', body=LAST, **GET))

# ---- T46: lengths

for value in (b'5, 5', b'5,5', b'5 5', b'5,6', b'+5', b'-5', b'-0', b'0x5', b'0b1', b'05', b'005', b'5.0', b'5e0',
              b'', b' ', b'5;', b'"5"', b'5_0', b'five', b'\xd9\xa5', b'9223372036854775808', b'18446744073709551615',
              b'18446744073709551621', b'99999999999999999999999999999', b'5\t', b'\t5', b'5\x0b', b'5\x00'):
    bad('T46', f'length {value!r}', request(b'Content-Length: ' + value, body=b'xxxxx'))
bad('T46', 'two equal lengths', request(b'Content-Length: 5', b'Content-Length: 5', body=b'xxxxx'))
bad('T46', 'two lengths', request(b'Content-Length: 5', b'Content-Length: 6', body=b'xxxxxx'))
bad('T46', 'two lengths in odd letters', request(b'CONTENT-LENGTH: 5', b'content-length: 6', body=b'xxxxxx'))
bad('T46', 'a length with a space before the colon', request(b'Content-Length : 5', body=b'xxxxx'))
bad('T46', 'a length on two lines', request(b'Content-Length:', b' 5', body=b'xxxxx'))
closes('T46', 'the longest length of all', request(b'Content-Length: 9223372036854775807', body=SECOND * 900), 413)
fine('T46', 'a name that only looks like it', with_length(b'Content_Length: 3', b'Content-Lengt: 4'))
fine('T46', 'zero', request(b'Content-Length: 0'), 400)

# ---- T47: codings

for value in (b'xchunked', b'chunkedx', b'chunked,chunked', b'chunked, chunked', b',chunked', b'chunked,', b', chunked',
              b'gzip, chunked', b'chunked, gzip', b'identity', b'chunked;q=1', b'"chunked"', b"'chunked'", b'',
              b'chunked chunked', b'gzip', b'deflate', b'trailers', b'chunke', b'c hunked'):
    bad('T47', f'coding {value!r}', request(b'Transfer-Encoding: ' + value, body=LAST), 501)
for value in (b'\tchunked', b'chunked\t', b'\x0bchunked', b'chunked\x0b', b'\xa0chunked', b'chunked\x00', b'\x0cchunked',
              b'chunked\x0c', b'\xe2\x80\x8bchunked'):
    bad('T47', f'coding {value!r}', request(b'Transfer-Encoding: ' + value, body=LAST))
bad('T47', 'twice', request(b'Transfer-Encoding: chunked', b'Transfer-Encoding: chunked', body=LAST))
bad('T47', 'chunked and identity', request(b'Transfer-Encoding: chunked', b'Transfer-Encoding: identity', body=LAST))
bad('T47', 'space before the colon', request(b'Transfer-Encoding : chunked', body=LAST))
bad('T47', 'space before the name', request(b'X: y', b' Transfer-Encoding: chunked', body=LAST))
bad('T47', 'behind a bare CR', request(b'X: y\rTransfer-Encoding: chunked', body=LAST))
bad('T47', 'behind a bare LF', request(b'X: y\nTransfer-Encoding: chunked', body=LAST))
bad('T47', 'name and colon on two lines', request(b'Transfer-Encoding', b': chunked', body=LAST))
bad('T47', 'in HTTP/1.0',
    request(b'Transfer-Encoding: chunked', line=b'POST /v1/chat/completions HTTP/1.0', body=LAST))
fine('T47', 'in capitals', chunked(chunk() + LAST).replace(b'chunked', b'CHUNKED'))

# ---- T48: chunks

for size in (b'0x5', b'+5', b'-5', b'5_', b' 5', b'5 ', b'5\t', b'', b'g', b'5g', b'5,5', b'0 ', b'\x00', b'1' * 17,
             b'ffffffffffffffff', b'8000000000000000', b'0000000000000005', b'5\x0b', b'5\r', b'five', b'5.', b'5;',
             b'5; a', b'5;a=', b'5;a=b c', b'5;a="b', b'5;a\x00', b'5;a\x7f', b'5;=b', b'5;;', b'5;\xc3\xa9'):
    bad('T48', f'size {size[:20]!r}', chunked(size + b'\r\nhello\r\n' + LAST))
bad('T48', 'bare LF behind the size', chunked(chunk(end=b'\n') + LAST))
bad('T48', 'CR alone behind the size', chunked(chunk(end=b'\r') + LAST))
bad('T48', 'bare LF behind the data', chunked(chunk(behind=b'\n') + LAST))
bad('T48', 'CR X behind the data', chunked(chunk(behind=b'\rX') + LAST))
bad('T48', 'nothing behind the data', chunked(chunk(behind=b'') + LAST))
bad('T48', 'one byte too many', chunked(chunk(b'hello', size=b'4') + LAST))
bad('T48', 'a last chunk that ends with LF', chunked(chunk() + b'0\n\n'))
bad('T48', 'a request behind a bare LF in an extension', chunked(b'2;\n\r\n' + SECOND + LAST))
bad('T48', 'extensions of 257 bytes', chunked(chunk(extension=b';' + b'a' * 257) + LAST))
bad('T48', 'extensions of 70,000 bytes', chunked(chunk(extension=b';' + b'a' * 70000) + LAST))
bad('T48', 'extensions of 129 bytes twice',
    chunked(chunk(BODY[:5], extension=b';' + b'a' * 129) + chunk(BODY[5:], extension=b';' + b'b' * 129) + LAST))
fine('T48', 'extensions of 256 bytes', chunked(chunk(extension=b';' + b'a' * 256) + LAST))
fine('T48', 'an extension in quotes', chunked(chunk(extension=b';a="b;\\"\t";c=d;e') + LAST))
fine('T48', 'a chunk per byte', chunked(b''.join(chunk(BODY[i:i + 1]) for i in range(len(BODY))) + LAST))
fine('T48', 'leading zeros', chunked(chunk(size=b'%015x' % len(BODY)) + b'000\r\n\r\n'))
fine('T48', 'in one piece per byte', chunked(chunk(extension=b';a=b') + LAST), split=1)

# ---- T49: lines (every octet at every kind of place: attacks.every-octet)

bad('T49', 'fold with a space', with_length(b'X: y', b' z'))
bad('T49', 'fold with a tab', with_length(b'X: y', b'\tz'))
bad('T49', 'fold of the first field', request(b'X: y', line=b'GET /v1/models HTTP/1.1\r\n z'))
bad('T49', 'space before the colon', with_length(b'X : y'))
bad('T49', 'tab before the colon', with_length(b'X\t: y'))
bad('T49', 'empty name', with_length(b': y'))
bad('T49', 'no colon', with_length(b'X'))
bad('T49', 'high byte in a name', with_length(b'X\xc3\xa9: y'))
bad('T49', 'bare LF for all lines', with_length(end=b'\n'))
bad('T49', 'CR alone for all lines and then a line', with_length(end=b'\r') + b'\n\r\n')
bad('T49', 'LF CR', with_length(end=b'\n\r'))
bad('T49', 'bare LF at the end of the head', with_length().replace(b'\r\n\r\n', b'\r\n\n'))
bad('T49', 'NUL in a value', with_length(b'X: y\0z'))
bad('T49', 'three empty lines before', b'\r\n\r\n\r\n' + with_length())
bad('T49', 'a bare LF before', b'\n' + with_length())
bad('T49', 'a space before', b' ' + with_length())
fine('T49', 'two empty lines before', b'\r\n\r\n' + with_length())
fine('T49', 'an empty value', with_length(b'X:', b'Y: ', b'Z:\t'))

# ---- T50: expectations, and bodies that nobody wants

FAR = request(b'Content-Length: 10000000', key=b'eco_unknown', body=SECOND * 1300)
rows.append(Row('T50', 'refused early with a long body behind it', FAR, [401], False))
fine('T50', 'refused early with a short body', with_length(key=b'eco_unknown', body=SECOND), 401)
closes('T50', 'refused early with chunks', chunked(chunk(SECOND) + LAST, key=b'eco_unknown'), 401)
fine('T50', '100-continue', with_length(b'Expect: 100-continue'))
fine('T50', '100-continue in odd letters', with_length(b'expect: 100-Continue'))
closes('T50', '100-continue and refused', with_length(b'Expect: 100-continue', key=b'eco_unknown', body=SECOND), 401)
bad('T50', 'another expectation', with_length(b'Expect: 200-ok'), 417)
bad('T50', 'an expectation in words', with_length(b'Expect: 100-continue, x'), 417)
bad('T50', 'two expectations', with_length(b'Expect: 100-continue', b'Expect: y'), 417)
fine('T50', 'an expectation of a GET', request(b'Expect: 100-continue', **GET))
fine('T50', 'an expectation in HTTP/1.0',
     with_length(b'Expect: 100-continue', b'Connection: keep-alive', line=b'POST /v1/chat/completions HTTP/1.0'))
bad('T50', 'chunks that break inside a body nobody reads', chunked(b'5\r\nhelloX', key=b'eco_unknown'), 401)

# ---- T51: tunnels

fine('T51', 'upgrade to h2c', request(b'Connection: Upgrade, HTTP2-Settings', b'Upgrade: h2c', b'HTTP2-Settings: AAMAAABk',
                                      **GET))
fine('T51', 'upgrade to WebSocket', request(b'Connection: upgrade', b'Upgrade: websocket', b'Sec-WebSocket-Version: 13',
                                            b'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==', **GET))
fine('T51', 'upgrade with a body', with_length(b'Connection: upgrade', b'Upgrade: x'))
bad('T51', 'upgrade with length and coding',
    request(b'Connection: upgrade', b'Upgrade: x', b'Content-Length: 5', b'Transfer-Encoding: chunked', body=LAST))
bad('T51', 'CONNECT', request(line=b'CONNECT edge:443 HTTP/1.1'))
bad('T51', 'CONNECT to a path', request(line=b'CONNECT 10.77.0.1:9004 HTTP/1.1'))
fine('T51', 'CONNECT of a path', request(line=b'CONNECT /v1/models HTTP/1.1'), 405)
bad('T51', 'CONNECT with a body', with_length(line=b'CONNECT /v1/models HTTP/1.1'))
bad('T51', 'CONNECT with chunks', chunked(LAST, line=b'CONNECT /v1/models HTTP/1.1'))
fine('T51', 'TRACE', request(line=b'TRACE /v1/models HTTP/1.1'), 405)
bad('T51', 'preface of HTTP/2', b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
bad('T51', 'preface as HTTP/1.1', b'PRI * HTTP/1.1\r\n\r\nSM\r\n\r\n')
bad('T51', 'HTTP/3', request(line=b'GET /v1/models HTTP/3.0'), 505)
bad('T51', 'HTTP/0.9', b'GET /v1/models\r\n\r\n')
bad('T51', 'HTTP/1.2', request(line=b'GET /v1/models HTTP/1.2'), 505)
bad('T51', 'RTSP', request(line=b'OPTIONS * RTSP/1.0'))

# ---- T53: hosts and targets

for host in (None, b'Host:', b'Host: ', b'Host: a b', b'Host: a,b', b'Host: user@edge', b'Host: edge/', b'Host: edge?x',
             b'Host: edge#x', b'Host: http://edge', b'Host: edge\\x', b'Host: \xc3\xa9', b'Host: %65dge', b'Host: "edge"',
             b'Host : edge', b'Host: edge;x'):
    bad('T53', f'{host!r}', request(host=host, **GET))
bad('T53', 'two hosts', request(b'Host: other', **GET))
bad('T53', 'two equal hosts', request(b'Host: edge', **GET))
bad('T53', 'two hosts in odd letters', request(b'hOST: other', **GET))
for target in (b'http://edge/v1/models', b'https://10.77.0.1:9004/v1/models', b'HTTP://edge/v1/models', b'edge/v1/models',
               b'edge:443', b'//', b'*', b'v1/models', b'\\v1\\models', b'/v1/models#x', b'/v1/mod\x01els', b'/v1/mod els',
               b'/v1/models\x7f', b'/v1/mod\xc3\xa9ls', b'?x', b'#', b'http://user@edge/v1/models'):
    row = request(line=b'GET ' + target + b' HTTP/1.1')
    fine('T53', f'target {target!r}', row, 404) if target == b'//' else bad('T53', f'target {target!r}', row)
fine('T53', 'a host with a port', request(host=b'Host: edge:443', **GET))
fine('T53', 'a host of IPv6', request(host=b'Host: [fd77::2]:443', **GET))
fine('T53', 'another host', request(host=b'Host: elsewhere.example', **GET))
fine('T53', 'X-Forwarded-Host', request(b'X-Forwarded-Host: elsewhere', b'Forwarded: host=elsewhere', **GET))
fine('T53', 'OPTIONS *', request(line=b'OPTIONS * HTTP/1.1'), 404)

# ---- T55: methods

fine('T55', 'HEAD of a path for GET', request(line=b'HEAD /v1/models HTTP/1.1'), 405)
for method in (b'GET', b'HEAD', b'PUT', b'DELETE', b'PATCH', b'post', b'Post', b'POSTX', b'POS', b'P', b'!#$%', b'PROPFIND', b'QUERY'):
    fine('T55', f'{method.decode()} of a path for POST', request(line=method + b' ' + CHAT.encode() + b' HTTP/1.1'), 405)
for method in (b'POST', b'get', b'PUT', b'DELETE', b'GETX'):
    fine('T55', f'{method.decode()} of a path for GET', request(line=method + b' /v1/models HTTP/1.1'), 405)
for method in (b'P(ST', b'P\x00ST', b'', b'P\xc3\x96ST', b'P@ST', b'PO:ST', b'"POST"'):
    bad('T55', f'{method!r}', request(line=method + b' ' + CHAT.encode() + b' HTTP/1.1'))
fine('T55', 'a method in a field', with_length(b'X-HTTP-Method-Override: DELETE'))

# ---- T59: trailers

fine('T59', 'a trailer', chunked(chunk() + b'0\r\nX-Checksum: abc\r\nEmpty:\r\n\r\n'))
fine('T59', 'a trailer that was announced', chunked(chunk() + b'0\r\nX: y\r\n\r\n', b'Trailer: X'))
closes('T59', 'a key in a trailer', chunked(chunk() + b'0\r\nAuthorization: Bearer ' + KEY + b'\r\n\r\n', key=None), 401)
for trailer in (b'Content-Length: 5', b'content-length:5', b'Transfer-Encoding: chunked', b'Connection: close', b' fold: x',
                b'no colon', b': x', b'X : y', b'X: \x00', b'X: \xff', b'X: y\n', b'X\r: y', b'X: ' + b'y' * 8200):
    bad('T59', f'trailer {trailer[:30]!r}', chunked(chunk() + b'0\r\n' + trailer + b'\r\n\r\n'))

# ---- T60: bounds, and one beyond

LINE_BYTES = 4096
for more, status in ((0, 404), (1, 414), (2, 414), (70000, 414)):
    path = b'/' + b'a' * (LINE_BYTES - len(b'GET / HTTP/1.1') + more)
    row = request(line=b'GET ' + path + b' HTTP/1.1')
    fine('T60', 'line of 4096', row, 404) if more == 0 else bad('T60', f'line of 4096 + {more}', row, 414)
for more in (0, 1, 2, 40000):
    row = request(b'X: ' + b'y' * (8192 - 3 + more), **GET)
    fine('T60', 'field of 8192', row) if more == 0 else bad('T60', f'field of 8192 + {more}', row, 431)
for more in (0, 1, 2, 1000):
    row = request(*[b'X: y'] * (98 + more), **GET)  # with host and key
    fine('T60', '100 fields', row) if more == 0 else bad('T60', f'100 + {more} fields', row, 431)
PLAIN = request(**GET)
for more in (0, 1, 2):
    left = 32768 - len(PLAIN) + more
    fields = [b'X: ' + b'y' * 4000] * (left // 4005)
    fields.append(b'X: ' + b'y' * (left % 4005 - 5))
    row = request(*fields, **GET)
    assert len(row) == 32768 + more
    fine('T60', 'head of 32768', row) if more == 0 else bad('T60', f'head of 32768 + {more}', row, 431)
bad('T60', 'a head that never ends', b'GET /v1/models HTTP/1.1\r\n' + b'X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n' * 90
    + b'Y: ' + b'z' * 30000, 431)
closes('T60', 'a declared body of 32 MiB and one', request(b'Content-Length: %d' % (32 * 1024 * 1024 + 1)), 413)
closes('T60', 'a body of 1 MiB and one', request(b'Content-Length: %d' % (1024 * 1024 + 1), key=b'@INFER@',
                                                 line=b'POST /api/v1/chat/completions HTTP/1.1'), 413)

# ---- T62: compressed bodies

BOMB = b'@BOMB@'  # a megabyte of spaces, compressed
for coding in (b'gzip', b'x-gzip', b'deflate', b'br', b'zstd', b'gzip, gzip', b'identity', b'compress', b''):
    fine('T62', f'content-encoding {coding!r}', with_length(b'Content-Encoding: ' + coding, body=BOMB), 415)
fine('T62', 'content-encoding twice', with_length(b'Content-Encoding: identity', b'content-encoding: gzip', body=BOMB), 415)
fine('T62', 'gzip that does not say so', with_length(body=BOMB), 400)
fine('T62', 'accept-encoding', with_length(b'Accept-Encoding: gzip, br'))
