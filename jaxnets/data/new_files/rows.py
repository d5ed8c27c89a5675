"""New files in the format of the training data: raw inputs, with or without targets."""

from collections.abc import Sequence

import numpy as np

from jaxnets.data.checks import one_line_errors, path_of
from jaxnets.data.formats.csv_table import Cells, Table, read_cells, read_table
from jaxnets.data.formats.features import check_columns, features_of, is_npz, table_array, targets_of
from jaxnets.data.formats.idx import idx_folder, read_idx
from jaxnets.data.formats.npz import member_names, names_of, read_arrays
from jaxnets.data.formats.ucr import is_ucr, read_split
from jaxnets.data.inputs import Columns, Images, Inputs, LabeledWindows, Pixels, Rows, SentenceWords, Texts, Windows
from jaxnets.data.labels import MAX_CLASSES
from jaxnets.data.new_files.series import all_windows, labeled_windows, last_windows, scored_windows
from jaxnets.data.new_files.texts import read_labeled_texts, read_texts
from jaxnets.data.new_files.words import tagged_word_arrays, word_arrays
from jaxnets.data.preprocessing import lengths_of
from jaxnets.data.sources.class_folders import classes_below, files_below
from jaxnets.data.sources.labeled_images import encoded_files
from jaxnets.data.target_arrays import encode_with_spec
from jaxnets.data.targets import Classes, Horizon, Quantities, Spec, Tags, TextClasses
from jaxnets.ops.host.printable import printable

Arrays = dict[str, np.ndarray]


@one_line_errors
def read_inputs(path: str, inputs: Inputs | None) -> Arrays:
    """Reads raw inputs from a file, for ``preprocess``.

    An npz file must have the array ``x`` or ``x_test``, or a single array.

    Args:
        path: For ``Columns`` a CSV file with these columns, or an npz file; for ``Rows`` an npz file, or one of the UCR
            archive; for ``Pixels`` an npz or IDX file; for ``Images`` a folder of images, one image, or an npz file;
            for ``Windows`` a CSV or npz file of series, as ``new_files.series.last_windows`` reads it, or
            ``scored_windows`` if steps have labels; for ``Texts`` as ``new_files.texts.read_texts`` reads it; for
            ``SentenceWords`` a file as in ``new_files.words.read_words``.
        inputs: Description of the preprocessing, such as ``dataset.inputs``.

    Returns:
        ``inputs``: ``[N, D]``, ``[N, T, D]``, ``[N, H, W]``, or uint8 ``[N, H, W, C]``. For image files also ``file``,
        their names. For texts as in ``read_texts``.

    Raises:
        ValueError: The file cannot be read, or a row does not match the training data.
    """
    if isinstance(inputs, Texts):
        return read_texts(path, inputs)
    if isinstance(inputs, SentenceWords):
        return word_arrays(path, inputs)
    if isinstance(inputs, LabeledWindows):
        return scored_windows(path, inputs)
    if isinstance(inputs, Windows):
        return last_windows(path, inputs)
    if isinstance(inputs, Images) and not _is_archive(path):
        return _images(files_below(path), inputs)
    if isinstance(inputs, Columns) and not is_npz(path):
        table, cells = _cells(path, inputs)
        return {"inputs": features_of(table, cells, inputs)}
    if isinstance(inputs, Pixels) and not is_npz(path):
        return {"inputs": _checked(path, "the array", read_idx(path), inputs)}
    if isinstance(inputs, Rows) and is_ucr(path):
        return {"inputs": _checked(path, "the series", read_split(path)[0], inputs)}
    held = member_names(path)
    name = next((name for name in ("x", "x_test") if name in held), held[0] if len(held) == 1 else "")
    if not name:
        shown = ", ".join(printable(name, 40) for name in held[:10]) or "nothing"
        raise ValueError(f"{printable(path)} must have the array x or x_test, or a single array, got {shown}")
    return {"inputs": _checked(path, name, read_arrays(path, (name,))[name], inputs)}


