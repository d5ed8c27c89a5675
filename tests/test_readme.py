"""README and the pages of docs/: their Python and their commands run, with small settings, and their links resolve."""

import re
import shlex
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest
from conftest import ROOT, free_port
from in_process import trained

from jaxnets import attention, convolution, data, generative, recurrent, series, sets, text, weights
from jaxnets.training.config import shipped

PAGES = {
    page.relative_to(ROOT).as_posix(): page.read_text()
    for page in (ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")))
}
README, OVERVIEW = PAGES["README.md"], PAGES["docs/overview.md"]
CELLS, DATA, CONFIGS = (f"docs/guides/{name}.md" for name in ("own_cell", "data", "configs"))
WITH_TESTS_OF_THEIR_OWN = (DATA, CONFIGS, "docs/guides/export.md")
GOLDEN = np.load(ROOT / "tests" / "reference" / "recurrent.npz")


def blocks(language, page):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGES[page], flags=re.MULTILINE | re.DOTALL)


def executed(page, scope=None):
    """Returns the variables of a page's Python blocks, executed in order."""
    scope = {} if scope is None else scope
    for block in blocks("python", page):
        exec(compile(block, page, "exec"), scope)
    return scope


def torch_arrays(part):
    """Arrays of a bidirectional LSTM of torch (tests/reference/make_recurrent.py)."""
    case = f"torch/lstm/2b/{part}/"
    return {name.removeprefix(case): GOLDEN[name] for name in GOLDEN.files if name.startswith(case)}


def zeros_of(network):
    inputs = [jnp.zeros((1, 32, 32, 3))]
    if isinstance(network, generative.UNet):
        inputs = [jnp.zeros((1, *network.image_shape)), jnp.zeros(1)]
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), *inputs))
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)


@pytest.fixture
def weight_files(tmp_path, monkeypatch):
    """A folder with the weights that the pages load, as the current one."""
    monkeypatch.chdir(tmp_path)
    weights.write("lstm.safetensors", torch_arrays("weight"))
    network = convolution.resnet18(num_classes=10)
    words = ("man", "king", "woman", "queen", "the")
    vectors = weights.WordVectors(words, np.random.default_rng(0).normal(size=(5, 100)).astype(np.float32))
    weights.write_word_vectors("glove.6B.100d.txt", vectors, "glove")
    (tmp_path / "questions-words.txt").write_text(": family\nman king woman queen\nking man queen woman\n")
    (tmp_path / "wordsim353.tsv").write_text("man\tking\t5.0\nwoman\tqueen\t6.0\nthe\tking\t1.0\n")
    weights.write("resnet18.safetensors", weights.to_torchvision(zeros_of(network), network))
    unet = generative.UNet(image_shape=(8, 8, 1), width=32, multipliers=(1, 2), attention_levels=())
    weights.write("diffusion_pytorch_model.safetensors", weights.to_diffusers(zeros_of(unet), unet))


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page not in WITH_TESTS_OF_THEIR_OWN and blocks("python", page)]
)
def test_python_blocks_run(page, weight_files):
    executed(page)


def test_quick_start_has_the_shapes_in_its_comments():
    scope = executed("README.md")
    assert scope["ys"].shape == (8, 100, 128) and scope["y"].shape == (8, 128)
    assert set(scope["gradient"]) == {"input", "recurrent"}


def test_torch_weights_give_torch_outputs(weight_files):
    scope = {"recurrent": recurrent, "weights": weights, "jnp": jnp}
    (block,) = [block for block in blocks("python", "docs/guides/weights.md") if "from_torch(" in block]
    x = jnp.asarray(GOLDEN["torch/lstm/2b/x"], jnp.float32)
    exec(block.replace("jnp.ones((3, 7, 4))", "x"), scope | {"x": x}, scope)
    np.testing.assert_allclose(scope["outputs"], GOLDEN["torch/lstm/2b/output"], atol=1e-5)


def test_own_cell_has_the_gradients_of_autodiff():
    scope = executed(CELLS)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), scope["fast"], scope["plain"])


def test_readme_is_one_page():
    assert len(README.splitlines()) <= 130
    assert len([line for line in blocks("python", "README.md")[0].splitlines() if line.strip()]) <= 15


