"""lakehouse_assets: a Dagster asset graph that carries curated lakehouse tables to Snowflake, exactly once and provably
equal.
"""

import warnings

# Said at every Output and every partitioned check; what is relied on is pinned by the version of Dagster and held by
# tests.
warnings.filterwarnings("ignore", message=".*(is currently in beta|is currently in preview).*")
# Said by pyspark's pandas layer, which is imported with it and used by nothing here.
warnings.filterwarnings("ignore", message=".*does not yet fully support pandas.*")
