"""Command-line programs: flags, ``--config.x.y=z``, one-sentence errors, exit codes and the compilation cache.

Exit codes: 0 success, 1 failure, 2 wrong usage, 129 SIGHUP, 130 Ctrl-C, 141 broken pipe, 143 SIGTERM.
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

from jaxnets.ops.host.extras import MissingExtraError
from jaxnets.ops.host.printable import MAX_MESSAGE_LENGTH
from jaxnets.training.distributed import processes
from jaxnets.training.errors import RunError, UsageError, format_error, format_message
from jaxnets.training.interruption import Interrupted, raise_on_signals

FLAGS = flags.FLAGS

flags.DEFINE_bool("debug", False, "Show the traceback of an error.")

MAX_DETAILS = 50  # lines below the first line of an error message

# Errors of XLA that are not caused by the end of another process.
OWN_FAULTS = ("RESOURCE_EXHAUSTED", "INVALID_ARGUMENT", "UNIMPLEMENTED")

Overrides = list[tuple[str, str]]


def run(main: Callable[[Overrides], None]) -> None:
    """Parses the command line, calls ``main`` with the ``--config.x.y=z`` overrides, and exits."""
    raise_on_signals()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # like standard error: paths may not be UTF-8
    if {"-h", "-help", "--help"} & set(sys.argv[1:]):
        _guard(_print_help)
        sys.exit(0)
    overrides: Overrides = []

    def parse(argv: list[str]) -> list[str]:
        try:
            others, found = take_overrides([argv[0], *with_flag_files(argv[1:])])
            overrides.extend(found)
            positional = FLAGS(others)
        except UsageError as error:
            _end(2, error.message, error.details)
        except flags.Error as error:
            _end(2, str(error))
        if len(positional) > 1:
            _end(2, f"unexpected argument {positional[1]!r}; flags have the form --name=value")
        return positional

    app.run(lambda argv: _guard(lambda: _run_main(main, overrides)), flags_parser=parse)


def with_flag_files(arguments: list[str]) -> list[str]:
    """Replaces every ``--flagfile=PATH`` by the lines of that file.

    absl does this too, but rejects ``--config.KEY=VALUE`` lines. Here they are separated before absl parses the flags.
    """
    try:
        return FLAGS.read_flags_from_files(arguments)
    except UnicodeDecodeError as error:
        raise UsageError(f"--flagfile must be a text file in UTF-8: {error}") from error
    except flags.Error as error:
        raise UsageError(str(error).removeprefix("ERROR:: ")) from error


def take_overrides(argv: list[str]) -> tuple[list[str], Overrides]:
    """Separates ``--config.key=value`` (and ``--config.key value``) from the other arguments."""
    others, overrides = [], []
    arguments = iter(argv)
    for argument in arguments:
        if not argument.startswith(("--config.", "-config.")):
            others.append(argument)
            continue
        key, equals, value = argument.split(".", 1)[1].partition("=")
        if not equals:
            following = next(arguments, None)
            if following is None or following.startswith("--"):
                raise UsageError(f"{argument} must have a value: {argument}=VALUE")
            value = following
        overrides.append((key, value))
    return others, overrides


def _print_help() -> None:
    print((sys.modules["__main__"].__doc__ or "").strip())
    print(f"\n--config.KEY=VALUE changes a setting of the config.\n{FLAGS.main_module_help()}")


def _run_main(main: Callable[[Overrides], None], overrides: Overrides) -> None:
    if not FLAGS.debug:
        _quiet()
    enable_compilation_cache()
    _add_threads_for_simulated_devices()
    main(overrides)


def _guard(do: Callable[[], None]) -> None:
    """Calls a function. If it raises, ends the program with a one-sentence message and an exit code."""
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
        # The reader of the output has closed it. Python must not report this again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except RunError as error:
        _end(1, error.message, error.details)
    except jax.errors.JaxRuntimeError as error:
        if not jax.distributed.is_initialized() or str(error).startswith(OWN_FAULTS):
            _fail(error)
        _end(1, processes.PROCESS_ENDED)
    except OSError as error:
        if error.filename is None:
            _fail(error)
        _end(1, f"{error.filename}: {error.strerror}")
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:  # a panic in a Rust library is not an Exception
        _fail(error)


def _fail(error: BaseException) -> NoReturn:
    _end(1, f"{format_error(error)} (--debug shows the traceback)")


def _quiet() -> None:
    """Silences logs and thread errors of libraries. The training loop reports failed writes itself."""
    logging.set_verbosity(logging.FATAL)
    threading.excepthook = lambda failure: None
    sys.unraisablehook = lambda failure: None


def _end(code: int, message: str, details: Sequence[str] = ()) -> NoReturn:
    if FLAGS.is_parsed() and FLAGS.debug and sys.exc_info()[0] is not None:
        traceback.print_exc()
    lines = [format_message(f"{name()}: {message}")]
    lines += [f"  {format_message(line, MAX_MESSAGE_LENGTH - 2)}" for line in details[:MAX_DETAILS]]
    if len(details) > MAX_DETAILS:
        lines.append(f"  and {len(details) - MAX_DETAILS} more")
    print("\n".join(lines), file=sys.stderr, flush=True)
    if code != 1 and not jax.distributed.is_initialized():
        sys.exit(code)
    # os._exit ends the process at once. After an error, library threads and other processes may wait forever.
    with contextlib.suppress(OSError):  # the disk may be full
        sys.stdout.flush()
    os._exit(code)


def name() -> str:
    """Returns the name of the running program, for messages."""
    path = Path(sys.argv[0])
    return path.parent.name if path.stem == "__main__" else path.stem  # python -m FOLDER runs its __main__.py


def _add_threads_for_simulated_devices() -> None:
    """Gives XLA more threads than simulated CPU devices.

    By default it has one thread per device. If one of them does other work, a collective operation waits until XLA ends
    the process.
    """
    devices = jax.config.values["jax_num_cpu_devices"]
    if devices > 1:
        os.environ.setdefault("NPROC", str(4 * devices))


def enable_compilation_cache() -> None:
    """Enables JAX's persistent compilation cache, in ``$JAX_COMPILATION_CACHE_DIR`` or the user's cache folder."""
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(caches / "jaxnets" / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
