"""Atomic writing."""

import errno
import os
import resource
import signal
import stat
from pathlib import Path

import pytest

from dcc.errors import OutputError
from dcc.files import atomic_path, atomic_write


def test_the_new_file_replaces_the_old_one(tmp_path):
    path = tmp_path / "a.dcz"
    path.write_bytes(b"old")
    with atomic_write(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~_umask()


def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.dcz"
    path.write_bytes(b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"cannot write .*a\.dcz"), atomic_write(path) as file:
            file.write(bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, previous)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_in_between_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.so"
    path.write_bytes(b"old")

    def fail_half_way():
        with atomic_path(path) as temporary:
            assert temporary.suffix == ".so"
            temporary.write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    with pytest.raises(OutputError, match=os.strerror(errno.ENOSPC)), atomic_path(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("target", ["missing/folder/a", "."])
def test_impossible_places(tmp_path, target):
    with pytest.raises(OutputError), atomic_write(tmp_path / target) as file:
        file.write(b"x")


def test_devices_are_not_replaced():
    with pytest.raises(OutputError, match="not a plain file"), atomic_write("/dev/null") as file:
        file.write(b"x")
    assert not Path("/dev/null").is_file()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
