"""Attacks on TLS (tests/README.md T28-T35, T40, T43) as rows: what a client does, and the alert and the verdict that
end it.

A row begins where OpenSSL's client is, with what it would send next, and sends something else: instead of its ClientHello,
instead of the flight behind the server's, or, once all is open, records of its own.
"""
import struct

from harness.tls import (ALERT, CHANGE_CIPHER_SPEC, CLIENT_HELLO, DATA, FATAL, FINISHED, HANDSHAKE, HEARTBEAT, KEY_UPDATE,
                         TLS12, TLS13, WARNING, message, record, split)

RANDOM = bytes(range(32))
SERVER_NAME, GROUPS, ALPN, EARLY_DATA, VERSIONS, KEY_SHARE, PADDING = 0, 10, 16, 42, 43, 51, 21
TICKET, PSK, PSK_MODES = 35, 41, 45
ECDSA_AES128, FALLBACK = 0xc02b, 0x5600
# A request that fills a record.
FULL = b'GET /healthz HTTP/1.1\r\nHost: a\r\n' + b'X: ' + b'y' * 7000 + b'\r\nX: ' + b'y' * 7000 + b'\r\nX: '
FULL += b'y' * (16384 - len(FULL) - 4) + b'\r\n\r\n'


class Row:
    def __init__(self, threat, name, version, at, make, alert, verdict):
        self.threat = threat
        self.name = name
        self.version = version
        self.at = at  # 'hello', 'flight', 'open'
        self.make = make  # gets the connection, and what would be sent; returns what is sent
        self.alert = alert  # the fatal one; None: the connection goes on; 'none': it ends without
        self.verdict = verdict

    def __repr__(self):
        return f'{self.threat} {self.version.name} {self.name}'


rows = []


def hello(threat, name, make, alert, verdict, version=TLS13):
    rows.append(Row(threat, name, version, 'hello', make, alert, verdict))


def flight(threat, name, version, make, alert, verdict):
    rows.append(Row(threat, name, version, 'flight', make, alert, verdict))


def opened(threat, name, version, make, alert=None, verdict=None):
    rows.append(Row(threat, name, version, 'open', make, alert, verdict))


def both(*row):
    """At both versions."""
    threat, name, *more = row
    for version in (TLS12, TLS13):
        opened(threat, name, version, *more)


# ---- a ClientHello in parts

class Hello:
    """A ClientHello that can be changed."""

    def __init__(self, data):
        body = data[9:]
        self.version, self.random = body[:2], body[2:34]
        at = 35 + body[34]
        self.session = body[35:at]
        size = int.from_bytes(body[at:at + 2], 'big')
        suites = body[at + 2:at + 2 + size]
        self.suites = [int.from_bytes(suites[i:i + 2], 'big') for i in range(0, size, 2)]
        at += 2 + size
        self.compressions = body[at + 1:at + 1 + body[at]]
        at += 1 + body[at] + 2
        self.extensions = []
        while at < len(body):
            kind, size = struct.unpack_from('!HH', body, at)
            self.extensions.append((kind, body[at + 4:at + 4 + size]))
            at += 4 + size

    def drop(self, *kinds):
        self.extensions = [(kind, body) for kind, body in self.extensions if kind not in kinds]
        return self

    def set(self, kind, body):
        self.drop(kind).extensions.append((kind, body))
        return self

    def body(self):
        extensions = b''.join(struct.pack('!HH', kind, len(body)) + body for kind, body in self.extensions)
        return self.version + self.random + bytes([len(self.session)]) + self.session + \
            struct.pack(f'!H{len(self.suites)}H', 2 * len(self.suites), *self.suites) + \
            bytes([len(self.compressions)]) + self.compressions + struct.pack('!H', len(extensions)) + extensions

    def whole(self):
        return record(HANDSHAKE, message(CLIENT_HELLO, self.body()), 0x0301)


def edited(change):
    """A row's make: the ClientHello after a change."""
    def make(_conn, data):
        changed = Hello(data)
        change(changed)
        return changed.whole()
    return make


def instead(data):
    return lambda _conn, _data: data


def versions(*numbers):
    return struct.pack(f'!B{len(numbers)}H', 2 * len(numbers), *numbers)


