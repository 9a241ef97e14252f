"""Worlds for this room."""

from lakehouse_assets_tests.pipeline.conftest import make_world, shared

__all__ = ["make_world", "shared"]
