"""Wrong commands and configs: one clear sentence on standard error, exit code 2, no traceback."""

from pathlib import Path

import pytest
from wrong_programs import check, classify, images, launch, of_run, small_run, train, train_on


def user_config(**changes: object):
    """Trains with a config file of the user in which the settings of ``train`` are changed."""

    def do(folder: Path):
        lines = ["from jaxnets.training.config import load", "def get_config():", "    config = load('char_lm')"]
        lines += [f"    config.train = {{**config.train, {key!r}: {value!r}}}" for key, value in changes.items()]
        (folder / "mine.py").write_text("\n".join([*lines, "    return config", ""]))
        return launch("train", [f"--workdir={folder / 'new'}", f"--config={folder / 'mine.py'}"])

    return do


# name: (what is done, exit code, what the sentence must say)
CASES = {
    "missing config": (train("--config=configs/none.py"), 2, "no config configs/none.py"),
    "mistyped config": (train("--config=char_ml"), 2, "the nearest is char_lm"),
    "unknown key": (train("--config.model.hiden_size=5"), 2, "the nearest is --config.model.hidden_size"),
    "wrong type": (train("--config.model.hidden_size=many"), 2, "int expected, such as 8; given 'many'"),
    "no value": (train("--config.model.hidden_size"), 2, "a value is missing"),
    "unknown flag": (train("--wrokdir=x"), 2, "Unknown command line flag 'wrokdir'. Did you mean: workdir"),
    "stray argument": (train("configs/char_lm.py"), 2, "unexpected argument 'configs/char_lm.py'"),
    "unknown model": (train("--config.model.name=recurrent.CharRN"), 2, "the nearest is recurrent.CharRNN"),
    "unknown cell": (train("--config.model.cell=recurrent.lstmm"), 2, "the nearest is recurrent.lstm"),
    "impossible model": (
        train_on(b"abc " * 99, "--config.model.tie_embeddings=true"),
        2,
        "tie: embedding = hidden expected",
    ),
    "indivisible batch": (
        train_on(b"abc " * 99, "--config.train.grad_accum_steps=3"),
        2,
        "--config.train.grad_accum_steps must divide the batch of 4, got 3",
    ),
    "negative learning rate": (
        train_on(b"abc " * 99, "--config.optimizer.learning_rate=-1"),
        2,
        "learning_rate: not below 0",
    ),
    "mistyped key in a config file": (
        user_config(stesp=100),
        2,
        "nothing reads train.stesp; the nearest is train.steps",
    ),
    "wrong type in a config file": (user_config(steps="100"), 2, "train.steps: int expected; given '100'"),
    "unknown variant": (
        classify("--config=prevalence:attenton"),
        2,
        "prevalence.py has no variant attenton; it has attention, pooled",
    ),
    "argument of another optimizer": (
        train_on(b"abc " * 99, "--config.optimizer.name=optax.sgd", "--config.optimizer.warmup_steps=5"),
        2,
        "no setting --config.optimizer.warmup_steps",
    ),
    "negative seed": (train_on(b"abc " * 99, "--config.seed=-1"), 2, "`seed` must be an integer of at least 0, got -1"),
    "negative minutes": (
        train_on(b"abc " * 99, "--config.train.max_minutes=-1"),
        2,
        "--config.train.max_minutes must be at least 0, which is no limit, got -1.0",
    ),
    "cell without its family": (
        train_on(b"abc " * 99, "--config.model.cell=lstm"),
        2,
        "such as recurrent.gru; given 'lstm'",
    ),
    "unknown module": (train("--config.model.name=recurrent.foo.Net"), 2, "no jaxnets.recurrent.foo for"),
    "no checkpoint to keep": (
        train_on(b"abc " * 99, "--config.train.max_to_keep=0"),
        2,
        "--config.train.max_to_keep must be at least 1, got 0",
    ),
    "frozen nothing": (
        train_on(b"abc " * 99, "--config.optimizer.frozen=hed"),
        2,
        "--config.optimizer.frozen=hed: it is found in none of the paths: params/embed/embedding, params/head/bias, ",
    ),
    "nothing to begin from": (
        train_on(b"abc " * 99, "--config.train.init_from=nowhere"),
        2,
        "--config.train.init_from must be a run with checkpoints or a safetensors file, got nowhere",
    ),
    "unknown policy": (
        train_on(b"abc " * 99, "--config.train.nan_policy=ignore"),
        2,
        "--config.train.nan_policy must be one of stop, skip, roll_back, got ignore",
    ),
    "no such step": (of_run("evaluate", "--step=7"), 2, "--step must be best, last or one of 4, got 7"),
    "config for a finished run": (of_run("generate", "--config.seed=1"), 2, "the run's own config is used"),
    "prompt outside the vocabulary": (
        lambda folder: launch(
            "generate", [f"--workdir={small_run(folder, '--config.data.unit=character')}", "--prompt=año"]
        ),
        2,
        "--prompt: characters must be in the vocabulary ' ?Hacdhklmouw', got 'ñ'",
    ),
    "empty prompt": (of_run("generate", "--prompt="), 2, "--prompt must have at least one character, got none"),
    "negative temperature": (of_run("generate", "--temperature=-1"), 2, "flag --temperature=-1"),
    "wrong input shape": (
        lambda folder: launch("summary", ["--model=recurrent.CharRNN", "--config.model.vocab_size=9", "--input=a,b"]),
        2,
        "--input must be sizes with commas between them, such as 1,64, got a,b",
    ),
    "images too small": (
        images(lambda root: None, "--config.model.name=convolution.vgg11"),
        2,
        "VGG: images must be at least 32 x 32, got 8 x 8",
    ),
    "an option that a builder fixes": (
        lambda folder: launch("summary", ["--model=convolution.resnet50", "--config.model.bottleneck=False"]),
        2,
        "convolution.resnet50: got multiple values for keyword argument 'bottleneck'",
    ),
    "task for other data": (
        classify("--config=digits", "--config.task=tasks.regression"),
        2,
        "tasks.regression learns from data with quantities, got data with classes",
    ),
    "no test part": (
        of_run("evaluate", "--split=test"),
        2,
        "--split must be one of validation, got test",
    ),
    "no such evaluator": (
        of_run("evaluate", "--evaluators=metric"),
        2,
        "--evaluators must be one of metrics, got metric; the nearest is metrics",
    ),
    "missing argument": (
        lambda folder: launch("summary", ["--model=recurrent.CharRNN"]),
        2,
        "recurrent.CharRNN needs vocabulary",
    ),
}


SLOW = ("no such step",)  # it is near to another


@pytest.mark.parametrize(
    "do, code, sentence",
    [pytest.param(*case, id=name, marks=[pytest.mark.slow] * (name in SLOW)) for name, case in CASES.items()],
)
def test_wrong_settings_are_told_in_one_sentence(tmp_path, do, code, sentence):
    check(do, code, sentence, tmp_path)


def test_debug_shows_the_traceback(tmp_path):
    done = train("--config.data.path=nowhere.txt", "--debug")(tmp_path)
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("train: nowhere.txt must be a text file or a folder")
