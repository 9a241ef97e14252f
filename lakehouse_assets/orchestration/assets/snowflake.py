"""Snowflake: the served tables. Each hands its IO manager the reference of its gold table, and that one does the
hand-off.
"""

import dagster as dg

from lakehouse_assets.core.contracts import Contract, contract
from lakehouse_assets.core.delta.heads import TableRef
from lakehouse_assets.orchestration.graph import served
from lakehouse_assets.orchestration.keys import asset_key, snowflake_key
from lakehouse_assets.orchestration.partitions import BACKFILL_POLICY
from lakehouse_assets.orchestration.presentation import dagster_schema, lineage
from lakehouse_assets.orchestration.resources.handoff_resource import HandoffResource
from lakehouse_assets.orchestration.resources.retries import retried
from lakehouse_assets.settings import Settings


class HandoffConfig(dg.Config):
    """Launchpad settings of a served table. There is nothing to force: `lakehouse verify --repair` hands off again what
    differs.
    """

    reason: str = ""
    """Why the run was started by hand; kept with the materialisation."""


def _served_table(model: Contract, settings: Settings, partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    @dg.asset(
        key=snowflake_key(model.table),
        ins={"gold": dg.AssetIn(asset_key(model.name))},
        partitions_def=partitions,
        backfill_policy=BACKFILL_POLICY,
        io_manager_key="snowflake_stage_io",
        group_name="snowflake",
        kinds={"snowflake", "parquet"},
        owners=[model.owner],
        description=(
            f"{model.description}\n\nEqual to the snapshot of `{model.name}` that the ledger names, row for row."
        ),
        code_version=model.fingerprint,
        metadata={
            "dagster/column_schema": dagster_schema(model),
            **lineage({c: [dg.TableColumnDep(asset_key(model.name), c)] for c in model.names}),
            "dagster/table_name": f"{settings.database}.{settings.analytics_schema}.{model.table}".upper(),
            "dagster/storage_kind": "snowflake",
        },
    )
    def hand_off(config: HandoffConfig, gold: TableRef) -> dg.Output[TableRef]:
        metadata = {"reason": config.reason} if config.reason else {}
        return dg.Output(gold, data_version=dg.DataVersion(str(gold.version)), metadata=metadata)

    return hand_off


def snowflake_assets(settings: Settings, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    """SALES_LINES, DAILY_SALES, PRODUCT_SALES, CUSTOMER_VALUE, COHORT_RETENTION, DIM_PRODUCTS and DIM_CUSTOMERS."""
    return [_served_table(contract(model.name), settings, partitions) for model in served().values()]


def publication(model: Contract) -> dg.AssetChecksDefinition:
    """After each hand-off: what it sent is what arrived. An IO manager cannot yield a check, so this reads what the
    transaction recorded.
    """

    @dg.asset_check(
        asset=snowflake_key(model.table),
        name="published_equals_sent",
        description=(
            "Count and hash of the slices handed off last, as Snowflake counted them inside the transaction that"
            " published them, equal those that the lakehouse sent. One statement, whatever the size of the table;"
            " `equals_snapshot` proves the whole of it."
        ),
        required_resource_keys={"snowflake_stage_io"},
    )
    def published_equals_sent(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        found = context.resources.snowflake_stage_io.published(model, context.op_execution_context.retry_number)
        if found is None:
            return dg.AssetCheckResult(passed=False, description="Nothing has been handed off yet.")
        return dg.AssetCheckResult(
            passed=found.sent == found.arrived,
            metadata={
                "handoff_id": found.handoff_id,
                "delta_version": found.version,
                "slices": found.slices,
                "rows_sent": found.sent.rows,
                "rows_arrived": found.arrived.rows,
                # As text: readers of JSON keep 53 bits.
                "hash_sent": str(found.sent.hash),
                "hash_arrived": str(found.arrived.hash),
            },
        )

    return published_equals_sent


def reconciliation(model: Contract) -> dg.AssetChecksDefinition:
    """The stand-alone proof that a Snowflake table equals the snapshot that the ledger names."""

    @dg.asset_check(
        asset=snowflake_key(model.table),
        name="equals_snapshot",
        description="Count and hash of every slice equal the ledger and, while it is readable, the Delta snapshot.",
    )
    def equals_snapshot(context: dg.AssetCheckExecutionContext, handoff: HandoffResource) -> dg.AssetCheckResult:
        with retried(context.op_execution_context.retry_number), handoff.open() as open_handoff:
            result = open_handoff.verify(handoff.lakehouse.tables.spark, model)
        return dg.AssetCheckResult(
            passed=result.equal,
            metadata={
                "delta_version": result.version,
                "snapshot_readable": result.snapshot_readable,
                "differing_slices": len(result.slices),
                "rows": dg.MetadataValue.json([str(r) for r in result.row_differences]),
            },
        )

    return equals_snapshot
