"""Servers and clients of both sides, ours and ZEO 6 from PyPI."""

import pytest

from support.children import Child
from support.commands import ServerCommand
from support.kinds import FILE, FILE_TRANSFERRED_BLOBS
from support.served import Servers
from support.sides import OURS, PEER, WHY_NO_PEER

SIDES = {'ours': OURS, 'peer': PEER}


def pytest_collection_modifyitems(items):
    """Mark the tests of this folder, and skip them where there is no other side."""
    for item in items:
        if '/interop/' in str(item.path):
            item.add_marker(pytest.mark.interop)
            if PEER is None:
                item.add_marker(pytest.mark.skip(reason=WHY_NO_PEER))


@pytest.fixture(params=['ours', 'peer'])
def server_side(request):
    """Run a test on a server of ours, and on one of ZEO 6."""
    return SIDES[request.param]


@pytest.fixture(scope='session')
def idle_agents():
    """Keep client processes from test to test, since starting one takes long."""
    idle = {'ours': [], 'peer': []}
    yield idle
    for agents in idle.values():
        for agent in agents:
            agent.close(2)


@pytest.fixture
def new_agent(idle_agents):
    """Hand out client processes; what they have opened is closed with the test."""
    agents = []

    def start(side):
        idle = idle_agents[side]
        agent = idle.pop() if idle else Child(SIDES[side], 'support.agent', cwd='/tmp')
        agents.append((agent, idle))
        return agent

    yield start
    for agent, idle in agents:
        if agent.is_idle:
            agent.call('close')
            idle.append(agent)
        else:
            agent.close(0)


@pytest.fixture
def agents(new_agent):
    """Return a client process of ours, and one of ZEO 6."""
    return new_agent('ours'), new_agent('peer')


@pytest.fixture(scope='session')
def hosts():
    """Keep a server process of each side, which serves one storage after another."""
    hosts = {name: Servers(side) for name, side in SIDES.items()}
    yield hosts
    for host in hosts.values():
        host.end()


@pytest.fixture
def serve(hosts, tmp_path):
    """Serve fresh FileStorages in processes that go on to serve others after the test."""
    used = []

    def serve_fresh(side, name='server', blobs=False, **options):
        kind = FILE_TRANSFERRED_BLOBS if blobs else FILE
        host = hosts[side.name]
        used.append(host)
        directory = str(tmp_path / name)
        return host.serve(kind, directory, f'{directory}/blobs', slot=name, **options)

    yield serve_fresh
    for host in used:
        host.stop()


@pytest.fixture
def new_server(tmp_path):
    """Make server commands, which a test can kill and start again; they end with the test."""
    servers = []

    def make(side, name='server', **options):
        server = ServerCommand(side, tmp_path / name, **options)
        servers.append(server)
        return server

    yield make
    for server in servers:
        server.close()
