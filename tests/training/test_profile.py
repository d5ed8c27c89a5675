"""Profiles: the requested steps, and operation names that contain the module of the model."""

import gzip
import json
import re

import pytest
from in_process import ready

RUNS = {
    "char_lm": ("--config.data.batch_size=4", "--config.data.seq_len=16", "--config.model.hidden_size=8"),
    "decoder_lm": (
        "--config.data.batch_size=4",
        "--config.data.seq_len=16",
        "--config.model.embed_dim=16",
        "--config.model.num_heads=2",
        "--config.model.num_layers=2",
    ),
    "set_maximum:pooled": (),
}
FORWARD, BACKWARD = r"/jvp\(loss\)/", r"/transpose\(jvp\(loss\)\)/"
SCOPES = {
    "char_lm": [
        rf"{FORWARD}CharRNN/layer_0/.*/project/",
        rf"{FORWARD}CharRNN/layer_0/.*/steps/",
        rf"{FORWARD}CharRNN/head/",
        rf"{BACKWARD}CharRNN/layer_0/.*/linearize/",
        rf"{BACKWARD}CharRNN/layer_0/.*/steps/",
        rf"{BACKWARD}CharRNN/layer_0/.*/weight gradients/",
        rf"{BACKWARD}CharRNN/layer_0/.*project",
        r"/optimizer/",
    ],
    "decoder_lm": [rf"{way}DecoderLM/.*/attention/dot_product/" for way in (FORWARD, BACKWARD)],
    "set_maximum:pooled": [rf"{way}DeepSets/pool/" for way in (FORWARD, BACKWARD)],
}


@pytest.mark.parametrize("name", RUNS)
def test_operation_names_contain_modules(name, small_text):
    path = (f"--config.data.path={small_text}",) if name != "set_maximum:pooled" else ()
    _, dataset, _, compiled = ready(*RUNS[name], *path, name=name)
    text = compiled.step.lower(compiled.abstract, compiled.train.put(dataset.train[0])).compile().as_text()
    names = set(re.findall(r'op_name="([^"]*)"', text))
    missing = [part for part in SCOPES[name] if not any(re.search(part, name) for name in names)]
    assert not missing, sorted(names)


def profiled_steps(folder):
    """Returns the steps in a trace."""
    (path,) = folder.rglob("perfetto_trace.json.gz")
    with gzip.open(path) as file:
        events = json.load(file)["traceEvents"]
    return [int(event["args"]["step_num"]) for event in events if event.get("name") == "step"]


def test_a_profile_contains_the_steps_after_the_first(run_program, small_flags, tmp_path):
    run = lambda *flags: run_program("train", f"--workdir={tmp_path / 'run'}", *small_flags, *flags)
    done = run("--config.train.steps=10", "--profile_steps=3")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "run" / "profile"
    assert f"profile of 3 steps in {folder}; to view it: tensorboard --logdir={folder}" in done.stderr
    assert profiled_steps(folder) == [2, 3, 4]
    (plane,) = folder.rglob("*.xplane.pb")
    assert b"CharRNN/layer_0" in plane.read_bytes() and b"weight gradients" in plane.read_bytes()
    folder.rename(tmp_path / "first")
    done = run("--config.train.steps=13", "--profile_steps=30")  # more than the run has; it resumes at step 11
    assert "profile of 2 steps in" in done.stderr
    assert profiled_steps(folder) == [12, 13]
    folder.rename(tmp_path / "second")
    done = run("--config.train.steps=14")
    assert done.returncode == 0 and not folder.exists()


def test_negative_profile_steps_are_rejected(run_program):
    done = run_program("train", "--profile_steps=-1")
    assert done.returncode == 2
    assert "flag --profile_steps=-1" in done.stderr


@pytest.mark.slow
def test_only_the_first_process_profiles(start_processes, small_flags, tmp_path):
    flags = (f"--workdir={tmp_path}", *small_flags, "--config.train.steps=10", "--profile_steps=4")
    started = start_processes(2, 1, *flags)
    stderr = [process.communicate(timeout=200)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], stderr
    assert ["profile of 4 steps" in text for text in stderr] == [True, False]
    assert profiled_steps(tmp_path / "profile") == [2, 3, 4, 5]
