"""The parts of clients and servers that tests look at, each reached in this one place.

Enters: a client, or a server. Leaves: the part. Fails: never.
"""


def cache_of(client):
    """Return the cache of a client."""
    return client._cache


def link_of(client):
    """Return what keeps a client connected."""
    return client._server


def state_of(client):
    """Return what a client knows of its server's storage."""
    return client._state


def loop_of(server):
    """Return the loop of a server."""
    return next(iter(server.hosted.values())).loop


def connections_of(server):
    """Return all connections of a server, registered or not."""
    return server._peers


def channel_of(peer):
    """Return the channel of a server's connection."""
    return peer._channel


def unsent(channel):
    """Return how many bytes wait to be sent through a channel."""
    return channel._pending


def record_index(cache):
    """Return the index of a cache file."""
    return cache._index


def revisions_of(cache):
    """Return the revisions in a cache file."""
    return cache._revisions


def regions_of(cache):
    """Return the regions of a cache file, which give out places."""
    return revisions_of(cache)._regions


def primary_link_of(client):
    """Return what keeps a client connected to the server that takes its writes."""
    return client._primary


def commits_of(client):
    """Return the transactions of a client that are under way."""
    return client._commits
