"""The schedules, all off until somebody switches them on: a daily load, for those who do without the landing sensor,
daily upkeep, and a weekly check of what is kept.

Does not belong here: what a load takes in (`pending.py`), what upkeep does (`maintenance.py`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import dagster as dg

from lakehouse_assets.errors import AccountUnavailableError
from lakehouse_assets.orchestration.automation.inflight import under_way
from lakehouse_assets.orchestration.automation.jobs import ASIDE, LOAD_ALL
from lakehouse_assets.orchestration.automation.pending import TableNode, pending
from lakehouse_assets.orchestration.automation.work import open_work
from lakehouse_assets.orchestration.resources.handoff_resource import HandoffResource
from lakehouse_assets.orchestration.resources.lakehouse import LakehouseResource

STOPPED = dg.DefaultScheduleStatus.STOPPED


def schedules(
    graph: Mapping[str, TableNode], maintenance: Any, reconcile: Any, check: Any, timezone: str
) -> list[dg.ScheduleDefinition]:
    """daily_load, daily_maintenance, daily_reconcile, weekly_check."""

    @dg.schedule(
        name="daily_load",
        job_name=LOAD_ALL,
        cron_schedule="0 5 * * *",
        execution_timezone=timezone,
        default_status=STOPPED,
        description=(
            "Loads what is pending, and marks yesterday as loaded where nothing landed. Not needed beside the landing"
            " sensor."
        ),
    )
    def daily_load(
        context: dg.ScheduleEvaluationContext, lakehouse: LakehouseResource, handoff: HandoffResource
    ) -> Iterator[dg.RunRequest]:
        behind = {}
        try:
            with handoff.open() as open_handoff:
                behind = handoff.behind(open_handoff)
        except AccountUnavailableError as error:
            # The lakehouse is loaded; the hand-off fails, and with it the run, which the alerts tell.
            context.log.warning(str(error))
        found = pending(lakehouse.tables, lakehouse.zone, graph, behind, lakehouse.databases)
        yesterday = context.scheduled_execution_time.date() - timedelta(days=1)
        if yesterday >= lakehouse.zone.partitions_start and yesterday not in found.red:
            found = replace(found, dates=sorted({*found.dates, yesterday}))
        for work in open_work(found, under_way(context.instance, ASIDE)) if found.dates else ():
            yield dg.RunRequest(
                run_key=f"{context.scheduled_execution_time.isoformat()}-{work.mark}", tags=work.tags("daily_load")
            )

    def at(name: str, job: Any, hour: int, words: str, weekday: str = "*") -> dg.ScheduleDefinition:
        return dg.ScheduleDefinition(
            name=name,
            job=job,
            cron_schedule=f"0 {hour} * * {weekday}",
            execution_timezone=timezone,
            default_status=STOPPED,
            description=words,
        )

    return [
        daily_load,
        at("daily_maintenance", maintenance, 3, "Keeps Delta tables, stage and staging folder small."),
        at(
            "daily_reconcile",
            reconcile,
            7,
            "Runs the checks over whole tables once a day: Snowflake equals the lakehouse, live tables keep their"
            " contracts and rules.",
        ),
        at("weekly_check", check, 1, "Compares every file of the lakehouse with what was committed, on Sundays.", "0"),
    ]
