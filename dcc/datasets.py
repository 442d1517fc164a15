"""Reads inputs and labelled data: ``.npz`` files and folders of IDX files (as MNIST has them)."""

from __future__ import annotations

import gzip
import math
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dcc.errors import InputError
from dcc.tensor_spec import TensorSpec

# IDX: two zero bytes, a type, the number of dimensions, then each dimension (big-endian).
_IDX_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_IDX_IMAGE_SCALE = 256.0
_NPY, _ZIP = b"\x93NUMPY", b"PK"
"""How files of numpy.save and of numpy.savez begin."""

TEST = ("t10k", "test")
"""How the files of a test split begin."""


@dataclass(frozen=True)
class LabelledData:
    """Samples and their classes.

    Attributes
    ----------
    samples
        Shape [number of samples, ...].
    labels
        Shape [number of samples], the index of the class.
    """

    samples: np.ndarray
    labels: np.ndarray

    def batches(self, spec: TensorSpec) -> list[np.ndarray]:
        """Cut the samples into arrays that fit the input ``spec``; the last is filled with zeros.

        Raises
        ------
        InputError
            A sample has not as many elements as the input has behind its first dimension.
        """
        batch, *rest = spec.shape
        size = math.prod(rest)
        found = math.prod(self.samples.shape[1:])
        if found != size:
            raise InputError(
                f"each sample of the data has {found} elements {list(self.samples.shape[1:])}, "
                f"the input '{spec.name}' takes {size} {list(rest)}"
            )
        flat = self.samples.reshape(len(self.samples), size).astype(spec.dtype)
        flat = np.pad(flat, ((0, -len(flat) % batch), (0, 0)))
        return list(flat.reshape(-1, *spec.shape))


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Read all arrays of an ``.npz`` file by name; nothing in it is ever unpickled.

    Raises
    ------
    InputError
        The file is missing, no ``.npz`` file, or damaged.
    """
    if Path(path).is_dir():
        raise InputError(f"'{path}' is a folder; expected an .npz file (numpy.savez)")
    if not Path(path).is_file():
        raise InputError(f"there is no file '{path}'; expected an .npz file (numpy.savez)")
    try:
        _check_magic(path)
        archive = np.load(path, allow_pickle=False)
        with archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        objects = "allow_pickle" in str(error)
        reason = "it holds Python objects; expected arrays of numbers" if objects else error
        raise InputError(f"'{path}' is not an .npz file that can be read: {reason}") from None


def _labelled_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Read an ``.npz`` file where a folder would do as well."""
    if not Path(path).exists():
        raise InputError(
            f"there is no file or folder '{path}'; expected an .npz file with x and y, or a folder "
            "of IDX files"
        )
    return read_arrays(path)


def _check_magic(path: str | Path) -> None:
    """Refuse what numpy would take for pickled objects, and advise to allow."""
    with Path(path).open("rb") as file:
        start = file.read(len(_NPY))
    if start == _NPY:
        raise InputError(f"'{path}' holds one bare array; expected an .npz file")
    if not start.startswith(_ZIP):
        raise InputError(
            f"'{path}' is not an .npz file: it begins with {start!r}; expected one that "
            "numpy.savez wrote"
        )


def read_labelled(path: str | Path, scale: float | None = None) -> LabelledData:
    """Read samples with labels.

    Parameters
    ----------
    path
        An ``.npz`` file with ``x`` and ``y``, or a folder with one pair of IDX files of images and
        labels, compressed by gzip or not. Of a training and a test pair (``t10k``), the test pair
        is read.
    scale
        Divide the samples by this number. Default: 1 for ``.npz``, 256 for IDX images, which are
        bytes.

    Raises
    ------
    InputError
        Something is missing or does not fit together.
    """
    if Path(path).is_dir():
        samples, labels = _read_idx_folder(Path(path), TEST)
        default = _IDX_IMAGE_SCALE
    else:
        arrays = _labelled_arrays(path)
        if not {"x", "y"} <= set(arrays):
            raise InputError(
                f"'{path}' holds the arrays {', '.join(sorted(arrays)) or 'none'}; "
                "expected x (samples) and y (labels)"
            )
        samples, labels, default = arrays["x"], arrays["y"], 1.0
    return checked(path, samples, labels, default if scale is None else scale)


def read_split(folder: str | Path, part: str, scale: float | None = None) -> LabelledData:
    """Read the pair of IDX files of the split ``part``: "train" or "test" (``t10k``).

    Raises
    ------
    InputError
        A file is missing or damaged.
    """
    samples, labels = _read_idx_folder(Path(folder), TEST if part == "test" else (part,))
    return checked(folder, samples, labels, _IDX_IMAGE_SCALE if scale is None else scale)


