"""Silver: typed, cleansed, deduplicated; bad rows set aside with their reasons; the account of every drop."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from types import ModuleType
from typing import Any

import dagster as dg

from lakehouse_assets.assets.table import (
    Table,
    TableConfig,
    asset_key,
    fingerprint,
    lakehouse_asset,
    output,
    slice_doubles,
    table,
    timed,
)
from lakehouse_assets.delta.staging import JOURNAL, Lakehouse, StagedSlice
from lakehouse_assets.delta.store import OPERATION
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.instance.check_events import log_check_evaluations
from lakehouse_assets.io_managers.delta import BatchAccounts, Publication, publish
from lakehouse_assets.quality import checks
from lakehouse_assets.quality.audit import UNIQUE, DropVerdict, slice_violations, unique_key_violations
from lakehouse_assets.resources.lakehouse import LakehouseResource
from lakehouse_assets.sources import intake as accounts
from lakehouse_assets.sources.cleanse import (
    Cleansed,
    SourceTable,
    batch_accounts,
    cleanse,
    rejected_now,
    standing_verdicts,
)
from lakehouse_assets.sources.ingest import entries
from lakehouse_assets.sources.journal import ACCEPTED, REFUSED, acknowledged
from lakehouse_assets.sources.tables import source_tables
from lakehouse_assets.transforms import customers as crm
from lakehouse_assets.transforms import frames, fx_rates, order_lines, products


def refuse_broken_sides(lakehouse: Lakehouse, sides: Iterable[StagedSlice]) -> None:
    """Raise `LakehouseError` where a side table would break its contract. It is no drop's fault, so there is no gate to
    show it and nothing to set aside.
    """
    for side in sides:
        if side.uri is None:
            continue
        rows = lakehouse.staged_frame(side.contract, side.uri)
        doubled = unique_key_violations(rows, side.contract)
        written = rows.where(f"{OPERATION} <> 'D'").drop(OPERATION)
        broken = [*slice_violations(written, side.contract), *([UNIQUE] if doubled else [])]
        if broken:
            raise LakehouseError(
                f"{side.contract.name} would break {', '.join(broken)}; nothing was published, mend what writes it"
                " (sources/cleanse.py)."
            )


def _source_table(source: SourceTable, mark: str, words: str, code: ModuleType) -> Table:
    model = source.contract
    key = asset_key(model.name)

    def build(partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
        @lakehouse_asset(
            model,
            partitions,
            mark,
            words,
            ins={"landings": dg.AssetIn(asset_key(JOURNAL)), "landed": dg.AssetIn(asset_key(source.bronze))},
            check_specs=checks.gate_specs(model, partitions),
        )
        def compute(
            context: dg.AssetExecutionContext, config: TableConfig, lakehouse: LakehouseResource, **_: Any
        ) -> Iterator[Any]:
            cleansed: Cleansed | None = None
            keys = context.partition_keys
            days = {date.fromisoformat(k) for k in keys}

            def stage() -> StagedSlice | None:
                nonlocal cleansed
                cleansed = cleanse(lakehouse.lakehouse, source, fingerprint=mark, force=config.force, days=days)
                refuse_broken_sides(lakehouse.lakehouse, cleansed.slice.side if cleansed else ())
                return cleansed.slice if cleansed else None

            def accounts_of(rows: Mapping[date, int]) -> dict[date, dict[str, int]]:
                return batch_accounts(lakehouse.lakehouse, model.name, source.source, rows)

            seconds: dict[str, float] = {}
            with timed(seconds, "stage"):
                staged = stage()
            judged = cleansed.judged if cleansed else []
            paths = {v.path for v in judged}
            recorded = standing_verdicts(lakehouse.lakehouse, model.name, source.source, days)
            known = acknowledged(entries(lakehouse.lakehouse))
            open_before = [
                v for v in rejected_now(lakehouse.lakehouse, model.name, source.source) if v.path not in paths
            ]
            # A day of the run without a verdict would be shown as skipped, and with it the check.
            judged += [v for v in recorded if v.path not in paths]
            judged = [v for v in judged if v.verdict == ACCEPTED or (v.path, v.content_hash) not in known]
            elsewhere = [v for v in (*judged, *open_before) if v.verdict != ACCEPTED and v.batch_date not in days]
            judged = [v for v in judged if v.batch_date in days]
            refused = [v for v in judged if v.verdict == REFUSED]
            by_day: dict[str, list[DropVerdict]] = {key: [] for key in keys}
            for verdict in judged:
                by_day[str(verdict.batch_date)].append(verdict)
            with timed(seconds, "audit"):
                doubled = slice_doubles(model, lakehouse, staged)
            gates = checks.drop_gates(model, judged, by_day, doubled, elsewhere)
            log_check_evaluations(context, gates.evaluations)
            drift = {day: checks.drift_metadata(verdicts) for day, verdicts in by_day.items()}
            for day, metadata in drift.items():
                context.add_asset_metadata(metadata, partition_key=day)

            def stage_again() -> StagedSlice | None:
                """After a lost race; what the gates have shown by then must still be so."""
                again = stage()
                known = {v.path for v in refused}
                unseen = [
                    v for v in (cleansed.refused if cleansed else []) if v.batch_date in days and v.path not in known
                ]
                if unseen or slice_doubles(model, lakehouse, again):
                    raise dg.Failure(
                        f"{model.name}, staged again, has other verdicts; materialise it once more to see them."
                    )
                return again

            publication = Publication(model.name, staged, stage_again, accounts_of, seconds)
            if doubled:
                for part in (staged, *staged.side) if staged else ():
                    lakehouse.lakehouse.discard(part.uri)
                yield from gates.results
                return
            if not refused:
                yield from gates.results
                yield output(context, lakehouse, publication, config)
                return
            # The other drops are published and their batches are green. Without an Output nothing downstream runs in
            # this run: it would take the refused batches for loaded, so it follows in a run of its own.
            red = {str(v.batch_date) for v in refused}
            for day, metadata in publish(lakehouse, publication, sorted(set(keys) - red)).items():
                context.log_event(dg.AssetMaterialization(key, partition=day, metadata={**metadata, **drift[day]}))
            yield from gates.results

        return compute

    return Table(model.name, (JOURNAL,), mark, build, code)


def _intake_accounts(lakehouse: LakehouseResource) -> BatchAccounts:
    """The accounts of the drops of each batch date, all sources together."""

    def accounts_of(rows: Mapping[date, int]) -> Mapping[date, Mapping[str, int]]:
        names: tuple[str, ...] = ("landed", "published", "quarantined", "duplicates")
        found: dict[date, dict[str, int]] = {day: dict.fromkeys(names, 0) for day in rows}
        for row in lakehouse.lakehouse.store.read("silver.intake", columns=["batch_date", *names]).to_pylist():
            for name in names if row["batch_date"] in found else ():
                found[row["batch_date"]][name] += row[name]
        return found

    return accounts_of


_CODE = {"silver.order_lines": order_lines, "silver.customers": crm, "silver.fx_rates": fx_rates}
_WORDS = {
    "silver.order_lines": "A line that several drops say stands on the least of them.",
    "silver.customers": "The greatest time of change wins.",
    "silver.fx_rates": "Of two drops for one date the greatest wins.",
}


def build_tables(email_key: str, keep_email: bool) -> list[Table]:
    """The silver tables. email_key: the secret of the keyed hash of e-mail addresses; keep_email: whether they go on
    beside it.
    """
    marks = {name: fingerprint(code, frames) for name, code in _CODE.items()}
    # Another key or another permission makes customers stale; two bytes of a hash tell nothing of the key.
    marks["silver.customers"] += (
        f"-{hashlib.sha256(email_key.encode()).hexdigest()[:4]}{'-email' if keep_email else ''}"
    )
    return [
        *(
            _source_table(source, marks[source.name], _WORDS[source.name], _CODE[source.name])
            for source in source_tables(email_key, keep_email)
        ),
        table("silver.products", upstreams=["silver.order_lines"])(products.products),
        table(
            "silver.intake",
            upstreams=[JOURNAL, *(n for t in accounts.TABLES.values() for n in (t, f"{t}_verdicts"))],
            accounts=_intake_accounts,
        )(accounts.intake),
    ]