def server_name(name, kind=0, more=b''):
    entry = struct.pack('!BH', kind, len(name)) + name + more
    return struct.pack('!H', len(entry)) + entry


def old_hello(version, suites=(0xc02b, 0xc02f, 0xc013, 0x002f, 0x000a)):
    """As clients of that time sent it."""
    body = struct.pack('!H', version) + RANDOM + b'\0' + struct.pack(f'!H{len(suites)}H', 2 * len(suites), *suites) + b'\1\0'
    return record(HANDSHAKE, message(CLIENT_HELLO, body), min(version, 0x0301))


def in_records(size):
    """The same message in records of so many bytes."""
    def make(_conn, data):
        body = data[5:]
        return b''.join(record(HANDSHAKE, body[at:at + size], 0x0301) for at in range(0, len(body), size))
    return make


# ---- T28: how a ClientHello comes

def padded(size):
    return edited(lambda h: h.set(PADDING, bytes(size)))


hello('T28', 'in records of five bytes', in_records(5), None, None)
hello('T28', 'in records of a hundred', in_records(100), None, None)
hello('T28', 'in records of a hundred, 1.2', in_records(100), None, None, TLS12)
hello('T28', 'of 8 KB', padded(8000), None, None)
hello('T28', 'longer than a record', instead(b'\x16\x03\x01\xff\xff' + bytes(70000)), 'record_overflow', 'TLS_BAD_RECORD')
hello('T28', 'that tells 16 MB', instead(record(HANDSHAKE, b'\1\xff\xff\xff' + bytes(16000)) + record(HANDSHAKE, bytes(16000))), 'record_overflow', 'TLS_BAD_RECORD')
hello('T28', 'an empty record first', lambda _c, data: record(HANDSHAKE, b'') + data, 'unexpected_message', 'TLS_BAD_RECORD')
hello('T28', 'empty', instead(record(HANDSHAKE, message(CLIENT_HELLO, b''))), 'decode_error', 'TLS_BAD_MESSAGE')
hello('T28', 'two in one record', lambda _c, data: record(HANDSHAKE, data[5:] * 2), 'sealed', 'TLS_BAD_MESSAGE')

# ---- T29: renegotiation


def renegotiate(conn):
    return conn.seal(HANDSHAKE, message(CLIENT_HELLO, Hello(conn.first_hello).body()))


opened('T29', 'a second ClientHello', TLS12, renegotiate)
opened('T29', 'a second ClientHello', TLS13, renegotiate, 'unexpected_message', 'TLS_BAD_MESSAGE')
opened('T29', '40 of them', TLS12, lambda conn: b''.join(renegotiate(conn) for _ in range(40)), 'unexpected_message', 'TLS_FLOOD')

# ---- T30: old versions, and steps down

hello('T30', 'SSL 2', instead(b'\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10\x07\x00\xc0' + bytes(34)), 'unexpected_message', 'TLS_BAD_RECORD')
hello('T30', 'SSL 2 that asks for TLS 1.2', instead(b'\x80\x2b\x01\x03\x03\x00\x12\x00\x00\x00\x10' + bytes(34)), 'unexpected_message', 'TLS_BAD_RECORD')
for number, words in ((0x0300, 'SSL 3'), (0x0301, 'TLS 1.0'), (0x0302, 'TLS 1.1')):
    hello('T30', words, instead(old_hello(number)), 'protocol_version', 'TLS_NO_OVERLAP')
hello('T30', 'versions of nobody', edited(lambda h: h.set(VERSIONS, versions(0x0a0a, 0x7f1c))), 'protocol_version', 'TLS_NO_OVERLAP')
hello('T30', 'old versions in the extension', edited(lambda h: h.set(VERSIONS, versions(0x0302, 0x0301))), 'protocol_version', 'TLS_NO_OVERLAP')
hello('T30', 'no version at all', edited(lambda h: h.set(VERSIONS, b'\0')), 'protocol_version', 'TLS_NO_OVERLAP')
hello('T30', 'a version of one byte', edited(lambda h: h.set(VERSIONS, b'\1\3')), 'decode_error', 'TLS_BAD_MESSAGE')
hello('T30', 'compression', edited(lambda h: setattr(h, 'compressions', b'\1\0')), 'illegal_parameter', 'TLS_BAD_MESSAGE')
hello('T30', 'GREASE everywhere', edited(lambda h: (h.set(0x0a0a, b'').set(VERSIONS, versions(0x3a3a, 0x0304, 0x0303)),
                                                    h.suites.insert(0, 0x1a1a))), None, None)

