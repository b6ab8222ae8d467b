"""An HTTP/2 client of bare frames: what it sends is up to the test, rules of the protocol included. Only HPACK's
decoding is borrowed, from libnghttp2; what is sent is encoded here as literals.
"""
import ctypes
import json
import socket
import ssl
import struct

from harness.client import CHAT, Closed, Response, tls_context
from harness.cluster import NAME, PORT

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = 0, 1, 2, 3
STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR = 5, 6, 7, 8, 9
ENHANCE_YOUR_CALM = 11
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = 1, 2, 3, 4
MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = 5, 6
PREFACE = b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'


def frame(kind, flags, stream, payload=b''):
    return struct.pack('>I', len(payload))[1:] + bytes((kind, flags)) + struct.pack('>I', stream) + payload


def integer(value, prefix_bits, first=0):
    """HPACK's integer (RFC 7541 5.1)."""
    most = (1 << prefix_bits) - 1
    if value < most:
        return bytes((first | value,))
    out, value = bytearray((first | most,)), value - most
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    out.append(value)
    return bytes(out)


def literal(name, value, first=0):
    """A field that enters no table; first=0x40: it enters the dynamic table."""
    name, value = (text if isinstance(text, bytes) else text.encode('latin-1') for text in (name, value))
    return bytes((first,)) + integer(len(name), 7) + name + integer(len(value), 7) + value


def block(fields):
    return b''.join(literal(name, value) for name, value in fields)


class Field(ctypes.Structure):
    _fields_ = [('name', ctypes.POINTER(ctypes.c_uint8)), ('value', ctypes.POINTER(ctypes.c_uint8)),
                ('name_len', ctypes.c_size_t), ('value_len', ctypes.c_size_t), ('flags', ctypes.c_uint8)]


class Inflater:
    """HPACK's decoder of libnghttp2."""
    FINAL, EMIT = 1, 2

    def __init__(self):
        self.library = ctypes.CDLL('libnghttp2.so.14')
        self.library.nghttp2_hd_inflate_hd2.restype = ctypes.c_ssize_t
        self.state = ctypes.c_void_p()
        assert self.library.nghttp2_hd_inflate_new(ctypes.byref(self.state)) == 0

    def decode(self, data):
        fields, at = [], 0
        while True:
            field, flags = Field(), ctypes.c_int()
            used = self.library.nghttp2_hd_inflate_hd2(self.state, ctypes.byref(field), ctypes.byref(flags),
                                                       data[at:], ctypes.c_size_t(len(data) - at), 1)
            assert used >= 0, f'the answer\'s HPACK is wrong: {used}'
            at += used
            if flags.value & self.EMIT:
                fields.append((ctypes.string_at(field.name, field.name_len).decode('latin-1'),
                               ctypes.string_at(field.value, field.value_len).decode('latin-1')))
            if flags.value & self.FINAL:
                self.library.nghttp2_hd_inflate_end_headers(self.state)
                return fields


class Stream(Response):
    """One request and what came for it."""

    def __init__(self, number):
        super().__init__(None, [])
        self.number = number
        self.body = bytearray()  # megabytes come in pieces
        self.reset = None  # the error code of RST_STREAM
        self.frames = []  # payloads of DATA frames
        self.interim = []  # statuses 1xx
        self.window = 65536  # what it may still send, once the router's SETTINGS are there

    @property
    def over(self):
        return self.complete or self.reset is not None


