"""What most answers to a load are is looked at where they are applied; the plain look says the
same.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ZEO.cache.memory_cache import MemoryCache
from ZEO.Exceptions import ProtocolError
from ZEO.link.state import ClientState
from ZEO.wire import shapes

OID = bytes(7) + b'\1'

ids = st.binary(min_size=7, max_size=9) | st.just(bytes(8))
parts = st.none() | st.integers() | st.text(max_size=8) | st.binary(max_size=20) | ids
results = st.one_of(
    st.none(),
    st.binary(max_size=3),
    st.text(max_size=3),
    st.tuples(st.binary(max_size=9), ids, st.none() | ids),
    st.tuples(parts, parts, parts),
    st.lists(parts, max_size=4),
    st.lists(parts, max_size=4).map(tuple),
    st.dictionaries(ids, parts, min_size=3, max_size=3),
)


@given(results)
def test_an_answer_is_taken_or_refused_as_the_plain_look_says(result):
    cache = MemoryCache()
    state = ClientState(cache)
    if shapes.is_loaded(result):
        assert state.loaded(OID, result) is result
        if result is not None:
            found = list(cache.contents())
            assert found == [(OID, result[1], result[2])]
    else:
        with pytest.raises(ProtocolError):
            state.loaded(OID, result)
        assert not len(cache)