@one_line_errors
def read_labeled(path: str, inputs: Inputs | None, spec: Spec) -> Arrays:
    """Reads raw inputs as ``read_inputs`` does, and ``targets`` in the format of a batch.

    An npz file must have ``x`` and ``y``, or ``x_test`` and ``y_test``; a CSV file the target columns; a folder of
    images, texts or binary files one folder per class. In a folder of IDX files in the layout of MNIST, the test split
    is read.

    Args:
        path: A path as in ``read_inputs``.
        inputs: Description of the preprocessing, such as ``dataset.inputs``.
        spec: Spec of the targets, such as ``dataset.spec``.

    Raises:
        ValueError: As in ``read_inputs``, or a target does not occur in the training data.
    """
    shown = printable(path)
    if isinstance(inputs, Texts) and isinstance(spec, TextClasses):
        return read_labeled_texts(path, inputs, spec)
    if isinstance(inputs, SentenceWords) and isinstance(spec, Tags):
        return tagged_word_arrays(path, inputs, spec)
    if isinstance(inputs, LabeledWindows):
        return labeled_windows(path, inputs)
    if isinstance(inputs, Windows) and isinstance(spec, Horizon):
        return all_windows(path, inputs, spec)
    if isinstance(inputs, Images) and not _is_archive(path):
        classes = classes_below(path)
        given = [name for name, files in classes.items() for _ in files]
        targets = encode_with_spec(shown, spec, np.array(given, object))
        return {**_images([file for files in classes.values() for file in files], inputs), "targets": targets}
    if isinstance(inputs, Columns) and not is_npz(path):
        if not inputs.targets:
            raise ValueError(f"{shown} must be an npz file like the training data, got CSV")
        table, cells = _cells(path, inputs, isinstance(spec, Classes))
        y, known = targets_of(cells, inputs.targets, isinstance(spec, Classes))
        return {"inputs": features_of(table, cells, inputs), "targets": encode_with_spec(shown, spec, y, known)}
    if isinstance(inputs, Pixels) and path_of(path).is_dir():
        arrays = idx_folder(path)
        images = _checked(path, "t10k-images", arrays["t10k-images"], inputs)
        return {"inputs": images, "targets": encode_with_spec(shown, spec, arrays["t10k-labels"])}
    if isinstance(inputs, Rows) and is_ucr(path):
        x, y = read_split(path)
        return {"inputs": _checked(path, "the series", x, inputs), "targets": encode_with_spec(shown, spec, y)}
    part = "" if "x" in member_names(path) else "_test"
    key = "quantities" if isinstance(spec, Quantities) else "classes"
    arrays = read_arrays(path, (f"x{part}", f"y{part}"), (key,))
    x, y = _checked(path, f"x{part}", arrays[f"x{part}"], inputs), arrays[f"y{part}"]
    if y.shape[:1] != x.shape[:1]:
        raise ValueError(f"{shown}: y{part} must have {len(x)} rows like x{part}, got shape {y.shape}")
    if isinstance(spec, Classes) and y.ndim == 2 and y.shape[1] == 1:  # as in Keras
        y = y[:, 0]
    names = names_of(path, arrays, key) if isinstance(spec, Classes) and y.dtype.kind in "iu" else ()
    return {"inputs": x, "targets": encode_with_spec(shown, spec, y, _in_range(shown, y, names))}


def _in_range(shown: str, y: np.ndarray, names: Sequence[str]) -> Sequence[str]:
    """Checks that class indices are in the range of ``names``, and returns these."""
    if names and len(y) and not 0 <= y.min() <= y.max() < len(names):
        raise ValueError(f"{shown}: y must be indices of {len(names)} classes, got {y.min()} to {y.max()}")
    return names


def _is_archive(path: str) -> bool:
    return path_of(path).is_file() and is_npz(path)


