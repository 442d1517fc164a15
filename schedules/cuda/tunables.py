"""What may be varied of kernels of thread blocks; see ``schedules.tunables``."""

from __future__ import annotations

from dcc.schedules.cuda.gemm_tile import DEPTH, GemmTile
from dcc.schedules.cuda.packing import MOST_SEGMENTS, block_packing, floats_of_a_sample, phases_of
from dcc.schedules.cuda.sizes import OF_THREADS, OF_WARPS, BlockSizes
from dcc.schedules.cuda.tensor_tile import GROUP_COLUMNS, MOST_THREADS, TensorTile
from dcc.schedules.cuda.tile import GROUP
from dcc.schedules.cuda.tiles import default_tile, in_tiles
from dcc.schedules.tunable import Case, Conflict, Tunable, Value, Values
from dcc.targets.target import Gpu


def _gpu(case: Case) -> Gpu:
    assert case.target.gpu is not None
    return case.target.gpu


def _split_rows(case: Case) -> bool:
    """Whether rows are split over the threads of a block."""
    few = case.shape.kind == "matmul" and not case.shape.by_pixels
    return few and case.form != "dense"


def _by_pixels(case: Case) -> bool:
    """Whether threads are pixels, or samples."""
    return case.shape.by_pixels and not in_tiles(case.shape, case.form)


