"""TLS from below: OpenSSL makes the handshake and tells its secrets, the records are ours, so that a test can send
anything as any part of a connection. The suite is TLS_AES_128_GCM_SHA256, or in TLS 1.2 its nearest.
"""
import ctypes
import hmac
import os
import ssl
import struct

from harness.client import Client, Closed, tls_context
from harness.cluster import NAME, PORT

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, DATA, HEARTBEAT = 20, 21, 22, 23, 24
WARNING, FATAL = 1, 2
PATIENCE_S = 3
CLIENT_HELLO, SERVER_HELLO, FINISHED, KEY_UPDATE = 1, 2, 20, 24
ALERTS = {0: 'close_notify', 10: 'unexpected_message', 20: 'bad_record_mac', 22: 'record_overflow', 40: 'handshake_failure',
          47: 'illegal_parameter', 50: 'decode_error', 51: 'decrypt_error', 70: 'protocol_version',
          71: 'insufficient_security', 80: 'internal_error', 86: 'inappropriate_fallback', 90: 'user_canceled',
          100: 'no_renegotiation', 109: 'missing_extension', 110: 'unsupported_extension', 112: 'unrecognized_name',
          116: 'certificate_required', 120: 'no_application_protocol'}

CRYPTO = ctypes.CDLL('libcrypto.so.3')
for function in ('EVP_CIPHER_CTX_new', 'EVP_aes_128_gcm'):
    getattr(CRYPTO, function).restype = ctypes.c_void_p
GET_TAG, SET_TAG = 16, 17
TAG_BYTES = 16


def gcm(key, nonce, aad, data, tag=None):
    """Data and tag, sealed; with a tag, opened, or None."""
    context = ctypes.c_void_p(CRYPTO.EVP_CIPHER_CTX_new())
    begin, update = (CRYPTO.EVP_EncryptInit_ex, CRYPTO.EVP_EncryptUpdate) if tag is None else \
        (CRYPTO.EVP_DecryptInit_ex, CRYPTO.EVP_DecryptUpdate)
    done, out, mac = ctypes.c_int(), ctypes.create_string_buffer(len(data) + TAG_BYTES), ctypes.create_string_buffer(TAG_BYTES)
    try:
        begin(context, ctypes.c_void_p(CRYPTO.EVP_aes_128_gcm()), None, key, nonce)
        update(context, None, ctypes.byref(done), aad, len(aad))
        update(context, out, ctypes.byref(done), data, len(data))
        if tag is None:
            CRYPTO.EVP_EncryptFinal_ex(context, mac, ctypes.byref(done))
            CRYPTO.EVP_CIPHER_CTX_ctrl(context, GET_TAG, TAG_BYTES, mac)
            return out.raw[:len(data)] + mac.raw
        CRYPTO.EVP_CIPHER_CTX_ctrl(context, SET_TAG, TAG_BYTES, tag)
        return out.raw[:len(data)] if CRYPTO.EVP_DecryptFinal_ex(context, mac, ctypes.byref(done)) == 1 else None
    finally:
        CRYPTO.EVP_CIPHER_CTX_free(context)


def expand_label(secret, label, size):
    """RFC 8446 7.1, of at most one hash."""
    label = b'tls13 ' + label
    info = struct.pack('!HB', size, len(label)) + label + b'\0'
    return hmac.digest(secret, info + b'\1', 'sha256')[:size]


def prf(secret, label, seed, size):
    """RFC 5246 5."""
    seed, block, out = label + seed, label + seed, b''
    while len(out) < size:
        block = hmac.digest(secret, block, 'sha256')
        out += hmac.digest(secret, block + seed, 'sha256')
    return out[:size]


def record(kind, data, version=0x0303):
    return struct.pack('!BHH', kind, version, len(data)) + data


def message(kind, body):
    return struct.pack('!I', kind << 24 | len(body)) + body


def split(data):
    """The whole records at the front of data, as (kind, header, body), and what is left."""
    records = []
    while len(data) >= 5 and len(data) >= 5 + int.from_bytes(data[3:5], 'big'):
        end = 5 + int.from_bytes(data[3:5], 'big')
        records.append((data[0], data[:5], data[5:end]))
        data = data[end:]
    return records, data


class Direction13:
    """One direction of TLS 1.3 under one secret."""

    def __init__(self, secret):
        self.secret = secret
        self.key, self.iv = expand_label(secret, b'key', 16), expand_label(secret, b'iv', 12)
        self.sequence = 0

    def nonce(self):
        number = self.sequence.to_bytes(12, 'big')
        return bytes(a ^ b for a, b in zip(self.iv, number))

    def seal(self, kind, data, padding=0):
        plain = data + bytes([kind]) + bytes(padding)
        header = struct.pack('!BHH', DATA, 0x0303, len(plain) + TAG_BYTES)
        sealed = gcm(self.key, self.nonce(), header, plain)
        self.sequence += 1
        return header + sealed

    def open(self, _kind, header, body):
        plain = gcm(self.key, self.nonce(), header, body[:-TAG_BYTES], body[-TAG_BYTES:])
        if plain is None:
            return None
        self.sequence += 1
        plain = plain.rstrip(b'\0')
        return plain[-1], plain[:-1]

    def renewed(self):
        return Direction13(expand_label(self.secret, b'traffic upd', 32))


