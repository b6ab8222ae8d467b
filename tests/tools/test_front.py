#!/usr/bin/env python3
"""sluice-front leads bytes, ends and resets into its namespaces and back: test_front.py PATH_OF_FRONT."""
import os
import socket
import struct
import subprocess
import sys
import threading
import unittest

FRONT = ''
INSIDE = r'''
import os, socket, struct, subprocess, sys, threading
subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=True)
server = socket.create_server(('127.0.0.1', 7))
print('ready', os.readlink('/proc/self/ns/net'), len(os.listdir('/dev/shm')), flush=True)
def serve(client):
    first = client.recv(1)
    if first == b'E':                       # echo until the end, then end
        while piece := client.recv(65536):
            client.sendall(piece)
        client.sendall(b'end')
    elif first == b'R':                     # reset
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    elif first == b'W':                     # tell how the other side went away
        client.sendall(b'w')
        try:
            how = b'end' if client.recv(1) == b'' else b'bytes'
        except ConnectionResetError:
            how = b'reset'
        print(how.decode(), flush=True)
    elif first == b'X':
        os._exit(7)
    client.close()
while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
'''


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


class Front(unittest.TestCase):
    def setUp(self):
        self.port = free_port()
        self.front = subprocess.Popen(
            [FRONT, '--listen', f'127.0.0.1:{self.port}=127.0.0.1:7', '--', 'python3', '-c', INSIDE],
            stdout=subprocess.PIPE, text=True)
        self.watchdog = threading.Timer(30, self.front.kill)
        self.watchdog.start()
        self.ready = self.front.stdout.readline().split()

    def tearDown(self):
        self.watchdog.cancel()
        self.front.terminate()
        self.front.wait(timeout=10)
        self.front.stdout.close()

    def connect(self, first):
        client = socket.create_connection(('127.0.0.1', self.port), timeout=10)
        client.sendall(first)
        return client

    def test_the_command_lives_in_a_network_and_shared_memory_of_its_own(self):
        self.assertEqual(self.ready[0], 'ready')
        self.assertNotEqual(self.ready[1], os.readlink('/proc/self/ns/net'))
        self.assertEqual(self.ready[2], '0')

    def test_every_byte_arrives_and_a_half_closed_connection_still_answers(self):
        sent = os.urandom(3_000_000)
        got = b''
        with self.connect(b'E') as client:
            for i in range(0, len(sent), 30_000):
                client.sendall(sent[i:i + 30_000])
                got += client.recv(30_000)
            client.shutdown(socket.SHUT_WR)
            while piece := client.recv(65536):
                got += piece
        self.assertEqual(got, sent + b'end')

    def test_a_reset_inside_resets_the_client(self):
        with self.connect(b'R') as client, self.assertRaises(ConnectionResetError):
            client.recv(1)

    def test_a_reset_of_the_client_resets_the_connection_inside(self):
        client = self.connect(b'W')
        self.assertEqual(client.recv(1), b'w')
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        client.close()
        self.assertEqual(self.front.stdout.readline(), 'reset\n')

    def test_an_end_of_the_client_is_an_end_inside(self):
        with self.connect(b'W') as client:
            self.assertEqual(client.recv(1), b'w')
        self.assertEqual(self.front.stdout.readline(), 'end\n')

    def test_it_ends_as_its_command_ends(self):
        self.connect(b'X').close()
        self.assertEqual(self.front.wait(timeout=10), 7)

    def test_many_connections_at_once(self):
        clients = [self.connect(b'E') for _ in range(200)]
        for i, client in enumerate(clients):
            client.sendall(b'%d' % i)
            client.shutdown(socket.SHUT_WR)
        for i, client in enumerate(clients):
            got = b''
            while piece := client.recv(100):
                got += piece
            self.assertEqual(got, b'%dend' % i)
            client.close()


if __name__ == '__main__':
    FRONT = sys.argv.pop(1)
    unittest.main()
