#!/usr/bin/env python3
"""A node of the reference's kind as a client of `edgelore serve`; the standard library alone.

    python3 userspace/cli/tests/reference_client.py http://127.0.0.1:7171 PACKETS.jsonl

Publishes a packet a line and asks for what is near the first one, without naming its answer. Prints
what was found as JSON lines.
"""

import hashlib
import json
import sys
import urllib.request


def outcome_hash(packet):
    core = {key: packet[key] for key in ("topology_class", "protocol", "event_type", "resolution_pattern")}
    core["convergence_bucket"] = packet["convergence_delta_ms"] // 500 * 500
    core["prefix_scale"] = len(str(packet["affected_prefixes"]))
    return hashlib.sha256(json.dumps(core, sort_keys=True).encode()).hexdigest()


def post(path, body):
    request = urllib.request.Request(store + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


store, packets = sys.argv[1], [json.loads(line) for line in open(sys.argv[2], encoding="utf-8")]
for packet in packets:
    post("/v1/reference", packet | {"outcome_hash": outcome_hash(packet)})
first = packets[0]
situation = {key: first[key] for key in ("topology_class", "protocol", "event_type", "affected_prefixes")}
situation["severity"] = abs(first["convergence_delta_ms"])
for found in post("/v1/reference/query", {"query": situation, "radius": 3})["found"]:
    assert found["packet"]["outcome_hash"] == outcome_hash(found["packet"]), found
    print(json.dumps({"publisher": found["publisher"], **found["packet"]}))
