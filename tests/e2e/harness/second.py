"""Another router on the cluster's PostgreSQL database: the same file but for its name, its spool, its ports and its link.

     this namespace          the edge's namespace
     host1  10.79.0.1  <veth>  edge1  10.79.0.2 (the second dataplane's)

The backends stay where they are: for it they are behind a gateway.
"""
import os
import re
import ssl

from harness import net
from harness.admin import Admin
from harness.client import Client, Closed
from harness.cluster import NAME, PORT
from harness.proc import Process, run, wait_for

HOST4, EDGE4 = '10.79.0.1', '10.79.0.2'
ADMIN_PORT = 9901


def make_link():
    run('ip', 'link', 'add', 'host1', 'type', 'veth', 'peer', 'name', 'edge1')
    run('ip', 'link', 'set', 'edge1', 'netns', str(net.edge_pid))
    run('ip', 'address', 'add', f'{HOST4}/24', 'dev', 'host1')
    run('ip', 'link', 'set', 'host1', 'up')
    run(*net.in_edge(), 'ip', 'link', 'set', 'edge1', 'up')
    net.offloads_off('host1')
    net.offloads_off('edge1', net.in_edge())


class Second:
    """Used in a with statement. What a Load wants of a cluster it has, too."""

    def __init__(self, cluster, name='e2e2', folder='second', has_dataplane=True, connection=None):
        self.cluster = cluster
        self.name = name
        self.root = os.path.join(cluster.root, folder)
        os.makedirs(f'{self.root}/spool', exist_ok=True)
        self.config = f'{self.root}/sluice.yaml'
        self.connection = connection or cluster.postgres.connection()
        self.write_config()
        self.admin = Admin(f'http://127.0.0.1:{ADMIN_PORT}', cluster.admin.token)
        self.control = self.process('control', [])
        self.dataplane = self.process('dataplane', net.in_edge()) if has_dataplane else None

    def process(self, name, prefix):
        return Process(f'{name}2', [*prefix, os.path.join(self.cluster.build, f'{name}/sluice-{name}'), '--config',
                                    self.config], f'{self.root}/{name}.log')

    def write_config(self):
        with open(self.cluster.config, encoding='ascii') as file:
            text = file.read()
        for pattern, instead in (
                (r'\ninstance: .*', f'\ninstance: {self.name}'),
                (r'\nworkers: .*', '\nworkers: 1'),
                (r'\n  - device: .*\n    addresses: .*', f'\n  - device: "net_af_packet0,iface=edge1,qpairs=1"\n'
                                                         f'    addresses: [{EDGE4}/24]\n    gateway4: {HOST4}'),
                (rf'{self.cluster.root}/spool', f'{self.root}/spool'),
                (r'(\nadmin:\n.*\n  port: )\d+', rf'\g<1>{ADMIN_PORT}'),
                (r'\n  connection: .*', f'\n  connection: "{self.connection}"')):
            text, count = re.subn(pattern, instead, text)
            assert count == 1, f'{count} times {pattern}'
        with open(self.config, 'w', encoding='ascii') as file:
            file.write(text)

    def __enter__(self):
        self.control.start()
        wait_for(self.admin.answers, 20, 'the second control does not answer')
        if self.dataplane:
            make_link()
            self.dataplane.start()
            wait_for(self.serves, 30, 'the second dataplane does not serve')
        return self

    def __exit__(self, *_):
        if self.dataplane:
            self.dataplane.stop()
            run('ip', 'link', 'delete', 'host1')
        self.control.stop()
        os.unlink(f'/dev/shm/{self.name}')

    def serves(self):
        assert self.dataplane.is_alive(), f'it ended: {self.dataplane.log_text()[-600:]}'
        try:
            with self.client(timeout=2) as client:
                return client.request('GET', '/readyz').status == 200
        except (OSError, ssl.SSLError, Closed):
            return False

    @property
    def key(self):
        return self.cluster.key

    def client(self, **options):
        return Client(EDGE4, PORT, ca=self.cluster.ca, name=NAME, **{'context': self.cluster.tls, **options})

    def dump(self, table):
        return run(os.path.join(self.cluster.build, 'tools/shmdump/shmdump'), f'/dev/shm/{self.name}', table)