@pytest.mark.parametrize("page", PAGES)
def test_links_to_files_exist(page):
    folder = (ROOT / page).parent
    is_generated = lambda link: re.fullmatch(r"api/(\w+)\.md", link) and (ROOT / "jaxnets" / link[4:-3]).exists()
    links = re.findall(r"\]\(([^)#:]+)\)", PAGES[page])
    assert [link for link in links if not (folder / link).exists() and not is_generated(link)] == []
    if page != "README.md":  # the site holds docs/ alone
        assert [link for link in links if not (folder / link).resolve().is_relative_to((ROOT / "docs").resolve())] == []


# The first takes five minutes and rewrites a page of this checkout. The others need the CUDA compiler and a GPU.
TESTED_ELSEWHERE = ("benchmarks.runs.scaling", "benchmarks.recurrent.launches", "benchmarks.recurrent.tiles")
ONE_MACHINE = {  # flags of the first of two machines: flags of a single machine
    "--coordinator_address=10.0.0.1:8476": "--coordinator_address=localhost:{port}",
    "--num_processes=2": "--num_processes=1",
    "--workdir=/shared/run": "--workdir=runs/shared",
}
READ_TEXT = ("jaxnets.train", "benchmarks.runs.train_loop", "benchmarks.runs.start")
SMALLER = {
    "jaxnets.train": ["--config.train.steps=3"],
    "benchmarks.runs.train_loop": ["--steps=20"],
    "benchmarks.runs.start": ["--rounds=1"],
    "benchmarks.recurrent.memory": ["--steps=3", "--lengths=5"],
    "benchmarks.recurrent.recurrence": ["--cells=elman", "--shapes=1x8x2x4", "--peers=flax linen", "--rounds=1"],
    "benchmarks.recurrent.variants": ["--shapes=1x8x2x4", "--rounds=1"],
    "benchmarks.recurrent.long": ["--lengths=8,16", "--hidden=4", "--rounds=1"],
    "benchmarks.recurrent.linear": ["--cells=min_gru", "--sizes=1x8x4", "--rounds=1"],
    "benchmarks.models.attention": [
        "--lengths=8",
        "--tokens=8",
        "--heads=2",
        "--features=4",
        "--max_length=2",
        "--rounds=1",
    ],
    "benchmarks.models.convolution": ["--models=cifar_resnet20", "--batch=2", "--rounds=1"],
    "benchmarks.models.sets": ["--sizes=50", "--streamed=100", "--width=8", "--points=2", "--bins=4", "--rounds=1"],
    "benchmarks.runs.windows": ["--windows=64", "--batch_sizes=8", "--workers=0", "--many=1000", "--rounds=1"],
    "benchmarks.runs.kills": ["--kills=1", "--runs=LeNet"],
    "benchmarks.report": ["--results=benchmarks/results", "--out=."],  # not in this checkout
}


def test_the_page_on_data_reads_new_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [f"{n},{'xy'[n % 2]},{'ab'[n % 2]}" for n in range(90)]
    (tmp_path / "table.csv").write_text("\n".join(["size,color,kind", *rows]))
    (tmp_path / "new.csv").write_text("color;size\ny;3\n")
    scope = {"dataset": data.table("table.csv", target="kind", batch_size=8)}
    executed(DATA, scope)
    assert scope["raw"]["inputs"].tolist() == [[3, 0, 1]]
    assert scope["batch"]["inputs"].shape == (1, 3) and len(scope["labeled"]["targets"]) == 90


