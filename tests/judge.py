"""An independent judge: the cost of actions on a trace, from the two files alone; it knows nothing of keepwarm."""

import csv
import gzip

LIFE = {"5m": 300.0, "1h": 3600.0}


def cost_of(trace, actions, read, writes):
    """In input prices: every request and ping counts alike. A ping must find its entry alive, and so must a read."""
    data = trace.read_bytes()
    text = (gzip.decompress(data) if trace.suffix == ".gz" else data).decode()
    requests = [(float(row["t_seconds"]), row["prefix_id"]) for row in csv.DictReader(text.splitlines())]
    rows = csv.DictReader(actions.read_text().splitlines())
    acts = [(float(row["t_seconds"]), row["prefix_id"], row["action"], row["ttl"]) for row in rows]
    wrote = {(at, prefix): ttl for at, prefix, action, ttl in acts if action == "write"}
    events = [(at, prefix, "ping") for at, prefix, action, _ in acts if action == "ping"]
    events += [(at, prefix, "request") for at, prefix in requests]
    cost, dies, ttl_of = 0.0, {}, {}
    for at, prefix, kind in sorted(events):
        alive = at <= dies.get(prefix, -1.0)
        if not alive:
            assert kind == "request", f"a ping at {at} found {prefix} dead"
            ttl_of[prefix] = wrote.pop((at, prefix))
        cost += read if alive else writes[ttl_of[prefix]]
        dies[prefix] = at + LIFE[ttl_of[prefix]]
    assert not wrote, "writes at moments at which nobody came, or the entry lived"
    return cost