def read_npz_test(path: str | Path, scale: float | None = None) -> LabelledData | None:
    """Read ``x_test`` and ``y_test`` of an ``.npz`` file; None where it has none.

    Raises
    ------
    InputError
        The file cannot be read, or the two do not fit together.
    """
    arrays = _labelled_arrays(path)
    found = {"x_test", "y_test"} & arrays.keys()
    if not found:
        return None
    if len(found) == 1:
        (missing,) = {"x_test", "y_test"} - found
        raise InputError(
            f"'{path}' holds {found.pop()} and no {missing}; expected both, or neither to hold "
            "test samples out of x and y"
        )
    divisor = 1.0 if scale is None else scale
    return checked(f"{path}, x_test and y_test", arrays["x_test"], arrays["y_test"], divisor)


def read_test(path: str | Path, scale: float | None = None) -> tuple[LabelledData, str]:
    """Read what to test on: the test split where there is one, else all samples.

    Returns
    -------
    tuple
        The data, and one line that says which they are.

    Raises
    ------
    InputError
        Something is missing or does not fit together.
    """
    if Path(path).is_dir():
        return read_labelled(path, scale), "the folder's test files"
    held = read_npz_test(path, scale)
    if held is not None:
        return held, "x_test and y_test of the file"
    return read_labelled(path, scale), "all samples of the file"


def checked(
    path: str | Path, samples: np.ndarray, labels: np.ndarray, divisor: float = 1.0
) -> LabelledData:
    """Divide samples by ``divisor``, and check that they are numbers and the labels classes.

    Raises
    ------
    InputError
        Shapes do not fit, samples are not finite numbers, or labels no indices of classes.
    """
    if samples.ndim < 2 or labels.shape != (len(samples),) or not len(labels):
        raise InputError(
            f"'{path}': expected samples [N, ...] and labels [N], "
            f"got shapes {list(samples.shape)} and {list(labels.shape)}"
        )
    if not divisor:
        raise InputError("--scale must not be 0: the samples are divided by it")
    if samples.dtype.kind not in "fiub":
        raise InputError(f"'{path}': expected samples that are numbers, got {samples.dtype}")
    finite = np.isfinite(samples).reshape(len(samples), -1).all(axis=1)
    if not finite.all():
        raise InputError(f"'{path}': sample {finite.argmin()} holds NaN or infinity")
    if divisor != 1.0:
        samples = (samples / divisor).astype(np.float32)
    return LabelledData(samples, _classes(path, labels))


def _classes(path: str | Path, labels: np.ndarray) -> np.ndarray:
    """Labels as int64, if they are indices of classes."""
    if labels.dtype.kind not in "fiub":
        raise InputError(f"'{path}': expected labels 0, 1, ... (classes), got {labels.dtype}")
    with np.errstate(invalid="ignore"):
        classes = labels.astype(np.int64)
    wrong = (classes != labels) | (classes < 0)
    if wrong.any():
        raise InputError(
            f"'{path}': expected labels 0, 1, ... (classes), label {wrong.argmax()} is "
            f"{labels[wrong.argmax()]}"
        )
    return classes


def _read_idx_folder(folder: Path, prefixes: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    images = _one_file(folder, "images", prefixes)
    labels = _one_file(folder, "labels", prefixes)
    return _read_idx(images), _read_idx(labels)


def _one_file(folder: Path, part: str, prefixes: tuple[str, ...]) -> Path:
    found = sorted(file for file in folder.iterdir() if part in file.name and "idx" in file.name)
    if len(found) > 1 or prefixes != TEST:
        found = [file for file in found if file.name.startswith(prefixes)]
    if len(found) != 1:
        only = " or the only one" if prefixes == TEST else ""
        raise InputError(
            f"folder '{folder}': expected one IDX file of {part} ({prefixes[0]}-{part}-idx...{only}"
            f"), found {', '.join(file.name for file in found) or 'none'}"
        )
    return found[0]


def _read_idx(path: Path) -> np.ndarray:
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"'{path}' cannot be read: {error}") from None
    header = 4 + 4 * data[3] if len(data) >= 4 else 4
    if len(data) < header or data[:2] != b"\0\0" or data[2] not in _IDX_TYPES:
        raise InputError(f"'{path}' is not an IDX file: its header is wrong")
    shape = struct.unpack_from(f">{data[3]}I", data, 4)
    dtype = np.dtype(_IDX_TYPES[data[2]])
    expected = header + math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        raise InputError(f"'{path}' has {len(data)} bytes, its header says {expected}: truncated?")
    array = np.frombuffer(data, dtype, offset=header).reshape(shape)
    return array.astype(dtype.newbyteorder("="))
