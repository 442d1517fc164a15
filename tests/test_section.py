import ctypes
import json
import random

import numpy as np
import pytest
from small_modules import build_row_sums

from dcc.codegen.module_file import read_metadata, section_sizes
from dcc.codegen.section import WeightSection
from dcc.errors import CompileError, ModuleError
from dcc.runtime import load
from dcc.targets.registry import get_target


@pytest.fixture(scope="module")
def module_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("section") / "module.so"
    build_row_sums(path, np.arange(64 * 48, dtype=np.uint8).reshape(64, 48), source="tést")
    return path


def test_places_are_aligned_and_padding_is_counted():
    section = WeightSection()
    assert [section.add(np.zeros(size, np.uint8)) for size in (1, 64, 100)] == [0, 64, 128]
    assert (section.size, section.padding) == (228, 63)
    assert [section.reserve(size) for size in (10, 1)] == [0, 64]
    assert section.decoded_size == 65


def test_bytes_of_the_section_are_those_of_the_arrays(tmp_path):
    section = WeightSection()
    arrays = [
        np.arange(7, dtype=np.float32),
        np.arange(12, dtype=">u2").reshape(3, 4).T,
        np.array(5, np.int8),
        np.zeros(0, np.float64),
    ]
    offsets = [section.add(array) for array in arrays]
    section.write(tmp_path / "weights")
    data = (tmp_path / "weights").read_bytes()
    assert len(data) == section.size
    for offset, array in zip(offsets, arrays, strict=True):
        expected = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"))).tobytes()
        assert data[offset : offset + array.nbytes] == expected


def test_section_costs_what_the_weights_cost(module_path):
    sizes = section_sizes(module_path)
    assert sizes.weights == 64 * 48
    assert sizes.code > 0
    assert sizes.total == module_path.stat().st_size


def test_metadata_is_in_the_file_and_in_its_symbols(module_path):
    metadata = read_metadata(module_path)
    assert metadata["source"] == "tést"
    library = ctypes.CDLL(str(module_path))
    size = ctypes.c_ulonglong.in_dll(library, "dcc_metadata_size").value
    text = (ctypes.c_char * size).in_dll(library, "dcc_metadata").raw
    assert json.loads(text) == metadata
    with pytest.raises(AttributeError):
        _ = library.dcc_weights  # hidden: another module's must never be found


def test_modules_side_by_side_read_their_own_weights(tmp_path):
    ones, threes = np.ones((16, 1000), np.uint8), np.full((16, 1000), 3, np.uint8)
    build_row_sums(tmp_path / "ones.so", ones)
    build_row_sums(tmp_path / "threes.so", threes)
    first, second = load(tmp_path / "ones.so"), load(tmp_path / "threes.so")
    for _ in range(2):
        np.testing.assert_array_equal(first()[0], 1000)
        np.testing.assert_array_equal(second()[0], 3000)


def test_too_many_weights_for_a_library_are_refused(tmp_path):
    section = WeightSection()
    section.reserve(2**31)
    with pytest.raises(CompileError, match="exceed what one module can hold"):
        section.assemble(b"{}", get_target("host"), tmp_path)


def test_paths_with_odd_characters(tmp_path):
    folder = tmp_path / 'a "quoted" ünd \\ folder'
    folder.mkdir()
    section = WeightSection()
    section.add(np.ones(10, np.uint8))
    assert section.assemble(b"{}", get_target("host"), folder).is_file()


def test_damaged_files_are_refused_or_read(module_path, tmp_path):
    """Flips and cuts in the file end in ModuleError or in metadata, never in another error."""
    good = module_path.read_bytes()
    damaged = tmp_path / "damaged.so"
    choose = random.Random(7)
    table = int.from_bytes(good[40:48], "little")
    refused = 0
    for round_number in range(600):
        data = bytearray(good)
        if round_number % 3 == 0:
            data = data[: choose.randrange(len(data))]
        else:  # in the header or the section table, which lead the reader
            start, length = choose.choice([(0, 64), (table, len(good) - table)])
            for _ in range(choose.randrange(1, 4)):
                data[start + choose.randrange(length)] ^= 1 << choose.randrange(8)
        damaged.write_bytes(data)
        refused += _refuses(read_metadata, damaged) + _refuses(section_sizes, damaged)
    assert refused > 300


def _refuses(reader, path):
    try:
        reader(path)
    except ModuleError:
        return True
    return False
