"""A client's blocking stream: several threads may use it, and no wait is for ever."""

import socket
import threading

import pytest

from ZEO.net import addresses
from ZEO.net import stream as stream_module
from ZEO.net.stream import Stream


@pytest.fixture
def ends(monkeypatch):
    """A stream that is impatient, and the other end."""
    monkeypatch.setattr(stream_module, 'STALLED', 0.1)
    here, there = socket.socketpair()
    there.settimeout(20)
    stream = Stream(here)
    yield stream, there
    stream.close()
    there.close()


def buffer(size=100):
    return memoryview(bytearray(size))


def test_bytes_come_and_go(ends):
    stream, there = ends
    stream.send(b'hello')
    assert there.recv(100) == b'hello'
    there.send(b'world')
    into = buffer()
    assert stream.wait(20) and stream.recv_into(into) == 5
    assert bytes(into[:5]) == b'world'


def test_a_read_comes_back_after_a_tick(ends):
    assert not ends[0].wait(0.05)


def test_the_end(ends):
    stream, there = ends
    there.close()
    assert stream.wait(20) and stream.recv_into(buffer()) == 0


def test_reading_what_is_there_does_not_wait(ends, monkeypatch):
    stream, there = ends
    with pytest.raises(BlockingIOError):
        stream.recv_into(buffer())
    there.send(b'x')
    assert stream.recv_into(buffer()) == 1


def test_waiting_takes_nothing(ends):
    stream, there = ends
    assert not stream.wait_readable(0)
    there.send(b'x')
    assert stream.wait_readable(20)
    assert stream.recv_into(buffer()) == 1


@pytest.mark.parametrize(
    'pieces',
    [[b'a', b'', b'b' * 10], [b'head', bytes(range(256)) * 10_000, b'tail'], [b'x' * 1000] * 2000],
)
def test_pieces_go_out_whole_and_in_their_order(ends, pieces):
    stream, there = ends
    sender = threading.Thread(target=stream.send_all, args=(pieces,), daemon=True)
    sender.start()
    data, got = b''.join(pieces), b''
    while len(got) < len(data):
        got += there.recv(1_000_000)
    sender.join(20)
    assert got == data


def test_pieces_that_are_taken_slowly(ends):
    stream, there = ends
    data = bytes(range(256)) * 4000
    sender = threading.Thread(target=stream.send_all, args=([b'head', data],), daemon=True)
    sender.start()
    got = b''
    while len(got) < len(data) + 4:
        threading.Event().wait(0.06)  # so that a write ends with a part, but never without any
        got += there.recv(200_000)
    sender.join(20)
    assert got == b'head' + data


def test_pieces_that_nobody_takes(ends):
    with pytest.raises(OSError, match='took no data'):
        ends[0].send_all([b'head', b'x' * 10_000_000])


def test_large_data_goes_out_whole(ends):
    stream, there = ends
    data = bytes(range(256)) * 10_000
    sender = threading.Thread(target=stream.send, args=(data,), daemon=True)
    sender.start()
    got = b''
    while len(got) < len(data):
        got += there.recv(1_000_000)
    sender.join(20)
    assert got == data


def test_a_server_that_takes_nothing_is_given_up(ends):
    with pytest.raises(OSError, match='took no data'):
        ends[0].send(b'x' * 10_000_000)


def test_a_broken_connection(ends):
    stream, there = ends
    there.close()
    with pytest.raises(OSError):
        for _ in range(100):
            stream.send(b'x' * 100_000)


def test_shutting_wakes_a_reader():
    here, there = socket.socketpair()
    stream, found = Stream(here), []
    reader = threading.Thread(
        target=lambda: found.append(stream.wait(50) and stream.recv_into(buffer())), daemon=True
    )
    reader.start()
    stream.shut()
    reader.join(20)
    assert found == [0]
    stream.shut()  # once more is no harm
    stream.close()
    there.close()


def test_connecting():
    (listener,) = addresses.listen(('127.0.0.1', 0))
    stream = stream_module.connect(addresses.bound(listener), 5)
    listener.setblocking(True)
    accepted, _ = listener.accept()
    stream.send(b'x')
    assert accepted.recv(1) == b'x'
    for one in (stream, accepted, listener):
        one.close()
    with pytest.raises(OSError):
        stream_module.connect(('127.0.0.1', 1), 5)


def test_a_stream_that_another_thread_has_closed_can_be_read_which_says_so(ends):
    """It is an error of the network, as those who use it expect, and no other."""
    stream, _ = ends
    stream.close()
    assert stream.wait_readable(20)
    with pytest.raises(OSError):
        stream.recv_into(buffer())
    with pytest.raises(OSError):
        stream.send(b'x')
