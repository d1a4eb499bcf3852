"""Saves that cannot be made or read: what is wrong is named, and nothing is lost."""

import errno
import os
import re
from pathlib import Path

import numpy as np
import pytest
from fastrl import _core
from fastrl.replay import (
    LevelSampler,
    MixReplay,
    Prioritized,
    QuotaReplay,
    ReplayBuffer,
    TrajectoryStore,
    load_states,
    save_states,
)
from fresh_process import run_python

FIELDS = {"observations": ((3,), "float32"), "rewards": ((), "float32")}
MANIFEST = "manifest.fastrl"


def made(steps=20):
    buffer = ReplayBuffer(100, FIELDS, num_lanes=2, sampler=Prioritized())
    add(buffer, steps)
    return buffer


def add(buffer, steps):
    ended = np.zeros((steps, 2), bool)
    values = np.arange(steps * 2, dtype=np.float32).reshape(steps, 2)
    observations = np.repeat(values[:, :, None], 3, 2)
    buffer.add(observations=observations, rewards=values, terminated=ended, truncated=ended)


def segments(folder):
    return sorted(folder.glob("segment-*"))


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def flip(path, place=-3):
    content = bytearray(path.read_bytes())
    content[place] ^= 0x10
    path.write_bytes(content)


DAMAGES = {
    "truncated": (truncate, r"has \d+ bytes in place of \d+"),
    "flipped": (flip, r"has the checksum \d+ in place of \d+ in block 0, the \d+ bytes from 32"),
    "missing": (Path.unlink, "is missing"),
    "foreign": (lambda path: path.write_bytes(bytes(path.stat().st_size)), "begins with other"),
}


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("which", [0, -1])
def test_a_damaged_segment_is_named(kind, which, tmp_path):
    damage, message = DAMAGES[kind]
    buffer = made()
    buffer.save(tmp_path / "saved")
    chosen = segments(tmp_path / "saved")[which]
    damage(chosen)
    number = int(chosen.name.split("-")[1].split(".")[0], 16)
    rule = rf"load: `path` must hold an undamaged save, got segment {number} whose file '{chosen}' "
    with pytest.raises(ValueError, match=rule + message):
        ReplayBuffer.load(tmp_path / "saved", storage=tmp_path / "rows")
    assert not (tmp_path / "rows").exists()
    # The next save writes what is gone again, and what is damaged once all is written anew.
    buffer.save(tmp_path / "other")
    assert len(ReplayBuffer.load(tmp_path / "other")) == len(buffer)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "it has [0-9]+ bytes and says [0-9]+"),
        (flip, "its checksum is wrong"),
        (lambda path: path.write_bytes(b""), "it ends too early"),
        (lambda path: path.write_bytes(b"x" * 100), "it does not begin as one"),
    ],
)
def test_a_damaged_manifest_is_named(damage, message, tmp_path):
    buffer = made()
    buffer.save(tmp_path)
    damage(tmp_path / MANIFEST)
    rule = f"load: `path` must hold an undamaged save, got the manifest '{tmp_path / MANIFEST}': "
    with pytest.raises(ValueError, match=rule + message):
        ReplayBuffer.load(tmp_path)
    buffer.save(tmp_path)  # all of it is replaced
    assert len(ReplayBuffer.load(tmp_path)) == len(buffer)


def test_every_flipped_bit_of_a_save_is_found(tmp_path):
    made(3).save(tmp_path)
    places = np.random.default_rng(0)
    for path in tmp_path.iterdir():
        content = path.read_bytes()
        for place in places.integers(0, len(content), 40):
            flip(path, place)
            with pytest.raises(ValueError, match=path.name):
                ReplayBuffer.load(tmp_path)
            path.write_bytes(content)
    assert len(ReplayBuffer.load(tmp_path)) == 6


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


SAVES = {  # what makes an object and gives its function, and what loads one
    "ReplayBuffer": (lambda: made().save, ReplayBuffer.load),
    "TrajectoryStore": (lambda: TrajectoryStore(1 << 20).save, TrajectoryStore.load),
    "set of states": (
        lambda: lambda path: save_states(path, {"levels": LevelSampler(5)}),
        lambda path: load_states(path, {"levels": LevelSampler(5)}),
    ),
    "QuotaReplay": (lambda: QuotaReplay({1: 10, 2: 10}, FIELDS).save, QuotaReplay.load),
    "MixReplay": (lambda: MixReplay({"a": made(), "b": made()}).save, MixReplay.load),
}