def _images(files: Sequence, inputs: Images) -> Arrays:
    """Decodes image files and resizes them to the size of the training images."""
    size = inputs.height if inputs.height == inputs.width else 0
    images = encoded_files(list(files), size, inputs.channels).all("refuse").images
    if images.shape[1:3] != (inputs.height, inputs.width):
        like, given = f"{inputs.height} x {inputs.width}", f"{images.shape[1]} x {images.shape[2]}"
        raise ValueError(f"{printable(files[0])} must have the size {like}, got {given}")
    return {"inputs": images, "file": np.array([str(file) for file in files])}


def _cells(path: str, inputs: Columns, classes: bool | None = None) -> tuple[Table, Cells]:
    """Reads the feature columns of a CSV file, and the target columns unless ``classes`` is None."""
    table = read_table(path)
    targets = () if classes is None else inputs.targets
    check_columns(table, (*inputs.names, *targets))
    kinds = zip(inputs.names, inputs.categories, strict=True)
    texts = {name: MAX_CLASSES for name, known in kinds if known}
    numbers = [name for name in inputs.names if name not in texts]
    if classes and not table.numeric[table.header.index(targets[0])]:
        texts[targets[0]] = MAX_CLASSES
    else:
        numbers += targets
    return table, read_cells(table, numbers, texts)


def _checked(path: str, name: str, x: np.ndarray, inputs: Inputs | None) -> np.ndarray:
    """Checks that raw inputs match the training data, and returns them in their full shape."""
    shown = f"{printable(path)}: {name}"
    if isinstance(inputs, Columns):
        table_array(path, x, name)
        _check_size(shown, "[N, D]", x, x.shape[1], inputs.features)
        return x
    if isinstance(inputs, Images):
        x = x[..., None] if x.ndim == 3 else x
        like = (inputs.height, inputs.width, inputs.channels)
        if x.dtype != np.uint8 or x.shape[1:] != like:
            raise ValueError(
                f"{shown} must be uint8 of shape [N, {like[0]}, {like[1]}, {like[2]}], got {x.dtype} {x.shape}"
            )
        return x
    if x.dtype.kind not in "biuf":
        raise ValueError(f"{shown} must be numbers, got {x.dtype}")
    if isinstance(inputs, Pixels):
        x = x[..., 0] if x.ndim == 4 and x.shape[3] == 1 else x
        if x.ndim != 3:
            raise ValueError(f"{shown} must be images [N, H, W], got shape {x.shape}")
        if inputs.width is not None:
            _check_size(shown, "[N, H, W]", x, x.shape[2], inputs.width)
        _check_finite(shown, x, np.full(len(x), x.shape[1]))
        return x
    if isinstance(inputs, Rows):
        x = x[..., None] if x.ndim == 2 else x
        if x.ndim != 3:
            raise ValueError(f"{shown} must be rows [N, T] or [N, T, D], got shape {x.shape}")
        if inputs.std is not None:
            _check_size(shown, "[N, T, D]", x, x.shape[2], len(inputs.std))
        _check_finite(shown, x, lengths_of(x))
        return x
    raise ValueError(f"{printable(path)} cannot be read: the data of this run are generated, not read from files")


def _check_size(shown: str, axes: str, x: np.ndarray, size: int, wanted: int) -> None:
    if size != wanted:
        raise ValueError(
            f"{shown} must have shape {axes} with a last axis of {wanted} as in training, got shape {x.shape}"
        )


def _check_finite(shown: str, x: np.ndarray, lengths: np.ndarray) -> None:
    """Raises a ``ValueError`` for a non-finite number within the length of a row."""
    wrong = np.argwhere(~np.isfinite(x) & (np.arange(x.shape[1]) < lengths[:, None])[..., None])
    if len(wrong):
        row, *index = wrong[0]
        where = ", ".join(map(str, index))
        raise ValueError(f"{shown}: row {row} must be finite, got {x[tuple(wrong[0])]} at position {where}")
