"""A second code location of the same servers: upkeep of a real account that does not exist, with secrets that must be
seen nowhere.
"""

import os

import dagster as dg

from lakehouse_assets.definitions import resources
from lakehouse_assets.orchestration.automation.maintenance import maintenance_job
from lakehouse_assets.settings import Settings

os.environ["SNOWFLAKE_ACCOUNT"] = "nobody"
os.environ["SNOWFLAKE_USER"] = "nobody"
# The key of a service user that cannot be read: a login fails at once, without a network.
os.environ["SNOWFLAKE_PRIVATE_KEY_PATH"] = __file__

defs = dg.Definitions(
    jobs=[maintenance_job([], [])], resources=resources(Settings.model_validate({"snowflake": "account"}))
)
