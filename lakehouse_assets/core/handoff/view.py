"""Step 5, view: the view through which Snowflake reads the staged files of one hand-off in place.

Does not belong here: the views that are served (`definitions.py`).
"""

from __future__ import annotations

import logging

from snowflake.connector.errors import Error

from lakehouse_assets.core.handoff import put, sql
from lakehouse_assets.core.handoff.attempt import Attempt, Context
from lakehouse_assets.core.handoff.manifest import Manifest

logger = logging.getLogger(__name__)


def create(attempt: Attempt, manifest: Manifest) -> None:
    """Create the view; none where no file travels."""
    if not manifest.files:
        return
    columns = ",\n    ".join(f"$1:{c.name}::{c.type.snowflake} AS {c.name.upper()}" for c in attempt.contract.columns)
    attempt.session.run(
        sql.statement(
            "publish",
            "create_view",
            view=attempt.names.view(attempt.id),
            columns=columns,
            directory=attempt.target(manifest),
            file_format=attempt.names.sql["file_format"],
        )
    )


def is_readable(attempt: Attempt, manifest: Manifest) -> bool:
    """Whether the view and the staged files are where they were left; True as well where that cannot be found out."""
    if not manifest.files:
        return True
    _, schema, view = attempt.names.view(attempt.id).split(".")
    try:
        found = attempt.session.run(sql.statement("publish", "find_view", **attempt.names.sql), schema, view)
        return bool(found) and not put.missing_files(attempt, manifest)
    except Error as error:
        name = attempt.contract.name
        logger.warning("%s: could not look for the view and the files of hand-off %s: %s", name, attempt.id, error)
        return True


def drop(context: Context, handoff_id: str) -> None:
    """Drop the view of a hand-off, if it is there."""
    context.session.run(sql.statement("publish", "drop_view", view=context.names.view(handoff_id)))
