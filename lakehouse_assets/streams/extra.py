"""Whether the client of Kafka is installed. Does not belong here: using it."""

from importlib.util import find_spec

from lakehouse_assets.errors import LakehouseError


def installed() -> bool:
    """Whether the extra `streaming` is installed."""
    return find_spec("confluent_kafka") is not None


def refuse_missing() -> None:
    """Raise `LakehouseError` where it is not."""
    if not installed():
        raise LakehouseError(
            "Topics are read by a package that is not installed; run `pip install 'lakehouse_assets[streaming]'`."
        )
