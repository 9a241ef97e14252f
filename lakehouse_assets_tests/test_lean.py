"""Libraries imported without pandas: that whoever uses it after all finds everything as it is elsewhere."""

import subprocess
import sys

import pytest

BEFORE = """
import sys
import lakehouse_assets.areas
import lakehouse_assets.core.handoff
assert not {"pandas", "hypothesis"} & sys.modules.keys()
"""


def run(*lines: str) -> str:
    """What a process prints that has loaded the areas and the hand-off, and goes on so."""
    script = "\n".join([BEFORE, *lines])
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_pandas_is_not_imported_for_contracts_and_the_hand_off() -> None:
    """Every command pays for libraries that nothing here uses."""
    assert run("print('done')") == "done"


@pytest.mark.parametrize("first", ["import pandas", "import pandera.pandas", "import polars"])
def test_pandera_judges_frames_of_pandas_all_the_same(first: str) -> None:
    """A user's module that imports `pandera.pandas` fails with an error that nobody understands."""
    said = run(
        first,
        "import pandas, pandera.pandas as pa",
        "class Ages(pa.DataFrameModel):",
        "    age: pa.typing.Series[int] = pa.Field(ge=0)",
        "print(len(Ages.validate(pandas.DataFrame({'age': [1]}))))",
        "import pandera.extensions",
        "@pandera.extensions.register_check_method(statistics=['least'])",
        "def at_least(rows, *, least):",
        "    return rows >= least",
        "print(pa.Check.at_least(least=1).name)",
    )
    assert said.split() == ["1", "at_least"]


def test_pyarrow_takes_a_missing_value_of_a_series_for_null() -> None:
    """A user's frame arrives with numbers that are none where it had no value."""
    assert run("import pandas, pyarrow", "print(pyarrow.array(pandas.Series([1.0, None])).null_count)") == "1"


def test_polars_gives_frames_of_pandas() -> None:
    """An error asks the user to install pandas, which is installed."""
    assert run("import polars", "print(len(polars.DataFrame({'a': [1]}).to_pandas()))") == "1"


def test_the_connector_gives_frames_of_pandas() -> None:
    """A user's query fails, for pandas seems not to be installed."""
    said = run(
        "from snowflake.connector import options, result_set",
        "print(options.installed_pandas, result_set.pandas.concat.__module__, result_set.pandas.DataFrame.__name__)",
    )
    assert said == "True pandas DataFrame"
