"""What all programs share: flags, ``--config.x.y=z``, errors in one sentence, exit codes, the compile cache.

Exit codes: 0 done, 1 failed, 2 wrong usage, 129 SIGHUP, 130 Ctrl-C, 141 broken pipe, 143 SIGTERM.
"""

import contextlib
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import jax
from absl import app, flags, logging

from jaxnets.ops.extras import MissingExtraError
from jaxnets.training.distributed import processes
from jaxnets.training.errors import LONGEST, RunError, UsageError, one_line, sentence
from jaxnets.training.interruption import Interrupted, raise_on_signals

FLAGS = flags.FLAGS

flags.DEFINE_bool("debug", False, "Show the traceback of an error.")

MOST_DETAILS = 50  # lines below the sentence of an error

# Errors of the runtime that do not come from the end of another process.
OWN_FAULTS = ("RESOURCE_EXHAUSTED", "INVALID_ARGUMENT", "UNIMPLEMENTED")

Overrides = list[tuple[str, str]]


def run(main: Callable[[Overrides], None]) -> None:
    """Parses the command line, calls ``main`` with the ``--config.x.y=z`` in it, and exits."""
    raise_on_signals()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error is: paths need not be UTF-8
    if {"-h", "-help", "--help"} & set(sys.argv[1:]):
        _guard(_print_help)
        sys.exit(0)
    overrides: Overrides = []

    def parse(argv: list[str]) -> list[str]:
        try:
            rest, found = take_overrides([argv[0], *with_flag_files(argv[1:])])
            overrides.extend(found)
            left = FLAGS(rest)
        except UsageError as error:
            _end(2, error.message, error.details)
        except flags.Error as error:
            _end(2, str(error))
        if len(left) > 1:
            _end(2, f"unexpected argument {left[1]!r}; flags are written --name=value")
        return left

    app.run(lambda argv: _guard(lambda: _run_main(main, overrides)), flags_parser=parse)


def with_flag_files(arguments: list[str]) -> list[str]:
    """The arguments with every ``--flagfile=PATH`` replaced by the lines of that file.

    absl expands them too, but it does not know lines such as ``--config.KEY=VALUE``, which are taken out before.
    """
    try:
        return FLAGS.read_flags_from_files(arguments)
    except UnicodeDecodeError as error:
        raise UsageError(f"--flagfile must name a text file in UTF-8: {error}") from error
    except flags.Error as error:
        raise UsageError(str(error).removeprefix("ERROR:: ")) from error


def take_overrides(argv: list[str]) -> tuple[list[str], Overrides]:
    """Separates ``--config.key=value`` (and ``--config.key value``) from the other arguments."""
    rest, overrides = [], []
    arguments = iter(argv)
    for argument in arguments:
        if not argument.startswith(("--config.", "-config.")):
            rest.append(argument)
            continue
        key, equals, value = argument.split(".", 1)[1].partition("=")
        if not equals:
            following = next(arguments, None)
            if following is None or following.startswith("--"):
                raise UsageError(f"{argument}: a value is missing; write {argument}=VALUE")
            value = following
        overrides.append((key, value))
    return rest, overrides


def _print_help() -> None:
    print((sys.modules["__main__"].__doc__ or "").strip())
    print(f"\n--config.KEY=VALUE sets a key of the config.\n{FLAGS.main_module_help()}")


def _run_main(main: Callable[[Overrides], None], overrides: Overrides) -> None:
    if not FLAGS.debug:
        _quiet()
    use_compile_cache()
    _let_simulated_devices_meet()
    main(overrides)


def _guard(do: Callable[[], None]) -> None:
    """Calls a function and ends the program with one sentence and an exit code where it raises."""
    try:
        do()
        sys.stdout.flush()
    except UsageError as error:
        _end(2, error.message, error.details)
    except MissingExtraError as error:
        _end(2, str(error))
    except Interrupted as interrupted:
        _end(128 + interrupted.number, f"stopped by {interrupted}")
    except BrokenPipeError:
        # Whoever read the output has enough of it; leave no complaint at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except RunError as error:
        _end(1, error.message, error.details)
    except jax.errors.JaxRuntimeError as error:
        if not jax.distributed.is_initialized() or str(error).startswith(OWN_FAULTS):
            _fail(error)
        _end(1, processes.ANOTHER_ENDED)
    except OSError as error:
        if error.filename is None:
            _fail(error)
        _end(1, f"{error.filename}: {error.strerror}")
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:  # a panic of a library in Rust is not an Exception
        _fail(error)


def _fail(error: BaseException) -> NoReturn:
    _end(1, f"{sentence(error)} (--debug shows where)")


def _quiet() -> None:
    """Silences the logs and threads of libraries: when one of them cannot write, the loop raises that itself."""
    logging.set_verbosity(logging.FATAL)
    threading.excepthook = lambda failure: None
    sys.unraisablehook = lambda failure: None


def _end(code: int, message: str, details: Sequence[str] = ()) -> NoReturn:
    if FLAGS.is_parsed() and FLAGS.debug and sys.exc_info()[0] is not None:
        traceback.print_exc()
    told = one_line(f"{name()}: {message}")
    below = [f"  {one_line(line, LONGEST - 2)}" for line in details[:MOST_DETAILS]]
    if len(details) > MOST_DETAILS:
        below.append(f"  and {len(details) - MOST_DETAILS} more")
    print("\n".join([told, *below]), file=sys.stderr, flush=True)
    if code != 1 and not jax.distributed.is_initialized():
        sys.exit(code)
    # At once: after an error a thread of a library may wait for what never comes, as other processes may for this one.
    with contextlib.suppress(OSError):  # of a full disk
        sys.stdout.flush()
    os._exit(code)


def name() -> str:
    """What the running program is called in its messages."""
    path = Path(sys.argv[0])
    return path.parent.name if path.stem == "__main__" else path.stem  # python -m FOLDER runs its __main__.py


def _let_simulated_devices_meet() -> None:
    """Gives XLA threads to spare where a CPU is made to look like several devices.

    It has one for each device. A program of all of them waits for ever where one of the threads is lent to something
    else, and then ends the process.
    """
    devices = jax.config.values["jax_num_cpu_devices"]
    if devices > 1:
        os.environ.setdefault("NPROC", str(4 * devices))


def use_compile_cache() -> None:
    """Compiled programs are kept between runs, in ``$JAX_COMPILATION_CACHE_DIR`` or the user's cache folder."""
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(caches / "jaxnets" / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