class H2Client:
    """One connection. credit: whether windows are opened again as data comes."""

    def __init__(self, cluster, settings=(), credit=True, timeout=20, host=None, window=None, source=None,
                 greet=True):
        host = host or cluster.host4
        plain = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET, socket.SOCK_STREAM)
        if window:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        plain.settimeout(timeout)
        if source:
            plain.bind(source)
        plain.connect((host, PORT))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        context = tls_context(cluster.ca)
        context.set_alpn_protocols(['h2'])
        self.socket = context.wrap_socket(plain, server_hostname=NAME)
        assert self.socket.selected_alpn_protocol() == 'h2'
        self.key = cluster.key
        self.credit = credit
        self.buffer = b''
        self.inflater = Inflater()
        self.streams = {}
        self.next_stream = 1
        self.settings = {}  # the router's
        self.pongs = []
        self.goaway = None  # (last stream, code)
        self.updates = 0
        if greet:
            self.send(PREFACE + frame(SETTINGS, 0, 0, b''.join(struct.pack('>HI', *s) for s in settings)))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def reply(self, data):
        """What the protocol asks for; if the connection is over, reading will say so."""
        try:
            self.send(data)
        except OSError:
            pass

    # ---- requests

    def fields(self, method, path, key=None, fields=(), length=None):
        all_fields = [(':method', method), (':scheme', 'https'), (':authority', NAME), (':path', path)]
        if key:
            all_fields.append(('authorization', f'Bearer {key}'))
        if length is not None:
            all_fields += [('content-type', 'application/json'), ('content-length', str(length))]
        return all_fields + [(name.lower(), value) for name, value in fields]

    def new_stream(self):
        stream = self.streams[self.next_stream] = Stream(self.next_stream)
        self.next_stream += 2
        return stream

    def request_frames(self, stream, method, path, key=None, body=None, fields=()):
        data = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
        head = block(self.fields(method, path, key, fields, len(data) if data is not None else None))
        out = frame(HEADERS, END_HEADERS | (END_STREAM if data is None else 0), stream.number, head)
        if data is not None:
            assert len(data) <= 65535, 'more than the first window'
            pieces = [data[at:at + 16384] for at in range(0, len(data), 16384)] or [b'']
            for index, piece in enumerate(pieces):
                last = index == len(pieces) - 1
                out += frame(DATA, END_STREAM if last else 0, stream.number, piece)
        return out

    def begin(self, method, path, key=None, body=None, fields=()):
        """Sends a request; its answer is awaited with finish() or read()."""
        stream = self.new_stream()
        self.send(self.request_frames(stream, method, path, key, body, fields))
        return stream

    def request(self, method, path, key=None, body=None, fields=()):
        return self.finish(self.begin(method, path, key, body, fields))

    def begin_chat(self, body, key=None):
        return self.begin('POST', CHAT, key or self.key, body)

    def ask(self, key, body, fields=()):
        return self.request('POST', CHAT, key, body, fields)

    def cancel(self, stream, code=CANCEL):
        self.send(frame(RST_STREAM, 0, stream.number, struct.pack('>I', code)))
        stream.reset = code

    # ---- answers

    def receive(self):
        try:
            data = self.socket.recv(65536)
        except (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError, ssl.SSLZeroReturnError) as why:
            raise Closed(type(why).__name__) from why
        if not data:
            raise Closed('end')
        self.buffer += data

    def read_frame(self):
        """(kind, flags, stream, payload), handled already."""
        while len(self.buffer) < 9 or len(self.buffer) < 9 + int.from_bytes(self.buffer[:3], 'big'):
            self.receive()
        size = int.from_bytes(self.buffer[:3], 'big')
        kind, flags = self.buffer[3], self.buffer[4]
        number = int.from_bytes(self.buffer[5:9], 'big')
        payload, self.buffer = self.buffer[9:9 + size], self.buffer[9 + size:]
        assert size <= 16384, f'a frame of {size} bytes'
        self.handle(kind, flags, number, payload)
        return kind, flags, number, payload

    def handle(self, kind, flags, number, payload):
        stream = self.streams.get(number)
        if kind == SETTINGS and not flags & ACK:
            for at in range(0, len(payload), 6):
                name, value = struct.unpack('>HI', payload[at:at + 6])
                self.settings[name] = value
            self.reply(frame(SETTINGS, ACK, 0))
        elif kind == PING:
            self.pongs.append(payload)
        elif kind == GOAWAY:
            self.goaway = struct.unpack('>II', payload[:8])
        elif kind == WINDOW_UPDATE:
            self.updates += struct.unpack('>I', payload)[0]
            if stream:
                stream.window += struct.unpack('>I', payload)[0]
        elif kind == RST_STREAM and stream:
            stream.reset = struct.unpack('>I', payload)[0]
        elif kind == HEADERS:
            assert flags & END_HEADERS, 'our own heads fit one frame'
            self.take_head(stream, dict_of(self.inflater.decode(payload)), flags)
        elif kind == DATA and stream:
            stream.body += payload
            stream.frames.append(payload)
            stream.complete = bool(flags & END_STREAM)
            if self.credit and payload:
                update = struct.pack('>I', len(payload))
                self.reply(frame(WINDOW_UPDATE, 0, 0, update) +
                           (b'' if stream.complete else frame(WINDOW_UPDATE, 0, number, update)))

    def take_head(self, stream, head, flags):
        fields, status = head
        if stream is None:
            return
        if 100 <= status < 200:
            stream.interim.append(status)
            return
        assert stream.status is None, 'a second head'
        stream.status, stream.fields = status, fields
        stream.complete = bool(flags & END_STREAM)

    def read_until(self, ready):
        while not ready():
            self.read_frame()

    def finish(self, stream):
        """Reads until the stream is over, complete or reset."""
        self.read_until(lambda: stream.over)
        return stream

    def read_until_closed(self):
        """Reads what still comes; the connection must end."""
        try:
            while True:
                self.read_frame()
        except Closed:
            return self.goaway

    def ping(self):
        """True once the router has handled all that was sent before."""
        mark = b'%08d' % len(self.pongs)
        self.send(frame(PING, 0, 0, mark))
        self.read_until(lambda: mark in self.pongs)
        return True


def dict_of(fields):
    """Checks an answer's fields as a strict client does: (fields without the status, status)."""
    assert fields and fields[0][0] == ':status', f'an answer begins with {fields[:1]}'
    for name, _ in fields[1:]:
        assert name == name.lower() and not name.startswith(':'), f'a field is called {name}'
        assert name not in ('connection', 'transfer-encoding', 'keep-alive'), f'{name} over HTTP/2'
    return fields[1:], int(fields[0][1])
