"""On which partition of a range something is said, so that every number is true of where it is shown.

Does not belong here: what there is to say.
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg

LINEAGE = "dagster/column_lineage"


def with_run(partitions: Mapping[str, Mapping[str, Any]], numbers: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What is said of each partition, and on the last of them what is true of the run as a whole, named `run/…`.

    On every partition, where Dagster puts what an IO manager says, a run's numbers would be plotted and summed as if
    they were the day's.
    """
    said = {key: dict(metadata) for key, metadata in partitions.items()}
    if said:
        said[max(said)] |= {f"run/{name}": value for name, value in numbers.items()}
    return said


def say(context: dg.OutputContext, partitions: Mapping[str, Mapping[str, Any]]) -> None:
    """Put metadata on the materialisation of each partition; the last also gets the lineage of the definition, which is
    looked for at the newest.
    """
    lineage, last = (context.definition_metadata or {}).get(LINEAGE), max(partitions, default="")
    for key, metadata in partitions.items():
        more = {LINEAGE: lineage} if lineage and key == last else {}
        context.step_context.add_asset_metadata({**metadata, **more}, context.asset_key, key)
