"""Filter for stderr that replaces the log messages of JAX's runtime about a dead process by one sentence.

``processes.join`` runs it as a script. The arguments are the sentence for a process that did not join in time and the
sentence for a process that has ended. The script ends at the end of its input.
"""

import re
import sys

LOG = re.compile(r"[IWEF]\d{4} \d\d:\d\d:\d\d|\[Gloo\]")
CONTINUATION = re.compile(
    r"(\d+|The tasks have crashed.*|RPC: .*|:UNKNOWN.*|Additional GRPC.*|\s*)$"
)  # of a log message
FATAL = "distributed service detected fatal errors"


def main(not_all_joined: str, ended: str) -> None:
    logged = False
    for line in sys.stdin:
        logged = LOG.match(line) is not None or (logged and CONTINUATION.match(line) is not None)
        if FATAL in line or ended in line:
            print(not_all_joined if "DEADLINE_EXCEEDED" in line else ended, flush=True)
            break  # stacks of threads follow
        if not logged:
            print(line, end="", flush=True)
    for _ in sys.stdin:  # without a reader, the process would be killed by its pipe too early
        pass


if __name__ == "__main__":
    main(*sys.argv[1:])
