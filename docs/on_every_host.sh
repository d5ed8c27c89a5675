#!/bin/sh
# Restarts a training run until it finishes. Run it on every host at the same time:
#
#     sh docs/on_every_host.sh --join --config=decoder_lm --workdir=bucket/runs/decoder_lm
#
# The arguments are passed to jaxnets.train. If a host is lost or a process dies, all processes end within a minute. This
# script starts them again, and the run resumes from its last checkpoint. Optional variables: PYTHON, TRIES, PAUSE (seconds).

tries=0
trap 'kill -TERM "$run" 2>/dev/null; wait "$run"; exit 143' TERM
while :; do
    "${PYTHON:-python}" -m jaxnets.train "$@" &
    run=$!
    wait "$run"
    code=$?
    case $code in
        0 | 2 | 130) exit "$code" ;; # finished, wrong usage, Ctrl-C
    esac
    tries=$((tries + 1))
    if [ "$tries" -ge "${TRIES:-100}" ]; then
        exit "$code"
    fi
    echo "on_every_host: ended with $code; start $((tries + 1)) in ${PAUSE:-10} s" >&2
    sleep "${PAUSE:-10}"
done
