"""Namespaces and links.

     this namespace                    the edge's namespace
     clients, backends, control        dataplane
     host0  10.77.0.1, fd77::1  <veth>  edge0  10.77.0.2, fd77::2 (the dataplane's, not the kernel's)

The kernel computes no checksum on a veth and joins segments on it, unless it is told not to: what a
dataplane reads there by AF_PACKET would be packets that no network carries.
"""
import os
import subprocess

from harness.proc import run

HOST4, EDGE4 = '10.77.0.1', '10.77.0.2'
HOST6, EDGE6 = 'fd77::1', 'fd77::2'
TAP_HOST4, TAP_EDGE4 = '10.78.0.1', '10.78.0.2'

edge_pid = None


def offloads_off(device, prefix=()):
    run(*prefix, 'ethtool', '-K', device, 'rx', 'off', 'tx', 'off', 'sg', 'off', 'tso', 'off', 'gso', 'off',
        'gro', 'off')


def in_edge():
    """Words before a command that is to run in the edge's namespace."""
    return ['nsenter', '-t', str(edge_pid), '-n']


def set_up():
    global edge_pid
    run('mount', '-t', 'tmpfs', '-o', 'mode=1777', 'shm', '/dev/shm')
    run('ip', 'link', 'set', 'lo', 'up')
    holder = subprocess.Popen(['unshare', '--net', 'sleep', 'infinity'])
    edge_pid = holder.pid
    ours = os.readlink('/proc/self/ns/net')
    while os.readlink(f'/proc/{edge_pid}/ns/net') == ours:
        pass
    run('ip', 'link', 'add', 'host0', 'numtxqueues', '2', 'numrxqueues', '2', 'type', 'veth', 'peer', 'name',
        'edge0', 'numtxqueues', '2', 'numrxqueues', '2')
    run('ip', 'link', 'set', 'edge0', 'netns', str(edge_pid))
    run('ip', 'address', 'add', f'{HOST4}/24', 'dev', 'host0')
    run('ip', 'address', 'add', f'{HOST6}/64', 'dev', 'host0', 'nodad')
    run('ip', 'link', 'set', 'host0', 'up')
    run(*in_edge(), 'sh', '-c', 'echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6')
    run(*in_edge(), 'ip', 'link', 'set', 'edge0', 'up')
    offloads_off('host0')
    offloads_off('edge0', in_edge())