# ---- T31: floods of what has no use

both('T31', 'a few empty records', lambda conn: b''.join(conn.seal(DATA, b'') for _ in range(10)))
both('T31', 'many empty records', lambda conn: b''.join(conn.seal(DATA, b'') for _ in range(100)), 'unexpected_message', 'TLS_FLOOD')
opened('T31', 'many records of padding', TLS13, lambda conn: b''.join(conn.seal(DATA, b'', padding=200) for _ in range(100)),
       'unexpected_message', 'TLS_FLOOD')
both('T31', 'a warning', lambda conn: conn.seal(ALERT, bytes([WARNING, 90])))
both('T31', 'many warnings', lambda conn: b''.join(conn.seal(ALERT, bytes([WARNING, 90])) for _ in range(100)),
     'unexpected_message', 'TLS_FLOOD')
both('T31', 'a record of the largest size', lambda conn: conn.seal(DATA, FULL))
both('T31', 'a byte more than that', lambda conn: conn.seal(DATA, FULL + b'G'), 'record_overflow', 'TLS_RECORD_TOO_LONG')
both('T31', 'a length beyond any', lambda conn: b'\x17\x03\x03\x48\x01' + bytes(0x4801), 'record_overflow', 'TLS_RECORD_TOO_LONG')
opened('T31', 'nothing but padding', TLS13, lambda conn: conn.seal(0, b'', padding=20), 'unexpected_message', 'TLS_BAD_MESSAGE')
opened('T31', 'content of no type', TLS13, lambda conn: conn.seal(99, b'x'), 'unexpected_message', 'TLS_BAD_MESSAGE')
both('T31', 'ChangeCipherSpec behind the handshake', lambda conn: record(CHANGE_CIPHER_SPEC, b'\1'), 'unexpected_message', 'TLS_BAD_MESSAGE')
both('T31', 'a heartbeat', lambda conn: conn.seal(HEARTBEAT, b'\1\x40\0'), 'unexpected_message', 'TLS_BAD_MESSAGE')
both('T31', 'a record in the clear', lambda conn: record(DATA, b'GET / HTTP/1.1\r\n\r\n' * 3), 'bad_record_mac', 'TLS_NOT_AUTHENTIC')
opened('T31', 'a record of another version', TLS12, lambda conn: b'\x17\x02\x03' + conn.seal(DATA, b'x')[3:], 'protocol_version',
       'TLS_BAD_RECORD')
# RFC 8446 5.2: not looked at, but authenticated.
opened('T31', 'a record of another version', TLS13, lambda conn: b'\x17\x02\x03' + conn.seal(DATA, b'x')[3:], 'bad_record_mac',
       'TLS_NOT_AUTHENTIC')
both('T31', 'a changed byte', lambda conn: conn.seal(DATA, b'GET / HTTP/1.1\r\n')[:-1] + b'\0', 'bad_record_mac', 'TLS_NOT_AUTHENTIC')
both('T31', 'the same record twice', lambda conn: conn.seal(DATA, b'\r\n') * 2, 'bad_record_mac', 'TLS_NOT_AUTHENTIC')
both('T31', 'an alert of three bytes', lambda conn: conn.seal(ALERT, b'\1\x5a\0'), 'decode_error', 'TLS_BAD_MESSAGE')
both('T31', 'an empty alert', lambda conn: conn.seal(ALERT, b''), 'unexpected_message', 'TLS_BAD_MESSAGE')
both('T31', 'a fatal alert', lambda conn: conn.seal(ALERT, bytes([FATAL, 80])), 'none', 'TLS_ALERT')

# ---- T32: KeyUpdate

