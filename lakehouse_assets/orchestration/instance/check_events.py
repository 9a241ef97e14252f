"""Recording what checks found for each day of a range, in one go.

What belongs here: handing evaluations to the event log as one batch. What does not: what is checked and what follows
from it, see `core/quality/`.
"""

from collections.abc import Sequence

from dagster import AssetCheckEvaluation, AssetExecutionContext, DagsterEvent, DagsterEventType

from lakehouse_assets.orchestration.instance.event_log import BatchingEventLog
from lakehouse_assets.orchestration.internals.runs import DagsterEventBatchMetadata, generate_event_batch_id


def log_check_evaluations(context: AssetExecutionContext, evaluations: Sequence[AssetCheckEvaluation]) -> None:
    """What `context.log_event` does for each of `evaluations`, at a third of the cost where the event log takes them in
    batches.

    The evaluations are recorded, shown and counted alike; they are not among the events that the step yields, so a
    `RunResult` does not list them.
    """
    if not isinstance(context.instance.event_log_storage, BatchingEventLog):
        for evaluation in evaluations:
            context.log_event(evaluation)  # pyright: ignore[reportArgumentType] -- taken, but missing in Dagster's annotation
        return
    batch_id = generate_event_batch_id()
    for number, evaluation in enumerate(evaluations, start=1):
        DagsterEvent.from_step(
            DagsterEventType.ASSET_CHECK_EVALUATION,
            context.get_step_execution_context(),
            event_specific_data=evaluation,
            message=(
                f"Asset check {evaluation.check_name!r} on {evaluation.asset_key.to_user_string()!r} for"
                f" {evaluation.partition} "
            )
            + ("passed." if evaluation.passed else "did not pass."),
            batch_metadata=DagsterEventBatchMetadata(batch_id, number == len(evaluations)),
        )
