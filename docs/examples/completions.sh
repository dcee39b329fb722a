#!/bin/sh
# Shows each execution's end: `sh completions.sh [TENANT]`, until Ctrl-C. Needs kcat and jq.
# For looking, not for working: it commits nothing, so it begins at the oldest each time.
prefix=${MILEPOST_TOPIC_PREFIX:-milepost.executions.}
kcat -q -u -b "${MILEPOST_KAFKA_BOOTSTRAP_SERVERS:-127.0.0.1:9092}" -f '%s\n' \
    -X isolation.level=read_committed -X enable.auto.commit=false -X auto.offset.reset=earliest \
    -G "look-$$" "${prefix}succeeded.v1" "${prefix}failed.v1" "${prefix}cancelled.v1" |
    jq --unbuffered -r --arg tenant "$1" \
        'select($tenant == "" or .tenant == $tenant) | "\(.tenant) \(.execution_id) \(.state)"'
