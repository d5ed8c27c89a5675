#!/bin/sh
# Trains until it is done, on every host of a run at once:
#
#     sh docs/on_every_host.sh --join --config=decoder_lm --workdir=bucket/runs/decoder_lm
#
# Arguments are those of jaxnets.train. Where a host is lost, or a process dies, all processes end within a minute; here
# they are started again, and go on from the last checkpoint. PYTHON, TRIES and PAUSE (seconds) may be set.

tries=0
trap 'kill -TERM "$run" 2>/dev/null; wait "$run"; exit 143' TERM
while :; do
    "${PYTHON:-python}" -m jaxnets.train "$@" &
    run=$!
    wait "$run"
    code=$?
    case $code in
        0 | 2 | 130) exit "$code" ;; # done, wrong usage, Ctrl-C
    esac
    tries=$((tries + 1))
    if [ "$tries" -ge "${TRIES:-100}" ]; then
        exit "$code"
    fi
    echo "on_every_host: ended with $code; start $((tries + 1)) in ${PAUSE:-10} s" >&2
    sleep "${PAUSE:-10}"
done
