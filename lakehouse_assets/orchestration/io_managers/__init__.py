"""The two doors between Dagster and storage: one commits staged slices to Delta, one hands snapshots off to Snowflake.

Both load a `TableRef`. Neither judges rows: an IO manager cannot record checks, so gates stand in the step, before the
Output.
"""
