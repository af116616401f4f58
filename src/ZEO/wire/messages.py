"""Frames <-> messages.

Enters: a frame. Leaves: a message, whose shape is checked. Fails: :class:`ProtocolError` for
anything else.

There are two codecs: `Z5` pickles messages, `M5` packs them with msgpack.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from ZEO.Exceptions import ConfigurationError, ProtocolError
from ZEO.wire import (
    answer_templates,
    faults,
    packed,
    packed_templates,
    pickles,
    templates,
    transaction_templates,
)
from ZEO.wire.checks import MAX_PARTS, SHORT
from ZEO.wire.frames import FrameReader, frame, framed
from ZEO.wire.message import (
    FAULT,
    FROM_TEMPLATE,
    REPLY,
    Codec,
    EchoedId,
    Message,
    checked,
    requested,
)
from ZEO.wire.quoting import cleaned
from ZEO.wire.transaction_frames import PickledFrames, TransactionFrames


class PickleCodec(PickledFrames):
    """Protocol `Z5`: each message is a pickle; the most frequent are made by templates."""

    name = b'Z5'
    most_parts = MAX_PARTS

    def decode(self, data: bytes | bytearray) -> Message:
        loaded = templates.read_loaded(data)
        if loaded is not None:
            return loaded
        if data.startswith(answer_templates.INVALIDATION):
            invalidation = answer_templates.read_invalidation(data)
            if invalidation is not None:
                return invalidation
        elif len(data) <= answer_templates.LONGEST:
            short = answer_templates.read(data)
            if short is not None:
                return short
        pickles.check_answer(data)
        return checked(pickles.loads(data, answer=True))

    def decode_request(self, data: bytes | bytearray) -> Message:
        load = templates.read_load(data)
        if load is not None:
            message_id, oid, tid = load
            return EchoedId(message_id), False, 'loadBefore', (oid, tid)
        if type(data) is bytes:
            if data.startswith(templates.STORE):
                store = templates.read_store(data)
                if store is not None:
                    return FROM_TEMPLATE, True, 'storea', store
            elif data.endswith(transaction_templates.END):
                end = transaction_templates.read_end(data)
                if end is not None:
                    message_id, name, args = end
                    return EchoedId(message_id), False, name, args
                chunk = data.startswith(templates.CHUNK) and templates.read_chunk(data)
                if chunk:
                    return FROM_TEMPLATE, True, 'storeBlobChunk', chunk
            elif data.startswith(templates.RESTORE):
                restore = templates.read_restore(data)
                if restore is not None:
                    return FROM_TEMPLATE, True, 'restorea', restore
            else:
                begin = transaction_templates.read_begin(data)
                if begin is not None:
                    return FROM_TEMPLATE, True, 'tpc_begin', begin
        pickles.check(data, self.most_parts)
        return requested(pickles.loads(data))

    def decode_first(self, data: bytes | bytearray) -> Message:
        pickles.check_first(data)
        return requested(pickles.loads(data))

    def call(self, message_id: int, name: str, args: tuple[Any, ...]) -> bytes:
        return pickles.dumps((message_id, False, name, args))

    def send(self, name: str, args: tuple[Any, ...]) -> bytes:
        return (
            (name == 'storea' and templates.store(*args))
            or (name == 'restorea' and templates.restore(*args))
            or pickles.dumps((0, True, name, args))
        )

    def chunk(self, data: bytes) -> Sequence[bytes]:
        return templates.chunk(data) or (frame(self.send('storeBlobChunk', (data,))),)

    def load_before(self, message_id: int, oid: bytes, tid: bytes) -> bytes:
        if len(oid) == len(tid) == 8:
            return templates.LOAD % (message_id.to_bytes(4, 'little'), oid, tid)
        return frame(self.call(message_id, 'loadBefore', (oid, tid)))

    read_loaded_frame = staticmethod(templates.read_loaded_frame)
    read_arrived = staticmethod(answer_templates.read_arrived)

    def info(self, figures: dict[str, Any]) -> bytes:
        return answer_templates.info(figures) or self.send('info', (figures,))

    def reply(self, message_id: Any, result: Any) -> bytes:
        if type(message_id) is EchoedId:
            short = answer_templates.reply(message_id, result)
            if short is not None:
                return short
        return pickles.dumps((self._plain(message_id), 0, REPLY, result))

    voted = staticmethod(answer_templates.voted)
    committed = staticmethod(answer_templates.committed)

    def loaded(
        self, message_id: Any, data: bytes, tid: bytes, end: bytes | None
    ) -> Sequence[bytes]:
        if type(message_id) is not EchoedId:
            return (frame(self.reply(message_id, (data, tid, end))),)
        return templates.loaded(message_id, data, tid, end)

    def failure(self, message_id: Any, error: BaseException) -> bytes:
        return pickles.dumps((self._plain(message_id), FAULT, REPLY, faults.describe(error)))

    @staticmethod
    def _plain(message_id: Any) -> Any:
        return (
            pickles.loads(b'\x80\x03%b.' % message_id)
            if type(message_id) is EchoedId
            else message_id
        )


class MsgpackCodec(TransactionFrames):
    """Protocol `M5`: each message is packed with msgpack, which is installed separately."""

    name = b'M5'
    most_parts = MAX_PARTS

    def __init__(self) -> None:
        try:
            import msgpack
        except ImportError:
            raise ConfigurationError(
                'the protocol M5 needs the package msgpack: pip install msgpack'
            ) from None
        self._pack = msgpack.packb  # one Packer would not stand several threads
        # Nothing may be longer than the message: that is its default. All but that is given once.
        self._unpack = partial(
            msgpack.unpackb, raw=False, use_list=False, strict_map_key=False, max_ext_len=0
        )

    def decode(self, data: bytes | bytearray) -> Message:
        loaded = packed_templates.read_loaded(data)
        if loaded is not None:
            return loaded
        if len(data) <= packed_templates.LONGEST:
            short = packed_templates.read_reply(data)
            if short is not None:
                return short
        if len(data) < SHORT or packed.is_record(data):
            return checked(self._unpacked(data, None))
        packed.check_answer(data)
        return checked(self._unpacked(data, packed.Mapping()))

    def decode_request(self, data: bytes | bytearray) -> Message:
        if len(data) < SHORT:
            load = packed_templates.read_load(data)
            if load is None:
                return requested(self._unpacked(data, None))
            message_id, oid, tid = load
            return EchoedId(message_id), False, 'loadBefore', (oid, tid)
        if packed.is_record(data):
            return requested(self._unpacked(data, None))
        packed.check(data, self.most_parts)
        return requested(self._unpacked(data, packed.Mapping()))

    def decode_first(self, data: bytes | bytearray) -> Message:
        packed.check_first(data)
        return requested(self._unpacked(data, None))

    def _unpacked(self, data: bytes | bytearray, mapping: packed.Mapping | None) -> Any:
        try:
            return self._unpack(data, object_pairs_hook=mapping)
        except ProtocolError:
            raise
        # msgpack raises its own exceptions and builtin ones for bad bytes.
        except Exception as error:
            raise ProtocolError(
                f'a message that is not msgpack: {type(error).__name__}: {cleaned(str(error))}'
            ) from None

    def call(self, message_id: int, name: str, args: tuple[Any, ...]) -> bytes:
        return self._pack((message_id, False, name, args))

    def send(self, name: str, args: tuple[Any, ...]) -> bytes:
        return self._pack((0, True, name, args))

    def chunk(self, data: bytes) -> Sequence[bytes]:
        return framed(self.send('storeBlobChunk', (data,)))

    def load_before(self, message_id: int, oid: bytes, tid: bytes) -> bytes:
        return packed_templates.load(message_id, oid, tid) or frame(
            self.call(message_id, 'loadBefore', (oid, tid))
        )

    read_loaded_frame = staticmethod(packed_templates.read_loaded_frame)

    def read_arrived(self, frames: FrameReader, count: int) -> list[Message] | None:
        return None

    def info(self, figures: dict[str, Any]) -> bytes:
        return self.send('info', (figures,))

    def reply(self, message_id: Any, result: Any) -> bytes:
        return self._pack((self._plain(message_id), 0, REPLY, result))

    def voted(self, message_id: Any, /) -> bytes:
        return frame(self.reply(message_id, []))

    def committed(self, message_id: Any, tid: bytes, figures: dict[str, Any], /) -> bytes | None:
        return None

    def loaded(
        self, message_id: Any, data: bytes, tid: bytes, end: bytes | None
    ) -> Sequence[bytes]:
        if type(message_id) is not EchoedId:
            return (frame(self.reply(message_id, (data, tid, end))),)
        return packed_templates.loaded(message_id, data, tid, end)

    def failure(self, message_id: Any, error: BaseException) -> bytes:
        return self._pack((self._plain(message_id), FAULT, REPLY, faults.describe(error)))

    def _plain(self, message_id: Any) -> Any:
        return self._unpack(message_id) if type(message_id) is EchoedId else message_id


def codec(name: bytes) -> Codec:
    """Return a codec for the protocol `name`, ``b'Z5'`` or ``b'M5'``.

    :raises ProtocolError: for any other name.
    :raises ConfigurationError: for `M5` without msgpack.
    """
    if name == b'Z5':
        return PickleCodec()
    if name == b'M5':
        return MsgpackCodec()
    raise ProtocolError(f'the peer speaks {name[:20]!r}; this is a ZEO of protocol Z5 (or M5)')
