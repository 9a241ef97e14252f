"""What a test takes for granted, said to the type checker too."""

from typing import TypeVar

T = TypeVar("T")


def present(value: T | None) -> T:
    """The value; a test that finds nothing where something must be ends here."""
    assert value is not None
    return value
