"""Artifacts of reports: the content of the files, and rejection of invalid artifacts."""

import csv
import wave

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from jaxnets.reports import Arrays, Audio, ImageGrid, ImageStrip, Table, Text
from jaxnets.training.errors import RunError
from jaxnets.training.reporting import artifacts
from jaxnets.training.reporting.metrics import MetricWriter


def test_texts_are_written(tmp_path):
    summary = artifacts.write(tmp_path, "poem", Text("öne\r\ntwo \udce9"))
    assert (tmp_path / "samples" / "poem.txt").read_bytes() == "öne\r\ntwo \\udce9".encode()
    assert summary is not None


def test_tables_are_written(tmp_path):
    rows = [(1, "a, b\udce9", 0.1), (2, 'say "c"\nd', float("inf"))]
    artifacts.write(tmp_path, "scores", Table(("n", "name", "score"), rows))
    with (tmp_path / "samples" / "scores.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [["n", "name", "score"], ["1", r"a, b\udce9", "0.1"], ["2", 'say "c"\nd', "inf"]]


@pytest.mark.parametrize("channels, dtype", [(1, np.uint8), (3, np.uint8), (1, np.float32), (3, np.float64)])
@pytest.mark.parametrize("columns, rows", [(0, 2), (2, 3), (5, 1)])
def test_images_are_arranged_in_a_grid(tmp_path, channels, dtype, columns, rows):
    values = np.random.default_rng(0).integers(1, 256, (5, channels)).astype(np.uint8)
    images = np.broadcast_to(values[:, None, None], (5, 48, 64, channels))
    given = images if dtype == np.uint8 else (images / 255).astype(dtype)
    artifacts.write(tmp_path, "digits", ImageGrid(given, columns))
    with Image.open(tmp_path / "samples" / "digits.png") as file:
        pixels = np.asarray(file)
    assert pixels.ndim == (2 if channels == 1 else 3)
    pixels, columns = pixels.reshape(*pixels.shape[:2], channels), columns or 3
    height, width = pixels.shape[0] // rows, pixels.shape[1] // columns
    assert height >= 48 and width >= 64
    for index in range(rows * columns):
        top, left = index // columns * height, index % columns * width
        tile = pixels[top : top + 48, left : left + 64]
        assert (tile == (values[index] if index < 5 else 0)).all()


def test_pixels_out_of_range_are_clipped(tmp_path):
    images = np.array([-1.0, 0.5, 2.0, np.nan], np.float32).reshape(4, 1, 1, 1) * np.ones((4, 48, 48, 1), np.float32)
    pixels = artifacts.grid(ImageGrid(images, 4))
    assert pixels[0, :: pixels.shape[1] // 4].tolist() == [0, 128, 255, 0]


def test_strips_have_a_row_for_each_step(tmp_path):
    path = tmp_path / "samples" / "strip.png"

    def rows_after(step, value, images=3):
        artifacts.write(tmp_path, "strip", ImageStrip(np.full((images, 48, 48, 1), value, np.uint8)), step)
        with Image.open(path) as file:
            pixels = np.asarray(file)
        assert pixels.shape[1] == images * 50
        return pixels[::50, 0].tolist()

    assert rows_after(10, 1) == [1]
    assert rows_after(20, 2) == [1, 2]
    assert rows_after(20, 3) == [1, 3]
    assert rows_after(30, 4) == [1, 3, 4]
    assert rows_after(15, 5) == [1, 5]  # a run that resumes from an earlier step
    assert rows_after(40, 6, images=2) == [6]
    path.write_bytes(b"no image")
    assert rows_after(50, 7) == [7]


def test_audio_is_written_and_clipped(tmp_path):
    samples = np.array([0, 0.5, -0.5, 1, -1, 7, -7, np.nan], np.float32)
    artifacts.write(tmp_path, "tone", Audio(samples, 8000))
    with wave.open(str(tmp_path / "samples" / "tone.wav")) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 8000)
        frames = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    assert frames.tolist() == [0, 16384, -16384, 32767, -32767, 32767, -32767, 0]


def test_arrays_are_written(tmp_path):
    arrays = {"points": np.eye(3, dtype=np.float32), "file": np.arange(4), "allow_pickle": np.bool_(True)}
    artifacts.write(tmp_path, "latent", Arrays(arrays))
    with np.load(tmp_path / "samples" / "latent.npz", allow_pickle=False) as found:
        assert set(found) == set(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype


def test_figures_are_written(tmp_path):
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([0, 1], [1, 0])
    summary = artifacts.write(tmp_path, "curve", figure)
    with Image.open(tmp_path / "figures" / "curve.png") as file:
        assert file.size == (220, 110)
    assert summary is not None


WRONG = {
    "images without channels": (ImageGrid(np.zeros((2, 5, 5))), "images must be .*, got "),
    "two channels": (ImageGrid(np.zeros((2, 5, 5, 2))), "images must be .*, got "),
    "no images": (ImageGrid(np.zeros((0, 5, 5, 1))), "images must be .*, got "),
    "stereo": (Audio(np.zeros((9, 2)), 8000), r"samples must be floating point \[T\], got float64 \(9, 2\)"),
    "integer samples": (Audio(np.zeros(9, np.int16), 8000), r"samples must be .*, got int16 \(9,\)"),
    "objects": (Arrays({"a": np.array([{}], object)}), "Object arrays cannot be saved"),
    "a ragged table": (Table(("a", "b"), [(1, 2), (1,)]), "rows of a table must have 2 values each"),
    "no artifact": ({"a": 1}, "the report bad must be a figure or an artifact of jaxnets.reports, got {'a': 1}"),
}


@pytest.mark.parametrize("artifact, message", WRONG.values(), ids=WRONG)
def test_invalid_artifacts_are_rejected_and_leave_no_file(tmp_path, artifact, message):
    with pytest.raises(ValueError, match=message):
        artifacts.write(tmp_path, "bad", artifact)
    assert not list(tmp_path.rglob("bad*"))


def test_artifacts_that_cannot_be_written_raise_a_run_error(tmp_path):
    with MetricWriter(tmp_path, 0) as writer:
        writer.write_artifact(3, "poem", Text("first"))
        writer.write_artifact(6, "poem", Text("second"))
        with pytest.raises(RunError, match="cannot write metrics: images must be"):
            writer.write_artifact(6, "bad", ImageGrid(np.zeros(3)))
    assert (tmp_path / "samples" / "poem.txt").read_text() == "second"
    assert [path.name for path in (tmp_path / "samples").iterdir()] == ["poem.txt"]