def test_a_folder_of_another_kind_is_not_saved_over(tmp_path):
    saves = {kind: make() for kind, (make, _) in SAVES.items()}
    for kind, save in saves.items():
        save(tmp_path / kind)
    for kind, save in saves.items():
        save(tmp_path / kind)
        for other in saves.keys() - {kind}:
            folder = tmp_path / other
            before = contents(folder)
            rule = f"`path` must be a folder for a saved {kind}.*, got '{folder}', which holds a"
            function = "save_states" if kind == "set of states" else "save"
            with pytest.raises(ValueError, match=f"^{function}: {rule} saved {other}"):
                save(folder)
            assert contents(folder) == before


@pytest.mark.parametrize(
    ("kind", "function", "saves"),
    [
        (
            "set of states",
            "save_states",
            lambda names: lambda path: save_states(path, {name: LevelSampler(5) for name in names}),
        ),
        ("MixReplay", "save", lambda names: MixReplay({name: made() for name in names}).save),
        (
            "QuotaReplay",
            "save",
            lambda names: QuotaReplay({int(name): 10 for name in names}, FIELDS).save,
        ),
    ],
)
def test_another_set_is_not_saved_over(kind, function, saves, tmp_path):
    saves(["2", "1"])(tmp_path)
    saves(["1", "2"])(tmp_path)
    before = contents(tmp_path)
    for names in (["1"], ["1", "2", "3"], ["1", "3"]):
        listed = ", ".join(f"'{name}'" for name in names)
        rule = (
            f"{function}: `path` must be a folder for a saved {kind} of {listed}, got "
            f"'{tmp_path}', which holds a saved {kind} of '1', '2'"
        )
        with pytest.raises(ValueError, match=f"^{re.escape(rule)}$"):
            saves(names)(tmp_path)
        assert contents(tmp_path) == before


def test_another_kind_or_version_is_told(tmp_path):
    store = TrajectoryStore(1 << 20)
    store.save(tmp_path / "store")
    made().save(tmp_path / "buffer")
    save_states(tmp_path / "states", {})
    for load, kind, other in (
        (ReplayBuffer.load, "ReplayBuffer", "store"),
        (TrajectoryStore.load, "TrajectoryStore", "buffer"),
        (ReplayBuffer.load, "ReplayBuffer", "states"),
    ):
        rule = f"load: `path` must hold a saved {kind}, got a saved .* in '.*{other}'"
        with pytest.raises(ValueError, match=rule):
            load(tmp_path / other)
    with pytest.raises(
        ValueError, match="load_states: `path` must hold a saved set of states, got a saved Rep"
    ):
        load_states(tmp_path / "buffer", {})
    version = _core.replay_buffer_version
    for layout, message in (
        (
            '{"version": 99}',
            f"hold a ReplayBuffer of version {version}, got one of version 99 in '.*new'",
        ),
        (f'{{"version": {version}}}', "hold a layout that this version knows, got KeyError.*new'"),
        ("[]", "hold a layout that this version knows"),
        ("{", "hold a layout that this version knows"),
    ):
        _core.save_blobs(str(tmp_path / "new"), "ReplayBuffer", layout, [])
        with pytest.raises(ValueError, match=f"load: `path` must {message}"):
            ReplayBuffer.load(tmp_path / "new")
    _core.save_blobs(str(tmp_path / "store 2"), "TrajectoryStore", "{}", [])
    with pytest.raises(ValueError, match="load: `path` must hold a layout that this version knows"):
        TrajectoryStore.load(tmp_path / "store 2")


