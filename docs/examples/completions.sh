#!/bin/sh
# Shows each execution's end: `sh completions.sh [TENANT]`, until Ctrl-C. Needs kcat and jq.
# For looking, not for working: it has no group, so it begins at the start and commits nothing.
prefix=${MILEPOST_TOPIC_PREFIX:-milepost.executions.}
for state in succeeded failed cancelled; do
    kcat -C -q -u -b "${MILEPOST_KAFKA_BOOTSTRAP_SERVERS:-127.0.0.1:9092}" \
        -t "$prefix$state.v1" -o beginning -X isolation.level=read_committed -f '%s\n' &
done | jq --unbuffered -r --arg tenant "$1" \
    'select($tenant == "" or .tenant == $tenant) | "\(.tenant) \(.execution_id) \(.state)"'
