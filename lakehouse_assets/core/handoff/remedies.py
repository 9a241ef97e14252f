"""What to do where an account refuses a login or has no warehouse for a statement, by the numbers and words of the
connector.

Belongs here: recognising such a refusal. Does not belong here: whether trying again helps (`trouble.py`).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from snowflake.connector import errors


class Refusal(NamedTuple):
    """By which numbers or words a refusal is known, what is wrong, and what to do."""

    numbers: frozenset[int]
    words: str
    what: str
    remedy: str


WAREHOUSE = (
    Refusal(
        frozenset({90073}),
        r"cannot be resumed because resource monitor",
        "the warehouse has used up the quota of its resource monitor",
        "raise the quota, or set SNOWFLAKE_WAREHOUSE to another warehouse",
    ),
    Refusal(
        frozenset(),
        r"warehouse\b.* is suspended",
        "the warehouse is suspended and does not resume by itself",
        "ALTER WAREHOUSE … RESUME, or set its AUTO_RESUME = TRUE",
    ),
    Refusal(
        frozenset({606}),
        r"No active warehouse",
        "the session has no warehouse that runs",
        "set SNOWFLAKE_WAREHOUSE to one on which the role has USAGE, and resume it where it is suspended with"
        " AUTO_RESUME off",
    ),
)
"""Known by statements, for a login succeeds without a warehouse."""

LOGIN = (
    Refusal(
        frozenset({394507, 394508, 394509}),
        r"\bMFA\b|multi-?factor",
        "the user has to sign in with a second factor, which a program cannot",
        "give a service user a key pair (SNOWFLAKE_PRIVATE_KEY_PATH) or a programmatic access token"
        " (SNOWFLAKE_PASSWORD)",
    ),
    Refusal(
        frozenset({390420, 390422}),
        r"not allowed to access Snowflake|network policy",
        "a network policy keeps this address out",
        "have the administrator allow the address of this machine for the user",
    ),
    Refusal(
        frozenset({390189}),
        r"^(?!.*warehouse).*Role .*(?:does not exist or not authorized|not listed|not granted)",
        "the user does not have the role",
        "correct SNOWFLAKE_ROLE, or GRANT ROLE … TO USER …",
    ),
    Refusal(
        frozenset({390201}),
        r"requested warehouse does not exist",
        "the warehouse or database of the login does not exist for the role",
        "correct SNOWFLAKE_WAREHOUSE and LAKEHOUSE_DATABASE, or grant USAGE on it",
    ),
    Refusal(
        frozenset({251008, 390144, 394300, *range(394301, 394307)}),
        r"JWT token is invalid",
        "the key pair is not accepted",
        "see that the user's RSA_PUBLIC_KEY belongs to SNOWFLAKE_PRIVATE_KEY_PATH and that the clock of this machine is"
        " right",
    ),
    Refusal(
        frozenset({390110, 390195, 390303, 390318, 394400}),
        r"\btoken\b.*(?:expired|invalid)|(?:expired|invalid)\b.*\btoken\b",
        "the token has expired or was revoked",
        "create another one and set SNOWFLAKE_PASSWORD to it",
    ),
    Refusal(
        frozenset({390100}),
        r"Incorrect username or password",
        "user or password are wrong",
        "correct SNOWFLAKE_USER and SNOWFLAKE_PASSWORD before the user is locked",
    ),
    Refusal(
        frozenset({290403, 290404}),
        r"Verify the account name",
        "there is no account of that name",
        "correct SNOWFLAKE_ACCOUNT (organization-account)",
    ),
    Refusal(
        frozenset({250001, 251011, 251012}),
        r"Could not connect to Snowflake backend",
        "nothing answers",
        "see that SNOWFLAKE_ACCOUNT is right and this machine reaches it",
    ),
)


def remedy(error: BaseException, refusals: tuple[Refusal, ...]) -> str:
    """What is wrong and what to do, without a full stop; empty where the refusal is not known. Words count before
    numbers, for logins share a number.
    """
    if not isinstance(error, errors.Error):
        return ""
    said = " ".join(str(error.msg or error).split())
    found = next((r for r in refusals if re.search(r.words, said, re.IGNORECASE)), None)
    found = found or next((r for r in refusals if error.errno in r.numbers), None)
    return f"{found.what}; {found.remedy}" if found else ""
