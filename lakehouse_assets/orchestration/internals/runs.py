"""Names inside Dagster for runs, their tags, plans and events, and for what its records say of sensors and checks.

Belongs here: one import a name, below what is relied on. Does not belong here: code, and the event log
(`event_log.py`).
"""

# Returns what it is given, and raises on None.
from dagster._check import not_none as not_none

# `in_process_executor` takes its configuration by this schema, so that run configuration for the stock one is taken.
from dagster._core.definitions.executor_definition import IN_PROC_CONFIG as IN_PROC_CONFIG

# The `freshness_state` of `get_freshness_state_records`: WARN and FAIL where an asset is late by its policy.
from dagster._core.definitions.freshness import FreshnessState as FreshnessState

# Wraps a job that is at hand as one that `execute_run_iterator` takes.
from dagster._core.definitions.job_base import InMemoryJob as InMemoryJob

# SENSOR selects the sensors in `all_instigator_state`.
from dagster._core.definitions.run_request import InstigatorType as InstigatorType

# Marks an event as one of a batch; the instance keeps it until the last one comes, then stores all at once.
from dagster._core.events import DagsterEventBatchMetadata as DagsterEventBatchMetadata

# Says with `report_run_failed` why a run failed, without an error.
from dagster._core.events import JobFailureData as JobFailureData

# UNEXPECTED_TERMINATION is the reason that Dagster itself gives where Ctrl-C ended a run.
from dagster._core.events import RunFailureReason as RunFailureReason

# A new id for each batch.
from dagster._core.events import generate_event_batch_id as generate_event_batch_id

# The plan of a job, with tags that say which range of partitions it is over.
from dagster._core.execution.api import create_execution_plan as create_execution_plan

# Executes a recorded run in this process and yields its events; closed at a step, it records the run as failed.
from dagster._core.execution.api import execute_run_iterator as execute_run_iterator

# What an executor is given: `instance` and `run_id`.
from dagster._core.execution.context.system import PlanOrchestrationContext as PlanOrchestrationContext

# `step_keys_to_execute`, and of each step the assets of its outputs.
from dagster._core.execution.plan.plan import ExecutionPlan as ExecutionPlan

# The stock executor: `execute` runs all steps in the calling process and yields their events.
from dagster._core.executor.in_process import InProcessExecutor as InProcessExecutor

# What `RemoteRepositoryOrigin` makes, and `create_run` records.
from dagster._core.remote_origin import RemoteJobOrigin as RemoteJobOrigin

# `get_job_origin`: where a server finds a job; without it the UI cannot execute a run again.
from dagster._core.remote_origin import RemoteRepositoryOrigin as RemoteRepositoryOrigin

# `instigator_data` of a sensor's state: `cursor` is what its last tick left.
from dagster._core.scheduler.instigation import SensorInstigatorData as SensorInstigatorData

# The form of a plan in which `create_run` records it.
from dagster._core.snap import snapshot_from_execution_plan as snapshot_from_execution_plan

# PLANNED, SUCCEEDED and FAILED: the words in the table of checks, and the `status` of their records.
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecordStatus as AssetCheckExecutionRecordStatus,
)

# The last partition of a run over a range.
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG as ASSET_PARTITION_RANGE_END_TAG

# The first partition of a run over a range.
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_START_TAG as ASSET_PARTITION_RANGE_START_TAG

# "0" keeps the daemon from retrying a run, whatever the instance says.
from dagster._core.storage.tags import MAX_RETRIES_TAG as MAX_RETRIES_TAG

# The partition of a run over a single one.
from dagster._core.storage.tags import PARTITION_NAME_TAG as PARTITION_NAME_TAG

# The higher, the sooner the queue lets a run go.
from dagster._core.storage.tags import PRIORITY_TAG as PRIORITY_TAG

# An id that no other run has.
from dagster._core.utils import make_new_run_id as make_new_run_id

# The origin that a workspace makes of an entry `python_module`; no code server is asked.
from dagster._core.workspace.load import location_origin_from_module_name as location_origin_from_module_name

# What an event says of an error: `message`, `cls_name`, and as `cause` the error that it was raised from.
from dagster_shared.error import SerializableErrorInfo as SerializableErrorInfo

# A record with some fields replaced, unchecked; the given one stays as it is.
from dagster_shared.record import copy as copy