@pytest.mark.slow(seconds=300)
def test_commands_run(tmp_path, environment, small_flags, small_text):
    commands = [
        line
        for page in PAGES
        for block in blocks("sh", page)
        for line in block.splitlines()
        if line.startswith("python -m")
    ]
    assert len(commands) >= 8
    (tmp_path / "my_texts").mkdir()
    (tmp_path / "my_texts" / "a.txt").write_text(small_text.read_text())
    (tmp_path / "pairs.tsv").write_text("".join(f"the number {n}\tel número {n}\n" for n in range(400)))
    rows = "".join(f"{n},{n % 7},{'ab'[n % 2]}\n" for n in range(90))
    (tmp_path / "my_table.csv").write_text("price,size,species\n" + rows)
    beats = "".join(f"{1 + n % 2}\t" + "\t".join(str((n * k) % 7) for k in range(12)) + "\n" for n in range(90))
    for part in ("TRAIN", "TEST"):
        (tmp_path / f"ECG5000_{part}.tsv").write_text(beats)
    clouds, classes = np.random.default_rng(0).normal(size=(90, 5, 3)), np.arange(90) % 2
    np.savez(tmp_path / "my_sets.npz", x_train=clouds, y_train=classes, x_test=clouds[:20], y_test=classes[:20])
    for name in ("cat", "dog"):
        (tmp_path / "my_images" / name).mkdir(parents=True)
        for i in range(40):
            pixels = np.random.default_rng(i).integers(0, 256, (9, 7, 3), np.uint8)
            PIL.Image.fromarray(pixels).save(tmp_path / "my_images" / name / f"{i}.png")
    np.savez(tmp_path / "my.npz", x=np.random.default_rng(0).integers(0, 17, (5, 8, 8)))
    hours = np.datetime64("2024-01-01T00") + np.arange(1600)
    pressure = [f"{hour},{10 + n % 24}" for n, hour in enumerate(hours)]
    (tmp_path / "pump.csv").write_text(
        "date,pressure,anomaly\n"
        + "".join(f"{row},{int(n % 100 == 7 and n > 1400)}\n" for n, row in enumerate(pressure))
    )
    (tmp_path / "new.csv").write_text("\n".join(["date,pressure", *pressure[:300]]))
    reviews = "text,label\n" + "".join(f"film {n} is {('bad', 'good')[n % 2]},{n % 2}\n" for n in range(90))
    (tmp_path / "reviews.csv").write_text(reviews)
    (tmp_path / "new_reviews.csv").write_text(reviews)
    tagged = "John{1} {0}-PER\nlives O\nin O\nParis {0}-LOC\n\n"
    for name, prefix in (("train", "I"), ("test", "B")):
        (tmp_path / f"{name}.conll").write_text("".join(tagged.format(prefix, n) for n in range(90)))
    (tmp_path / "module.py").write_text("def f(x):\n    return x + 1\n")
    (tmp_path / "sentences.txt").write_text("John lives in Paris\nParis\n")
    (tmp_path / "questions.txt").write_text("read reading write\nstring strings list\n")
    (tmp_path / "words.txt").write_text("file\nthread\n")
    (tmp_path / "glove.6B.100d.txt").write_text(f"print{100 * ' 0.5'}\n")
    environment = {**environment, "PYTHONPATH": str(ROOT)}
    for command in sorted(commands, key=lambda command: "jaxnets.train" not in command):  # runs first, then their uses
        arguments = shlex.split(command, comments=True)[2:]
        if arguments[0] in TESTED_ELSEWHERE:
            continue
        arguments = [ONE_MACHINE.get(argument, argument).replace("{port}", str(free_port())) for argument in arguments]
        text = () if any(a.startswith("--config=") for a in arguments) else small_flags  # the default config reads text
        small = [*(text if arguments[0] in READ_TEXT else ()), *SMALLER.get(arguments[0], ())]
        arguments = [
            sys.executable,
            "-m",
            arguments[0],
            *small,
            *arguments[1:],
        ]  # the settings of the page take precedence
        done = subprocess.run(arguments, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
    assert (tmp_path / "runs" / "mine" / "config.json").exists()


def test_the_config_trains(tmp_path):
    (block,) = [block for block in blocks("python", CONFIGS) if "def get_config" in block]
    assert len(block.splitlines()) <= 10
    (tmp_path / "mine.py").write_text(block)
    trained(tmp_path / "run", "--config.train.steps=2", "--config.model.hidden_size=4", name=str(tmp_path / "mine.py"))
    assert (tmp_path / "run" / "metrics.jsonl").exists()


def test_overview_lists_every_config():
    for name in shipped():
        assert f"`{name}`" in OVERVIEW


@pytest.mark.parametrize("family", [attention, convolution, generative, recurrent, series, sets, text])
def test_overview_lists_every_public_name(family):
    for name in set(family.__all__) - {"matmul"}:
        assert re.search(rf"`{name}\b", OVERVIEW), name
