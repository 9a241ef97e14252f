"""The hand-off as a resource: what it takes from the settings."""

from pathlib import Path

from lakehouse_assets.definitions import resources
from lakehouse_assets.settings import Settings


def test_files_on_their_way_lie_on_the_local_disk_wherever_slices_are_staged(tmp_path: Path) -> None:
    """The connector sends local files: a bucket's URI taken for a path would fill a folder named `s3:` below the
    working directory.
    """
    settings = Settings(_env_file=None, home=tmp_path, staging="s3://bucket/staging", tables="s3://bucket/tables")  # type: ignore[call-arg]
    with resources(settings)["handoff"].open() as handoff:
        assert handoff.context.local_folder("THINGS", "1").is_relative_to(tmp_path / "staging" / "handoff")
