"""The jobs, each a selection of the graph over the one partitions definition; `maintenance` and `check`, which
materialise nothing, stand in `maintenance.py` and `recovery.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dagster as dg

from lakehouse_assets.orchestration.keys import asset_key, step_name

LOAD_ALL = "load_all"
LAKEHOUSE_ONLY = "lakehouse_only"
RECONCILE = "reconcile"
MAINTENANCE = "maintenance"
CHECK = "check"
ASIDE = (RECONCILE, MAINTENANCE, CHECK)
"""Jobs whose runs bring no table up to date."""


def table_jobs(judged: Sequence[str], whole_table: Sequence[dg.AssetCheckKey]) -> list[Any]:
    """load_all, lakehouse_only, handoff_only, replay_quarantine, reconcile.

    judged: the tables, as `layer.table`, that judge drops. whole_table: the checks that read whole tables. They are a
    job of their own, for inside a load they would make its cost grow with the history; the gates, which look at what a
    run writes, belong to the steps.
    """
    lakehouse = dg.AssetSelection.groups("bronze", "silver", "gold")
    snowflake = dg.AssetSelection.groups("snowflake")
    judging = dg.AssetSelection.assets(*(asset_key(name) for name in judged))

    def job(name: str, selection: dg.AssetSelection, words: str, config: Any = None) -> Any:
        return dg.define_asset_job(
            name, selection - dg.AssetSelection.checks(*whole_table), description=words, config=config
        )

    return [
        job(LOAD_ALL, lakehouse | snowflake, "From landed drops to Snowflake tables."),
        job(LAKEHOUSE_ONLY, lakehouse, "From landed drops to gold; nothing travels."),
        job("handoff_only", snowflake, "Hand off what gold holds."),
        job(
            "replay_quarantine",
            judging.downstream(),
            "Judge everything that landed again, as after a contract was fixed, and publish what has become good. Any"
            " one partition will do: all drops are judged, whichever is chosen. Red days that it makes good are pending"
            " until the next load shows them.",
            {"ops": {step_name(name): {"config": {"force": True, "reason": "replay_quarantine"}} for name in judged}},
        ),
        dg.define_asset_job(
            RECONCILE,
            dg.AssetSelection.checks(*whole_table),
            description=(
                "Prove every Snowflake table equal to the snapshot that the ledger names, and judge the live tables by"
                " their contracts and by the rules over whole tables."
            ),
        ),
    ]
