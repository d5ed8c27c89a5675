"""Wrong commands and configs: errors of one sentence with exit code 2."""

from pathlib import Path

import pytest
from wrong_programs import check, classify, images, launch, of_run, small_run, train, train_on


def user_config(**changes: object):
    """Trains with a user's config file that changes settings of ``train``."""

    def run(folder: Path):
        lines = ["from jaxnets.training.config import load", "def get_config():", "    config = load('char_lm')"]
        lines += [f"    config.train = {{**config.train, {key!r}: {value!r}}}" for key, value in changes.items()]
        (folder / "mine.py").write_text("\n".join([*lines, "    return config", ""]))
        return launch("train", [f"--workdir={folder / 'new'}", f"--config={folder / 'mine.py'}"])

    return run


# name: (function that runs a program, exit code, part of the message)
CASES = {
    "missing config": (train("--config=configs/none.py"), 2, "no config configs/none.py"),
    "mistyped config": (train("--config=char_ml"), 2, "the nearest is char_lm"),
    "unknown key": (train("--config.model.hiden_size=5"), 2, "the nearest is --config.model.hidden_size"),
    "wrong type": (
        train("--config.model.hidden_size=many"),
        2,
        "--config.model.hidden_size must be int, such as 8, got 'many'",
    ),
    "no value": (train("--config.model.hidden_size"), 2, "--config.model.hidden_size must have a value"),
    "unknown flag": (train("--wrokdir=x"), 2, "Unknown command line flag 'wrokdir'. Did you mean: workdir"),
    "stray argument": (train("configs/char_lm.py"), 2, "unexpected argument 'configs/char_lm.py'"),
    "unknown model": (train("--config.model.name=recurrent.CharRN"), 2, "the nearest is recurrent.CharRNN"),
    "unknown cell": (train("--config.model.cell=recurrent.lstmm"), 2, "the nearest is recurrent.lstm"),
    "impossible model": (
        train_on(b"abc " * 99, "--config.model.tie_embeddings=true"),
        2,
        "`embed_dim` must equal `hidden_size` with `tie_embeddings`",
    ),
    "indivisible batch": (
        train_on(b"abc " * 99, "--config.train.grad_accum_steps=3"),
        2,
        "--config.train.grad_accum_steps must divide the batch size 4, got 3",
    ),
    "negative learning rate": (
        train_on(b"abc " * 99, "--config.optimizer.learning_rate=-1"),
        2,
        "`learning_rate` must be at least 0, got -1",
    ),
    "mistyped key in a config file": (
        user_config(stesp=100),
        2,
        "unknown setting train.stesp; the nearest is train.steps",
    ),
    "wrong type in a config file": (user_config(steps="100"), 2, "train.steps must be int, got '100'"),
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
        "--config.train.max_minutes must be at least 0 (0: no limit), got -1.0",
    ),
    "cell without its family": (
        train_on(b"abc " * 99, "--config.model.cell=lstm"),
        2,
        "such as recurrent.gru, got 'lstm'",
    ),
    "unknown module": (train("--config.model.name=recurrent.foo.Net"), 2, "no jaxnets.recurrent.foo for"),
    "max_to_keep of zero": (
        train_on(b"abc " * 99, "--config.train.max_to_keep=0"),
        2,
        "--config.train.max_to_keep must be at least 1, got 0",
    ),
    "frozen without a match": (
        train_on(b"abc " * 99, "--config.optimizer.frozen=hed"),
        2,
        "--config.optimizer.frozen must match some of the paths, got hed, which matches none of params/embed/emb",
    ),
    "missing run in init_from": (
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
        "--input must be sizes separated by commas, such as 1,64, got a,b",
    ),
    "images too small": (
        images(lambda root: None, "--config.model.name=convolution.vgg11"),
        2,
        "VGG: `images` must be at least 32 x 32, got 8 x 8",
    ),
    "option fixed by a builder": (
        lambda folder: launch("summary", ["--model=convolution.resnet50", "--config.model.bottleneck=False"]),
        2,
        "convolution.resnet50: got multiple values for keyword argument 'bottleneck'",
    ),
    "task for other data": (
        classify("--config=digits", "--config.task=tasks.regression"),
        2,
        "the data of tasks.regression must have quantities, got data with classes",
    ),
    "no test split": (
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
        "recurrent.CharRNN needs vocab_size",
    ),
}


SLOW = ("no such step",)  # similar to other cases


@pytest.mark.parametrize(
    "run, code, sentence",
    [pytest.param(*case, id=name, marks=[pytest.mark.slow] * (name in SLOW)) for name, case in CASES.items()],
)
def test_wrong_settings_give_one_sentence(tmp_path, run, code, sentence):
    check(run, code, sentence, tmp_path)


def test_debug_shows_the_traceback(tmp_path):
    done = train("--config.data.path=nowhere.txt", "--debug")(tmp_path)
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("train: nowhere.txt must be a text file or a folder")
