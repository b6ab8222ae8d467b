"""An HTTP/1.1 client that hides nothing: every byte of an answer can be looked at, and a request sent in
any pieces. It uses Python's ssl, so OpenSSL is the other side of the router's TLS.
"""
import json
import select
import socket
import ssl
import struct
import time

CHAT = '/v1/chat/completions'


class Closed(Exception):
    """The peer closed or reset where an answer had to go on."""


class Response:
    def __init__(self, status, fields):
        self.status = status
        self.fields = fields  # as (name, value), names in lower case
        self.pieces = []      # of the body: it is joined when somebody wants to see it
        self.complete = False

    @property
    def body(self):
        if len(self.pieces) != 1:
            self.pieces = [b''.join(self.pieces)]
        return self.pieces[0]

    @body.setter
    def body(self, whole):
        self.pieces = [whole]

    def field(self, name):
        for field, value in self.fields:
            if field == name:
                return value
        return None

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f'{self.status} {self.body[:200]!r}'


class Client:
    """One connection. target has host, port and, for TLS, the CA file and the name to verify."""

    def __init__(self, host, port, ca=None, name=None, timeout=20, versions=None, source=None, window=None,
                 context=None, session=None, connect_tls=True):
        family = socket.AF_INET6 if ':' in host else socket.AF_INET
        plain = socket.socket(family, socket.SOCK_STREAM)
        if window:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        plain.settimeout(timeout)
        if source:
            plain.bind(source)
        plain.connect((host, port))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = plain
        self.host = name or host
        self.buffer = bytearray()  # what is received and not read
        self.outgoing = None  # the pieces of pour() that are left
        self.unsent = b''
        self.sent = 0  # bytes of pour()
        if ca and connect_tls:
            context = context or tls_context(ca, versions)
            self.socket = context.wrap_socket(plain, server_hostname=name, session=session)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def reset(self):
        """Goes away as a crashed client does: RST, no close_notify."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def pour(self, pieces):
        """What is received from now on is received while these pieces are sent: a connection of OpenSSL is one
        thread's, so both ways at once is one loop."""
        self.outgoing = iter(pieces)

    def pump(self, seconds):
        """Sends what is poured and reads nothing. Returns the bytes that were taken."""
        clock, before = elapsed(), self.sent
        while self.outgoing and clock() < seconds:
            if not self.send_some():
                select.select([], [self.socket], [], max(0, seconds - clock()))
        return self.sent - before

    def send_some(self):
        """False when the connection takes nothing now."""
        timeout = self.socket.gettimeout()
        self.socket.setblocking(False)
        try:
            if not self.unsent:
                self.unsent = next(self.outgoing, b'')
                if not self.unsent:
                    self.outgoing = None
                    return True
            sent = self.socket.send(self.unsent)
            self.unsent = self.unsent[sent:]
            self.sent += sent
            return True
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        finally:
            self.socket.settimeout(timeout)

    def receive_pouring(self, size):
        """Sends until something can be received; None when all is sent."""
        clock = elapsed()
        while self.outgoing:
            timeout = self.socket.gettimeout()
            self.socket.setblocking(False)
            try:
                return self.socket.recv(size)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                pass
            finally:
                self.socket.settimeout(timeout)
            if not self.send_some():
                if clock() > timeout:
                    raise TimeoutError('nothing was taken and nothing came')
                select.select([self.socket], [self.socket], [], timeout)
        return None

    def receive(self, size=65536):
        try:
            data = self.receive_pouring(size)
            if data is None:
                data = self.socket.recv(size)
        except (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError, ssl.SSLZeroReturnError) as why:
            raise Closed(type(why).__name__) from why
        if not data:
            raise Closed('end')
        return data

    # ---- requests

    def head(self, method, path, key=None, fields=(), length=None):
        lines = [f'{method} {path} HTTP/1.1', f'Host: {self.host}']
        if key:
            lines.append(f'Authorization: Bearer {key}')
        if length is not None:
            lines += ['Content-Type: application/json', f'Content-Length: {length}']
        lines += [f'{name}: {value}' for name, value in fields]
        return ('\r\n'.join(lines) + '\r\n\r\n').encode()

    def start(self, method, path, key=None, body=None, fields=()):
        """Sends a request and returns the head of its answer."""
        data = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
        length = len(data) if data is not None else None
        self.send(self.head(method, path, key, fields, length) + (data or b''))
        return self.read_head()

    def request(self, method, path, key=None, body=None, fields=()):
        response = self.start(method, path, key, body, fields)
        self.read_body(response, method)
        return response

    def begin(self, key, body, fields=()):
        return self.start('POST', CHAT, key, body, fields)

    def ask(self, key, body, fields=()):
        """A chat completion, whole."""
        return self.request('POST', CHAT, key, body, fields)

    # ---- answers

    def read_until(self, mark):
        while (end := self.buffer.find(mark)) < 0:
            self.buffer += self.receive()
        part = self.read_exactly(end)
        del self.buffer[:len(mark)]
        return part

    def read_exactly(self, size):
        while len(self.buffer) < size:
            self.buffer += self.receive()
        part = bytes(self.buffer[:size])
        del self.buffer[:size]
        return part

    def read_head(self):
        while True:
            lines = self.read_until(b'\r\n\r\n').decode('latin-1').split('\r\n')
            version, status = lines[0].split(' ', 2)[:2]
            assert version == 'HTTP/1.1', f'the answer begins with {lines[0]!r}'
            fields = []
            for line in lines[1:]:
                name, value = line.split(':', 1)
                fields.append((name.lower(), value.strip()))
            if not 100 <= int(status) < 200:
                return Response(int(status), fields)

    def chunks(self, response):
        """The pieces of a chunked body, as framed; response.complete once the last chunk was there."""
        while True:
            line = self.read_until(b'\r\n')
            size = int(line.split(b';')[0], 16)
            if size == 0:
                assert self.read_until(b'\r\n') == b'', 'there are trailers'
                response.complete = True
                return
            yield self.read_exactly(size)
            assert self.read_exactly(2) == b'\r\n', 'a chunk does not end with its line'

    def read_body(self, response, method='POST'):
        if method == 'HEAD' or response.status in (204, 304):
            response.complete = True
        elif response.field('transfer-encoding') == 'chunked':
            for chunk in self.chunks(response):
                response.pieces.append(chunk)
        else:
            length = response.field('content-length')
            assert length is not None, 'neither length nor chunks'
            response.body = self.read_exactly(int(length))
            response.complete = True

    def read_events(self, response):
        """Server-sent events one by one, each with its empty line; may end with Closed."""
        rest = b''
        for chunk in self.chunks(response):
            rest += chunk
            response.pieces.append(chunk)
            while b'\n\n' in rest:
                event, rest = rest.split(b'\n\n', 1)
                yield event + b'\n\n'
        assert rest == b'', f'a stream ends inside an event: {rest[:80]!r}'

    def is_closed(self, seconds=5):
        """Whether the peer ends the connection and sends nothing more before."""
        self.socket.settimeout(seconds)
        try:
            data = self.buffer or self.receive()
        except Closed:
            return True
        except TimeoutError:
            return False
        raise AssertionError(f'more bytes where the connection had to end: {data[:100]!r}')


def tls_context(ca, versions=None):
    context = ssl.create_default_context(cafile=ca)
    context.set_alpn_protocols(['http/1.1'])
    if versions:
        context.minimum_version, context.maximum_version = versions
    return context


def chat(text='hello', model='sim', **more):
    return {'model': model, 'messages': [{'role': 'user', 'content': text}], **more}


def sim(words, text='hello'):
    """A message that tells the simulated backend what to do."""
    return f'{text} [[sim {words}]]'


def elapsed():
    start = time.monotonic()
    return lambda: time.monotonic() - start