def test_a_manifest_of_a_newer_format_is_told(tmp_path):
    made().save(tmp_path)
    content = bytearray((tmp_path / MANIFEST).read_bytes())
    content[8] = 9  # the format, which the checksum covers
    content[12:16] = bytes(4)
    content[12:16] = crc32c(content).to_bytes(4, "little")
    (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(ValueError, match="it is of format 9, this version reads 1"):
        ReplayBuffer.load(tmp_path)


def crc32c(content):
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def test_paths_are_checked(tmp_path):
    buffer = made()
    for wrong in (3, None, b"x"):
        with pytest.raises((TypeError, ValueError), match="save: `path` must be a path, got"):
            buffer.save(wrong)
    for wrong in ("", "a\0b"):
        with pytest.raises(ValueError, match="load: `path` must be a path, got"):
            ReplayBuffer.load(wrong)
    with pytest.raises(FileNotFoundError) as caught:
        ReplayBuffer.load(tmp_path / "nowhere")
    assert caught.value.filename == str(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="'No such file or directory', cannot") as caught:
        ReplayBuffer.load(tmp_path)  # a folder with nothing in it
    assert caught.value.filename == str(tmp_path / MANIFEST)
    # Where the system lets nobody make a folder, that is said, and not tried for ever.
    rule = "must be a folder that can be written or made, got 'No such file or directory', cannot "
    with pytest.raises(FileNotFoundError, match=f"save: `path` {rule}make the folder: '/proc/x'"):
        buffer.save("/proc/x")


@pytest.mark.parametrize("kind", SAVES)
def test_a_file_in_place_of_a_folder_is_named(kind, tmp_path):
    save, load = SAVES[kind]
    names = ("save_states", "load_states") if kind == "set of states" else ("save", "load")
    file = tmp_path / "file"
    file.write_text("mine")
    for path, found in (
        (file, "a file"),
        (file / "below", "a name below a file"),
        (file / "far" / "below", "a name below a file"),
    ):
        for function, call, rule in (
            (names[0], save(), "be a folder that can be written or made"),
            (names[1], load, "be a folder with a save"),
        ):
            with pytest.raises(NotADirectoryError) as caught:
                call(path)
            assert caught.value.strerror == f"{function}: `path` must {rule}, got {found}"
            assert caught.value.filename == str(file)
            assert caught.value.errno == errno.ENOTDIR
    assert file.read_text() == "mine"


def test_a_loaded_buffer_does_not_overwrite_a_file(tmp_path):
    made().save(tmp_path / "saved")
    (tmp_path / "rows").write_text("mine")
    with pytest.raises(FileExistsError):
        ReplayBuffer.load(tmp_path / "saved", storage=tmp_path / "rows")
    assert (tmp_path / "rows").read_text() == "mine"


def in_a_process(program, folder):
    """Runs a program that ends with "fine", in a process of its own."""
    assert run_python(program, folder).endswith("fine\n")


def test_a_full_disk_loses_nothing(tmp_path):
    program = """
        import errno, resource, signal, sys
        from pathlib import Path
        from test_replay_durable_errors import add, made
        from fastrl.replay import ReplayBuffer

        folder = Path(sys.argv[1])
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        buffer = made()
        buffer.save(folder)
        before = sorted(path.name for path in folder.iterdir())
        add(buffer, 30)
        twin = ReplayBuffer.load(folder)
        add(twin, 30)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        for size in (0, 20, 300, 1000):
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
            try:
                buffer.save(folder)
            except OSError as error:
                assert error.errno == errno.EFBIG, error
                assert "cannot write" in str(error), error
                assert Path(error.filename).parent == folder, error.filename
            else:
                raise AssertionError(size)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            assert sorted(path.name for path in folder.iterdir()) == before
            assert ReplayBuffer.load(folder).num_added == 40
        buffer.save(folder)
        for one in (buffer, twin, ReplayBuffer.load(folder)):
            assert one.num_added == 100
            print(one.sample(20).handles)
        print("fine")
    """
    in_a_process(program, tmp_path)


@pytest.mark.skipif(os.geteuid() != 0 and not hasattr(os, "seteuid"), reason="needs another user")
def test_a_folder_that_cannot_be_written(tmp_path):
    program = """
        import os, sys
        from pathlib import Path
        from test_replay_durable_errors import add, made
        from fastrl.replay import ReplayBuffer

        folder = Path(sys.argv[1]) / "saved"
        buffer = made()
        buffer.save(folder)
        os.chmod(folder, 0o555)
        if os.geteuid() == 0:  # to whom all is allowed
            for above in [*folder.parents][:3]:
                os.chmod(above, 0o755)
            os.seteuid(65534)
        add(buffer, 5)
        try:
            buffer.save(folder)
        except PermissionError as error:
            assert Path(error.filename).parent == folder, error.filename
            rule = "be a folder that can be written or made, got 'Permission denied', cannot create"
            assert error.strerror == f"save: `path` must {rule}", error
        else:
            raise AssertionError
        try:
            buffer.save(folder / "below")
        except PermissionError as error:
            assert error.filename == str(folder / "below"), error
            assert "'Permission denied', cannot make the folder" in error.strerror, error
        else:
            raise AssertionError
        assert ReplayBuffer.load(folder).num_added == 40
        assert buffer.num_added == 50
        print("fine")
    """
    in_a_process(program, tmp_path)


def test_somebody_else_at_work_is_waited_for(tmp_path):
    buffer = made()
    buffer.save(tmp_path)
    saved = _core.SavedFolder("load", str(tmp_path), "ReplayBuffer")  # reads, as long as it lives
    program = """
        import sys, threading
        from test_replay_durable_errors import made

        thread = threading.Thread(target=made().save, args=(sys.argv[1],), daemon=True)
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
        print("fine")
    """
    in_a_process(program, tmp_path)
    del saved
    assert len(ReplayBuffer.load(tmp_path)) == 40
