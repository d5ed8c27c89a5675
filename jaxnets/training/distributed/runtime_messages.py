"""Passes stderr on, without what JAX's runtime logs when a process of a run has died: one sentence instead.

Run as a script by ``processes.join``, with the sentences for a process that is not there in time and for one that has
ended; it ends when what it reads does.
"""

import re
import sys

LOG = re.compile(r"[IWEF]\d{4} \d\d:\d\d:\d\d|\[Gloo\]")
MORE = re.compile(r"(\d+|The tasks have crashed.*|RPC: .*|:UNKNOWN.*|Additional GRPC.*|\s*)$")  # of the same text
FATAL = "distributed service detected fatal errors"


def main(missing: str, ended: str) -> None:
    logged = False
    for line in sys.stdin:
        logged = LOG.match(line) is not None or (logged and MORE.match(line) is not None)
        if FATAL in line or ended in line:
            print(missing if "DEADLINE_EXCEEDED" in line else ended, flush=True)
            break  # what comes now are stacks of threads
        if not logged:
            print(line, end="", flush=True)
    for _ in sys.stdin:  # a pipe nobody reads would end the process too early
        pass


if __name__ == "__main__":
    main(*sys.argv[1:])
