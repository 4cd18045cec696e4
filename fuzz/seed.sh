#!/bin/sh
# Writes what each fuzz target starts from into fuzz/corpus/, made of the recorded traffic and the
# golden cases: pieces that are small enough not to be cut. Needs jq. What is there stays.
set -eu
export LC_ALL=C

root=$(cd "$(dirname "$0")/.." && pwd)
captures=$root/tests/captures/opensvc-2.1
golden=$root/tests/golden
corpus=$root/fuzz/corpus
pieces=$(mktemp -d)
trap 'rm -rf "$pieces"' EXIT
for target in frames sse message json_delta status config gateway envoy_json; do
    mkdir -p "$corpus/$target"
done

# Event streams: a full status, and the messages after it, a few at a time.
for events in "$captures"/events-*.jsonl; do
    name=$(basename "$events" .jsonl)
    split -a 3 -l 12 "$events" "$pieces/$name."
done
for piece in "$pieces"/*; do
    name=$(basename "$piece")
    first=$captures/${name%.*}.jsonl
    { head -n 1 "$first" && cat "$piece"; } >"$corpus/message/$name"
    # The sizes of three reads come first.
    { printf '\003\001\007\200' && tr '\n' '\000' <"$piece"; } >"$corpus/frames/$name"
    {
        printf '\003\001\007\200'
        awk '{ printf "id: %d\ndata: %s\n\n", NR, $0 }' "$piece"
    } >"$corpus/sse/$name"
    # A tree that the stanzas of the first patch fit, and the stanzas.
    jq -c -s '
        map(select(.kind == "patch").data)[0] // empty
        | [reduce .[] as $stanza ({}; try setpath($stanza[0]; null) catch .)] + .
    ' "$piece" >"$corpus/json_delta/$name"
done
for transcript in "$captures"/h2-*.txt; do
    { printf '\002\003\377' && cat "$transcript"; } >"$corpus/sse/$(basename "$transcript")"
done

# Statuses and configurations, and Envoy's clusters as the golden cases show them.
cp "$captures"/status-*.json "$corpus/status/"
cp "$captures"/config-*.json "$corpus/config/"
for folder in "$golden"/*/; do
    name=$(basename "$folder")
    cp "$folder/status.json" "$corpus/status/$name"
    cp "$folder/status.json" "$corpus/gateway/$name"
    jq -c '.cds[]?' "$folder/snapshot.json" | split -a 2 -l 1 - "$corpus/envoy_json/$name."
    if [ -e "$folder/reads.json" ]; then
        jq -c '.configs[]?' "$folder/reads.json" | split -a 2 -l 1 - "$corpus/config/$name."
    fi
done
find "$corpus" -type f -size 0 -exec rm {} +
