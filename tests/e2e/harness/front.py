"""TLS in front of a backend that speaks clear text: a server as others write it, with faults on demand."""
import socket
import ssl
import threading

PIECE = 65536


class Front:
    """Takes connections at a port of its own; `fault` is what becomes of the next ones:

    'close': closed at once; 'reset': behind the ClientHello; 'silent': nothing is said; 'garbage': what is no TLS;
    'cut': the answer's end is the connection's, without close_notify.
    """

    def __init__(self, listen, port, to_port, chain, key, versions=None):
        self.address, self.to = (listen, port), (listen, to_port)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(chain, key)
        self.context.set_alpn_protocols(['http/1.1'])
        if versions:
            self.context.minimum_version, self.context.maximum_version = versions
        self.fault = None
        self.connections = self.full = self.resumed = 0
        self.names = []
        self.context.sni_callback = lambda tls, name, context: self.names.append(name)
        self.open = set()
        self.listener = socket.create_server(self.address, backlog=64)
        threading.Thread(target=self.accept, daemon=True).start()

    def close(self):
        # A thread in accept() would keep the port.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.drop()

    def drop(self):
        """What is open is cut."""
        for plain in list(self.open):
            try:
                plain.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def accept(self):
        while True:
            try:
                plain, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self.serve, args=(plain,), daemon=True).start()

    def serve(self, plain):
        fault = self.fault
        try:
            if fault in ('close', 'reset', 'garbage'):
                if fault != 'close':
                    plain.recv(1)
                if fault == 'garbage':
                    plain.sendall(b'HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n')
                plain.close()
                return
            if fault == 'silent':
                while plain.recv(PIECE):
                    pass
                return
            self.open.add(plain)
            tls = self.context.wrap_socket(plain, server_side=True)
            self.open.add(tls)
            self.resumed += tls.session_reused
            self.full += not tls.session_reused
            self.carry(tls, fault)
        except (OSError, ValueError):  # the other thread of the two may have ended it
            pass

    def carry(self, tls, fault):
        with socket.create_connection(self.to) as backend:
            threading.Thread(target=self.upload, args=(tls, backend), daemon=True).start()
            while piece := backend.recv(PIECE):
                tls.sendall(piece)
        if fault == 'cut':
            tls.close()
            return
        try:
            tls.unwrap()
        finally:
            tls.close()

    @staticmethod
    def upload(tls, backend):
        try:
            while piece := tls.recv(PIECE):
                backend.sendall(piece)
            backend.shutdown(socket.SHUT_WR)
        except OSError:
            pass
