"""Commands that bring tables to their contracts: `plan` and `deploy`. Does not belong here: which DDL that takes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lakehouse_assets.cli import context
from lakehouse_assets.cli.context import Home
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.settings import Settings

if TYPE_CHECKING:
    from lakehouse_assets.core.handoff import TargetNames
    from lakehouse_assets.orchestration.resources.handoff_access import Plan


def plan(home: Home = None) -> None:
    """Pending DDL on both sides and its class, before anything runs. Exit 1 if any of it is breaking.

    Example: `lakehouse plan`
    """
    settings = context.settings(home=home)
    from lakehouse_assets.core.handoff.plan import refuse_foreign, refuse_unlike

    _, handoff = context.resources(settings)
    with handoff.open() as open_handoff:
        planned = handoff.plan(open_handoff)
    _print_plan(settings, planned)
    if breaking := planned.of("breaking"):
        print(f"Breaking: {breaking}. Nothing is deployed while that is so; `lakehouse deploy` says what to do.")
        raise typer.Exit(1)
    refuse_foreign(open_handoff.names, planned.snowflake)
    refuse_unlike(planned.snowflake)
    pending = planned.of("safe") + planned.of("rebuild")
    print(
        "Nothing is breaking. `lakehouse deploy` does this, and so does the next run."
        if pending
        else "Nothing to deploy."
    )


def _print_plan(settings: Settings, planned: Plan) -> None:
    """Statements as they are executed, each under its class, object and reason; what is left to a person as a
    comment.
    """
    for side, title in (
        (planned.delta, "Delta tables"),
        (planned.snowflake, f"Snowflake database {settings.database}"),
    ):
        if side:
            print(f"-- {title}: {len(side)} pending\n")
        for p in side:
            statement = p.sql and f"{p.sql.strip()};\n"
            if p.kind == "left":
                statement = statement and f"-- {statement}"
            print(f"-- {p.kind}: {p.object}: {p.reason}\n{statement}")


def deploy(
    allow_breaking: Annotated[
        bool, typer.Option(help="Also do what takes something away from readers of Snowflake.")
    ] = False,
    take_over: Annotated[bool, typer.Option(help="Also take the database from the lakehouse that it serves.")] = False,
    roles: Annotated[bool, typer.Option(help="Print the script of the least-privilege roles instead.")] = False,
    render: Annotated[
        Path | None,
        typer.Option(
            help="Write the DDL for an account that has nothing yet, and the roles, into this folder instead."
        ),
    ] = None,
    external: Annotated[
        str | None, typer.Option(help="Print the lane over an external stage at this URL instead; needs --integration.")
    ] = None,
    integration: Annotated[str | None, typer.Option(help="The storage integration of --external.")] = None,
    home: Home = None,
) -> None:
    """Apply pending DDL on both sides: Delta tables; Snowflake database, schemas, stage, file format, tables, views.
    Where anything is breaking nothing is done.

    Example: `lakehouse deploy`
    """
    settings = context.settings(makes_home=True, home=home)
    _, handoff = context.resources(settings)
    with handoff.open() as open_handoff:
        if roles or render or external:
            # No account is asked for these.
            _render(open_handoff.names, roles, render, external, integration)
            return
        planned = handoff.plan(open_handoff)
        if planned.of("breaking"):
            _print_plan(settings, planned)
        done = handoff.deploy(open_handoff, allow_breaking=allow_breaking, take_over=take_over)
    counts = ((len(done.delta), "change", " of Delta tables"), (len(done.snowflake), "statement", " in Snowflake"))
    said = [f"{n} {word}{'' if n == 1 else 's'}{where}" for n, word, where in counts if n]
    print(f"Deployed {' and '.join(said)}." if said else "Nothing to deploy.")


def _render(
    names: TargetNames, roles: bool, folder: Path | None, external: str | None, integration: str | None
) -> None:
    """Scripts for an administrator or for CI/CD, from the contracts and the settings alone."""
    from lakehouse_assets.core.handoff import external_lane_script, roles_script
    from lakehouse_assets.core.handoff.scripts import script
    from lakehouse_assets.orchestration.graph import served

    if roles:
        print(roles_script(names))
    if external:
        if not integration:
            raise LakehouseError(
                "--external needs the storage integration that may read the URL; name it with --integration."
            )
        print(external_lane_script(names, list(served().values()), external, integration))
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in (("deploy.sql", script(names, list(served().values()))), ("roles.sql", roles_script(names))):
            (folder / file).write_text(text, encoding="utf-8")
            print(f"Wrote {folder / file}.")