opened('T32', 'KeyUpdate', TLS13, lambda conn: conn.update())
opened('T32', 'KeyUpdate that asks for one', TLS13, lambda conn: conn.update(asks=True))
opened('T32', '16 of them', TLS13, lambda conn: b''.join(conn.update() for _ in range(16)))
opened('T32', '17 of them', TLS13, lambda conn: b''.join(conn.update() for _ in range(17)), 'unexpected_message', 'TLS_FLOOD')
opened('T32', '1,000 that ask', TLS13, lambda conn: b''.join(conn.update(asks=True) for _ in range(1000)), 'unexpected_message', 'TLS_FLOOD')
opened('T32', 'KeyUpdate of a third kind', TLS13, lambda conn: conn.seal(HANDSHAKE, message(KEY_UPDATE, b'\2')),
       'illegal_parameter', 'TLS_BAD_MESSAGE')
opened('T32', 'KeyUpdate in TLS 1.2', TLS12, lambda conn: conn.seal(HANDSHAKE, message(KEY_UPDATE, b'\0')),
       'unexpected_message', 'TLS_BAD_MESSAGE')
opened('T32', 'KeyUpdate with something behind it', TLS13, lambda conn: conn.seal(HANDSHAKE, message(KEY_UPDATE, b'\0') * 2),
       'unexpected_message', 'TLS_BAD_MESSAGE')

# ---- T33: tickets that are none

NOISE = bytes(number * 37 % 256 for number in range(300))


def psks(*identities, binders=None):
    named = b''.join(struct.pack('!H', len(identity)) + identity + bytes(4) for identity in identities)
    bound = bytes([32]) * len(identities if binders is None else binders)
    bound = b''.join(bytes([size]) + NOISE[:size] for size in bound)
    return struct.pack('!H', len(named)) + named + struct.pack('!H', len(bound)) + bound


def offer(body):
    return edited(lambda h: h.set(PSK_MODES, b'\1\1').set(PSK, body))


hello('T33', 'a ticket of noise', edited(lambda h: h.set(TICKET, NOISE)), None, None, TLS12)
hello('T33', 'a ticket longer than any', edited(lambda h: h.set(TICKET, NOISE * 20)), None, None, TLS12)
hello('T33', 'a ticket of noise', offer(psks(NOISE)), None, None)
hello('T33', 'ten of them', offer(psks(*[NOISE] * 10)), None, None)
hello('T33', 'a ticket longer than any', offer(psks(NOISE * 20)), None, None)
hello('T33', 'a ticket without a way to use it', edited(lambda h: h.drop(PSK_MODES).set(PSK, psks(NOISE))), 'illegal_parameter', 'TLS_BAD_MESSAGE')
hello('T33', 'more tickets than binders', offer(psks(NOISE, NOISE, binders=[1])), 'decode_error', 'TLS_BAD_MESSAGE')
hello('T33', 'a ticket cut off', offer(psks(NOISE)[:200]), 'decode_error', 'TLS_BAD_MESSAGE')
hello('T33', 'no ticket in the list', offer(psks()), 'decode_error', 'TLS_BAD_MESSAGE')
hello('T33', 'something behind the ticket', edited(lambda h: h.set(PSK_MODES, b'\1\1').set(PSK, psks(NOISE)).set(PADDING, b'')),
      'illegal_parameter', 'TLS_BAD_MESSAGE')

# ---- T34: early data

hello('T34', 'early data without a ticket', lambda _c, data: edited(lambda h: h.set(EARLY_DATA, b''))(_c, data) +
      record(DATA, bytes(200)), 'sealed', 'TLS_BAD_RECORD')

# ---- T35: what was taken out

for suite, words in ((0x009c, 'RSA key exchange'), (0xc023, 'CBC'), (0xc009, 'CBC with SHA-1'), (0xc011, 'RC4'), (0x0005, 'RC4, RSA'),
                     (0x009e, 'DHE'), (0x00a8, 'PSK'), (0xc0ac, 'CCM'), (0x003b, 'no encryption'), (0xc018, 'no certificate'),
                     (0x0003, 'export')):
    hello('T35', f'{words} alone', edited(lambda h, suite=suite: setattr(h, 'suites', [suite])), 'handshake_failure', 'TLS_NO_OVERLAP', TLS12)
hello('T35', 'groups of nobody', edited(lambda h: h.set(GROUPS, b'\0\4\0\x16\0\x19').set(KEY_SHARE, b'\0\0')), 'handshake_failure', 'TLS_NO_OVERLAP')
hello('T35', 'groups of nobody, 1.2', edited(lambda h: h.set(GROUPS, b'\0\4\0\x16\0\x19')), 'handshake_failure', 'TLS_NO_OVERLAP', TLS12)

