"""The graph as it is meant: every asset with its upstreams, partitions, checks and what it says of itself, held beside
this file.

A change that is meant is written down by `python -m lakehouse_assets_tests.orchestration.assets.test_graph`.
"""

import json
from pathlib import Path
from typing import Any

from lakehouse_assets.definitions import build_definitions, resources
from lakehouse_assets.settings import Settings

HELD = Path(__file__).with_name("graph.json")


def graph() -> dict[str, dict[str, Any]]:
    """What is held, by asset."""
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    assets = build_definitions(settings, **resources(settings)).resolve_asset_graph()
    found = {}
    for node in sorted(assets.asset_nodes, key=lambda n: tuple(n.key.path)):
        found[".".join(node.key.path)] = {
            "upstreams": sorted(".".join(k.path) for k in node.parent_keys),
            "partitions": type(node.partitions_def).__name__,
            "group": node.group_name,
            "kinds": sorted(node.kinds),
            "owners": sorted(node.owners),
            "checks": sorted(k.name for k in assets.asset_check_keys if k.asset_key == node.key),
        }
    return found


def test_the_graph_is_as_it_is_meant() -> None:
    """A check, an edge or an owner is lost by accident, and nobody misses it until it is needed."""
    held, now = json.loads(HELD.read_text()), graph()
    assert now.keys() == held.keys()
    assert {name: now[name] for name in now if now[name] != held[name]} == {}


if __name__ == "__main__":
    HELD.write_text(json.dumps(graph(), indent=1) + "\n")