class Direction12:
    """One direction of TLS 1.2 with AES-128-GCM."""

    def __init__(self, key, salt):
        self.key, self.salt = key, salt
        self.sequence = 0

    def aad(self, kind, size):
        return struct.pack('!QBHH', self.sequence, kind, 0x0303, size)

    def seal(self, kind, data, version=0x0303):
        explicit = self.sequence.to_bytes(8, 'big')
        sealed = explicit + gcm(self.key, self.salt + explicit, self.aad(kind, len(data)), data)
        self.sequence += 1
        return record(kind, sealed, version)

    def open(self, kind, _header, body):
        explicit, sealed, tag = body[:8], body[8:-TAG_BYTES], body[-TAG_BYTES:]
        plain = gcm(self.key, self.salt + explicit, self.aad(kind, len(sealed)), sealed, tag)
        if plain is None:
            return None
        self.sequence += 1
        return kind, plain


class Raw:
    """A connection in three steps: hello(), flight(), open(), each of which returns what OpenSSL would send or
    takes what shall be sent instead."""

    def __init__(self, cluster, version, name=NAME, alpn=('http/1.1',), session=None):
        self.is_13 = version == TLS13
        self.log = os.path.join(cluster.root, f'secrets-{os.urandom(6).hex()}')
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = tls_context(cluster.ca, (version, version))
        context.keylog_filename = self.log
        if alpn:
            context.set_alpn_protocols(list(alpn))
        context.set_ciphers('ECDHE-ECDSA-AES128-GCM-SHA256')
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=name, session=session)
        self.plain = Client(cluster.host4, PORT, timeout=PATIENCE_S)
        self.received = b''  # by OpenSSL
        self.rest = b''      # behind what OpenSSL has taken
        self.client_random = None
        self.sealer = self.early_sealer = None
        self.openers = []    # what alerts of the server's may be sealed with
        self.is_open = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.plain.close()
        if os.path.exists(self.log):
            os.unlink(self.log)

    def send(self, data):
        """The router may have gone meanwhile; its alert may be there all the same."""
        try:
            self.plain.send(data)
        except OSError:
            pass

    def step(self):
        try:
            self.tls.do_handshake()
            self.is_open = True
        except ssl.SSLWantReadError:
            pass
        return self.outgoing.read()

    def hello(self):
        data = self.step()
        self.client_random = data[11:43]
        return data

    def flight(self):
        """What the client says after the server's first flight."""
        while True:
            self.feed()
            data = self.step()
            if data:
                self.derive()
                return data

    def feed(self):
        data = self.plain.receive()
        self.received += data
        self.incoming.write(data)

    def open(self):
        """After the client's flight was sent."""
        while not self.is_open:
            self.feed()
            assert self.step() == b'', 'the handshake has another flight'
        self.derive()
        self.rest = self.incoming.read()
        return self

    def secrets(self):
        with open(self.log, encoding='ascii') as log:
            lines = [line.split() for line in log if not line.startswith('#')]
        return {label: bytes.fromhex(secret) for label, random, secret in lines if random == self.client_random.hex()}

    def server_hello(self):
        """Its body: version, random, session id, suite …"""
        for kind, _, body in split(self.received)[0]:
            if kind == HANDSHAKE and body[0] == SERVER_HELLO:
                return body[4:4 + int.from_bytes(body[1:4], 'big')]
        raise AssertionError('there is no ServerHello')

    def derive(self):
        secrets = self.secrets()
        if self.is_13:
            of = lambda side, what: Direction13(secrets[f'{side}_{what}'])  # noqa: E731
            self.early_sealer, early = of('CLIENT', 'HANDSHAKE_TRAFFIC_SECRET'), of('SERVER', 'HANDSHAKE_TRAFFIC_SECRET')
            self.sealer = of('CLIENT', 'TRAFFIC_SECRET_0')
            # Until it has the client's Finished, the server may say what it says with the keys of the handshake.
            early.sequence = sum(kind == DATA for kind, _, _ in split(self.received)[0])
            self.openers = [of('SERVER', 'TRAFFIC_SECRET_0'), early]
            return
        server_random = self.server_hello()[2:34]
        block = prf(secrets['CLIENT_RANDOM'], b'key expansion', server_random + self.client_random, 40)
        self.sealer = Direction12(block[:16], block[32:36])
        self.openers = [Direction12(block[16:32], block[36:40])]
        # OpenSSL has taken the server's Finished with it, and sent the client's.
        self.sealer.sequence = self.openers[0].sequence = int(self.is_open)

    def connect(self):
        self.send(self.hello())
        self.send(self.flight())
        return self.open()

    def seal(self, kind, data, **more):
        return self.sealer.seal(kind, data, **more)

    def update(self, asks=False):
        """A KeyUpdate; what follows is sealed with the next key."""
        data = self.seal(HANDSHAKE, message(KEY_UPDATE, bytes([asks])))
        self.sealer = self.sealer.renewed()
        return data

    def contents(self):
        """What the server says until it closes, record by record, as (kind, data). A KeyUpdate is followed."""
        try:
            while True:
                records, self.rest = split(self.rest)
                for kind, header, body in records:
                    found = (kind, body)
                    if self.openers and (not self.is_13 or kind == DATA):
                        opened = (opener.open(kind, header, body) for opener in self.openers)
                        found = next((plain for plain in opened if plain), (kind, body))
                    if found[0] == HANDSHAKE and found[1][0] == KEY_UPDATE:
                        self.openers = [self.openers[0].renewed()]
                    yield found
                self.rest += self.plain.receive()
        except Closed:
            return

    def ask(self, fields=b''):
        """Whether a request is answered on this connection."""
        self.send(self.seal(DATA, b'GET /healthz HTTP/1.1\r\nHost: a\r\n' + fields + b'\r\n'))
        for kind, data in self.contents():
            if kind == DATA:
                return data.startswith(b'HTTP/1.1 200')
            if kind == ALERT and data[0] == FATAL:
                return False
        return False