# ---- T40: ALPN

hello('T40', 'ALPN of strangers', edited(lambda h: h.set(ALPN, b'\0\5\4smtp')), 'no_application_protocol', 'TLS_NO_PROTOCOL')
hello('T40', 'ALPN of strangers, 1.2', edited(lambda h: h.set(ALPN, b'\0\5\4smtp')), 'no_application_protocol', 'TLS_NO_PROTOCOL', TLS12)
hello('T40', 'ALPN with nothing in it', edited(lambda h: h.set(ALPN, b'\0\0')), 'decode_error', 'TLS_BAD_MESSAGE')
hello('T40', 'ALPN with an empty name', edited(lambda h: h.set(ALPN, b'\0\1\0')), 'decode_error', 'TLS_BAD_MESSAGE')
hello('T40', 'ALPN cut off', edited(lambda h: h.set(ALPN, b'\0\x20\x08http/1.1')), 'decode_error', 'TLS_BAD_MESSAGE')

# ---- T43: SNI

for name, words in ((b'nobody.example', 'unknown'), (b'10.77.0.2', 'an address'), (b'EDGE.SLUICE.TEST', 'in capitals'),
                    (b'edge.sluice.test.', 'with a dot at its end'), (b'a' * 255, 'of 255 bytes'),
                    (b'..', 'dots'), (b'*', 'a star'), (b'\xff\xfe', 'no text'), (b'edge.sluice.test\0.evil', 'with a NUL')):
    hello('T43', f'a name {words}', edited(lambda h, name=name: h.set(SERVER_NAME, server_name(name))), None, None)
hello('T43', 'no name', edited(lambda h: h.drop(SERVER_NAME)), None, None)
hello('T43', 'an empty name', edited(lambda h: h.set(SERVER_NAME, server_name(b''))), None, None)
hello('T43', 'a name longer than its list', edited(lambda h: h.set(SERVER_NAME, b'\0\x05\0\0\xffaa')), 'decode_error', 'TLS_BAD_MESSAGE')
hello('T43', 'a list longer than its extension', edited(lambda h: h.set(SERVER_NAME, b'\xff\xff\0\0\1a')), 'decode_error', 'TLS_BAD_MESSAGE')
hello('T43', 'a list that ends in an entry', edited(lambda h: h.set(SERVER_NAME, b'\0\2\1\0')), 'decode_error', 'TLS_BAD_MESSAGE')

# ---- messages where they do not belong

hello('T31', 'a Finished first', instead(record(HANDSHAKE, message(FINISHED, bytes(12)))), 'unexpected_message', 'TLS_BAD_MESSAGE')
hello('T31', 'data first', instead(record(DATA, b'GET / HTTP/1.1\r\n\r\n')), 'unexpected_message', 'TLS_BAD_MESSAGE')
hello('T31', 'ChangeCipherSpecs without end', instead(record(CHANGE_CIPHER_SPEC, b'\1') * 5000), 'unexpected_message', 'TLS_FLOOD')
hello('T31', 'warnings without end', instead(record(ALERT, bytes([WARNING, 90])) * 5000), 'unexpected_message', 'TLS_FLOOD')
hello('T31', 'a heartbeat first', instead(record(HEARTBEAT, b'\1\x40\0')), 'unexpected_message', 'TLS_BAD_RECORD')
hello('T31', 'a record of no type', instead(record(99, b'x')), 'unexpected_message', 'TLS_BAD_RECORD')
hello('T31', 'a fatal alert first', instead(record(ALERT, bytes([FATAL, 40]))), 'none', 'TLS_ALERT')
hello('T31', 'plain HTTP', instead(b'GET / HTTP/1.1\r\nHost: a\r\n\r\n'), 'unexpected_message', 'TLS_BAD_RECORD')
hello('T31', 'a key share of no group', edited(lambda h: h.set(KEY_SHARE, b'\0\5\0\x1d\0\1\0')), 'illegal_parameter', 'TLS_BAD_MESSAGE')
hello('T31', 'a key share of zeros', edited(lambda h: h.set(KEY_SHARE, b'\0\x24\0\x1d\0\x20' + bytes(32))), 'illegal_parameter', 'TLS_BAD_MESSAGE')
hello('T31', 'no signature algorithms', edited(lambda h: h.drop(13)), 'missing_extension', 'TLS_BAD_MESSAGE')