def _lanes(case: Case) -> tuple[Value, ...]:
    warp = _gpu(case).warp
    return (warp // 2, warp) if _split_rows(case) else ()


def _block_rows(case: Case) -> tuple[Value, ...]:
    return (8, 16, 32, 64) if _split_rows(case) else ()


def _segments(case: Case) -> tuple[Value, ...]:
    if not _split_rows(case):
        return ()
    usual = block_packing(case.shape, case.form, _gpu(case), case.weight).segments
    around = {usual // 2, usual, 2 * usual, 4 * usual}
    return tuple(sorted(each for each in around if 1 <= each <= 2 * MOST_SEGMENTS))


def _phases(case: Case) -> tuple[Value, ...]:
    if not _split_rows(case):
        return ()
    least = block_packing(case.shape, case.form, _gpu(case), case.weight).phases
    return (least, 2 * least)


def _load_words(case: Case) -> tuple[Value, ...]:
    entries = case.form == "sparse" and case.weight.codebook is not None
    return (1, 2, 4) if entries and _split_rows(case) else ()


def _gap_bits(case: Case) -> tuple[Value, ...]:
    if not (case.entry_wise and _split_rows(case)):
        return ()
    if case.form == "huffman":
        return (None, 4, 5, 6)
    # Entries of one byte, and of two.
    return (None, max(9 - case.weight.code_bits, 1)) if case.weight.codebook is not None else ()


def _code_length(case: Case) -> tuple[Value, ...]:
    return (8, 9, 10, 11) if case.form == "huffman" else ()


def _pixel_threads(case: Case) -> tuple[Value, ...]:
    return (None, 32, 64, 256) if _by_pixels(case) else ()


def _thread_pixels(case: Case) -> tuple[Value, ...]:
    return (None, 1, 2, 8) if _by_pixels(case) else ()


def _tile(case: Case, tensor_cores: bool | None = None) -> GemmTile | TensorTile | None:
    """Return the tile of the default schedule; None where the layer is not computed in tiles."""
    if not in_tiles(case.shape, case.form):
        return None
    weight = case.weight
    return default_tile(
        case.shape, weight.rows, weight.columns, case.tensor_parts, _gpu(case), tensor_cores
    )


def _tensor_cores(case: Case) -> tuple[Value, ...]:
    if not isinstance(_tile(case, True), TensorTile):
        return ()
    return (None, 0 if isinstance(_tile(case), TensorTile) else 1)


def _thread_rows(case: Case) -> tuple[Value, ...]:
    tile = _tile(case, False)
    assert tile is None or isinstance(tile, GemmTile)
    return () if tile is None else (None, *_others((GROUP, 2 * GROUP), tile.thread_rows))


def _row_threads(case: Case) -> tuple[Value, ...]:
    tile = _tile(case, False)
    assert tile is None or isinstance(tile, GemmTile)
    return () if tile is None else (None, *_others((8, 16, 32), tile.row_threads))


def _others(values: tuple[int, ...], usual: int) -> tuple[int, ...]:
    return tuple(value for value in values if value != usual)


def _warps(case: Case) -> tuple[Value, ...]:
    tile = _tile(case, True)
    return (None, *_others((2, 4, 8), tile.warps)) if isinstance(tile, TensorTile) else ()


def _row_fragments(case: Case) -> tuple[Value, ...]:
    tile = _tile(case, True)
    return (None, *_others((1, 2), tile.row_fragments)) if isinstance(tile, TensorTile) else ()


def _resident(case: Case) -> tuple[Value, ...]:
    tile = _tile(case, True)
    return (None, tile.blocks_at_a_time + 1) if isinstance(tile, TensorTile) else ()


def _depth(case: Case) -> tuple[Value, ...]:
    tile = _tile(case)
    if tile is None:
        return ()
    return (None, *_others((DEPTH // 2, DEPTH, 2 * DEPTH, 4 * DEPTH), tile.depth))


def _split(case: Case) -> tuple[Value, ...]:
    tile = _tile(case)
    if tile is None:
        return ()
    usual = tile.split
    halves = {max(usual // 4, 1), max(usual // 2, 1), 2 * usual, 3 * usual // 2}
    return (None, *sorted(halves - {usual}))


BLOCK_TUNABLES = (
    Tunable("lanes", "parts of rows in a slice: a warp, or half of one", _lanes),
    Tunable("block_rows", "rows of a block", _block_rows),
    Tunable("segments", "parts of a row, each of one thread", _segments),
    Tunable("phases", "ranges of columns whose inputs a block holds in turn", _phases),
    Tunable("load_words", "words that a thread loads at a time", _load_words),
    Tunable("gap_bits", "width of a gap in an entry", _gap_bits),
    Tunable("code_length", "longest code of the huffman form", _code_length),
    Tunable("pixel_threads", "most threads of a block whose threads are pixels", _pixel_threads),
    Tunable("thread_pixels", "most pixels of such a thread", _thread_pixels),
    Tunable("tensor_cores", "whether tensor cores compute the tiles", _tensor_cores),
    Tunable("thread_rows", "rows of a thread of a dense tile", _thread_rows),
    Tunable("row_threads", "threads along the rows of a dense tile", _row_threads),
    Tunable("depth", "columns of a dense tile in shared memory at a time", _depth),
    Tunable("split", "blocks that share the columns of a dense tile", _split),
    Tunable("warps", "warps of a block of tensor cores", _warps),
    Tunable("row_fragments", "fragments of rows of a warp of tensor cores", _row_fragments),
    Tunable("resident", "such blocks of a multiprocessor at a time", _resident),
)


def _threads(case: Case, values: Values) -> int:
    return int(values["block_rows"] * values["segments"]) if _split_rows(case) else 0


TILE_SIZES = ("tensor_cores", "depth", "split", *OF_THREADS, *OF_WARPS)


def _chosen_tile(case: Case, values: Values) -> GemmTile | TensorTile | None:
    sizes = BlockSizes(**{name: values[name] for name in TILE_SIZES})
    default = _tile(case, sizes.on_tensor_cores)
    return None if default is None else sizes.tile(default)


def _unused_size(case: Case, values: Values) -> bool:
    """Whether sizes are given that the tile does not have, or that it cannot have."""
    tile = _chosen_tile(case, values)
    if tile is None:
        return False
    others = OF_WARPS if isinstance(tile, GemmTile) else OF_THREADS
    if any(values[name] is not None for name in others):
        return True
    many = tile.blocks_at_a_time * tile.threads > MOST_THREADS
    return isinstance(tile, TensorTile) and (many or tile.depth % (2 * GROUP_COLUMNS) > 0)


def _no_room(case: Case, values: Values) -> bool:
    """Whether inputs, sums or a dense tile take more than the shared memory of a block."""
    gpu = _gpu(case)
    tile = _chosen_tile(case, values)
    if tile is not None:
        codebook = 0 if case.weight.codebook is None else 4 * case.weight.codebook.size
        return tile.shared_bytes + codebook > gpu.shared_bytes or tile.threads > gpu.block_threads
    if not _split_rows(case):
        return False
    room = floats_of_a_sample(case.shape, case.form, gpu, case.weight, values["code_length"])
    fewest = phases_of(case.weight.columns, values["segments"], room)
    return _threads(case, values) > room or values["phases"] < fewest


BLOCK_CONFLICTS: tuple[Conflict, ...] = (
    (
        "a block has no whole slices",
        lambda case, v: _split_rows(case) and _threads(case, v) % max(v["lanes"], 32) > 0,
    ),
    (
        "a block has too many threads",
        lambda case, v: _threads(case, v) > _gpu(case).block_threads,
    ),
    ("the tile has no such size", _unused_size),
    ("shared memory has no room for it", _no_room),
)
