"""Anything at all as an argument: a result, or an error that names function, argument and rule."""

import buffer_calls
import numpy as np
import pytest
import store_calls
import torch
from bad_input import raw_errors
from buffer_calls import a_buffer, rival
from fastrl.replay import MixReplay
from small_rows import rows
from store_calls import a_store, index, levels


def calls():
    return buffer_calls.functions() | store_calls.functions()


NAMES = tuple(calls())


@pytest.fixture(scope="module")
def table():
    return calls()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES)
def test_wrong_arguments_are_named(name, table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    raw = raw_errors(*table[name])
    assert not raw, "\n".join(raw)


def test_right_arguments_are_taken(table):
    for call, arguments in table.values():
        if not {"path", "storage", "infos"} & arguments.keys():
            call(**arguments)


def test_nothing_is_what_it_looks_like_to_buffers():
    """Empty lists and arrays of any dtype: a result without items, and nothing has changed."""
    buffer = a_buffer()
    before = buffer.handles().tolist(), buffer.num_added, buffer.refused_updates
    for empty in (
        [],
        (),
        np.zeros(0),
        np.zeros(0, np.int64),
        torch.zeros(0),
        torch.zeros(0).long(),
    ):
        assert buffer.evict(empty) == 0
        assert buffer.update_priorities(empty, empty) == 0
        assert buffer.priorities(empty).shape == (0,)
        assert buffer.are_drawable(empty).shape == (0,)
        assert len(buffer.gather(empty)) == 0
        assert buffer.gather(empty, output="torch").observations.shape == (0, 3)
        assert len(buffer.places(empty).rows) == 0
        assert buffer.gather_rows(empty, empty)["observations"].shape == (0, 3)
        assert buffer.gather_rows([0], [0], empty) == {}
        buffer.end_episode(empty)
        buffer.end_episode(empty, np.zeros((0, 3)))
        added = buffer.add(**rows(0) | {"terminated": empty, "truncated": empty}, lanes=empty)
        assert added.shape == (0,)
        steps = {name: np.zeros((0, 4, *value.shape[1:])) for name, value in rows(4).items()}
        flags = dict.fromkeys(("terminated", "truncated"), np.zeros((0, 4), bool))
        assert buffer.add(**steps | {"actions": np.zeros((0, 4), np.int8)} | flags).shape == (0, 4)
        mix = MixReplay({"a": buffer})
        assert mix.update_priorities(empty, empty, empty) == 0
        assert rival().update_priorities(empty, empty) is None
    assert (buffer.handles().tolist(), buffer.num_added, buffer.refused_updates) == before


def test_nothing_is_what_it_looks_like_to_stores():
    for empty in ([], np.zeros(0), np.zeros(0, np.int64), torch.zeros(0)):
        index().set_priorities(empty, empty)
        index().clear(empty)
        assert index().weights(empty).shape == (0,)
        assert levels().update(empty, empty) == levels().remove(empty) == 0
    store = a_store()
    none = np.zeros(0, np.int64)
    assert store.remove(none) == store.update(none) == 0
    assert store.get(none).handles.shape == store.contains(none).shape == (0,)