def parts(data):
    return [header + body for _, header, body in split(data)[0]]


# TLS 1.2: ClientKeyExchange, ChangeCipherSpec, Finished.
flight('T31', 'no ClientKeyExchange', TLS12, lambda _c, data: b''.join(parts(data)[1:]), 'unexpected_message', 'TLS_BAD_MESSAGE')
flight('T31', 'no ChangeCipherSpec', TLS12, lambda _c, data: parts(data)[0] + record(HANDSHAKE, message(FINISHED, bytes(12))),
       'unexpected_message', 'TLS_BAD_MESSAGE')
flight('T31', 'ChangeCipherSpec twice', TLS12, lambda _c, data: b''.join(parts(data)[i] for i in (0, 1, 1, 2)),
       'bad_record_mac', 'TLS_BAD_RECORD')
flight('T31', 'data before Finished', TLS12, lambda conn, data: b''.join(parts(data)[:2]) + conn.seal(DATA, b'GET / HTTP/1.1\r\n'),
       'unexpected_message', 'TLS_BAD_MESSAGE')
flight('T31', 'a Finished that is wrong', TLS12, lambda conn, data: b''.join(parts(data)[:2]) +
       conn.seal(HANDSHAKE, message(FINISHED, bytes(12))), 'decrypt_error', 'TLS_BAD_MESSAGE')
flight('T31', 'a Finished of another size', TLS12, lambda conn, data: b''.join(parts(data)[:2]) +
       conn.seal(HANDSHAKE, message(FINISHED, bytes(11))), 'decode_error', 'TLS_BAD_MESSAGE')
flight('T31', 'a point that is not on the curve', TLS12, lambda _c, data: record(HANDSHAKE, message(16, b'\x20' + bytes(32))) +
       b''.join(parts(data)[1:]), 'decode_error', 'TLS_BAD_MESSAGE')
flight('T31', 'a Finished that was changed', TLS12, lambda _c, data: data[:-1] + bytes([data[-1] ^ 1]), 'bad_record_mac', 'TLS_BAD_RECORD')
# TLS 1.3: ChangeCipherSpec, Finished.
flight('T31', 'ChangeCipherSpec of another byte', TLS13, lambda _c, data: record(CHANGE_CIPHER_SPEC, b'\2') + parts(data)[-1],
       'unexpected_message', 'TLS_BAD_RECORD')
flight('T31', 'a Finished that is wrong', TLS13, lambda conn, _d: conn.early_sealer.seal(HANDSHAKE, message(FINISHED, bytes(32))),
       'decrypt_error', 'TLS_BAD_MESSAGE')
flight('T31', 'a Finished of another size', TLS13, lambda conn, _d: conn.early_sealer.seal(HANDSHAKE, message(FINISHED, bytes(31))),
       'decode_error', 'TLS_BAD_MESSAGE')
flight('T31', 'data before Finished', TLS13, lambda conn, _d: conn.early_sealer.seal(DATA, b'GET / HTTP/1.1\r\n'),
       'unexpected_message', 'TLS_BAD_MESSAGE')
flight('T31', 'data sealed too early', TLS13, lambda conn, _d: conn.seal(DATA, b'GET / HTTP/1.1\r\n'), 'bad_record_mac', 'TLS_BAD_RECORD')
flight('T31', 'a Finished in the clear', TLS13, lambda _c, _d: record(HANDSHAKE, message(FINISHED, bytes(32))),
       'bad_record_mac', 'TLS_BAD_RECORD')
flight('T31', 'a ChangeCipherSpec for each packet', TLS13, lambda _c, data: record(CHANGE_CIPHER_SPEC, b'\1') * 5000 + parts(data)[-1],
       'unexpected_message', 'TLS_FLOOD')
flight('T31', 'empty records before Finished', TLS13, lambda conn, data: b''.join(conn.early_sealer.seal(HANDSHAKE, b'')
                                                                                  for _ in range(5)),
       'unexpected_message', 'TLS_BAD_RECORD')
