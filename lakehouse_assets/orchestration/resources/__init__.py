"""What the application runs on: the Spark engine (embedded, local, remote) and the Snowflake account (embedded, real).

What belongs here: how to reach an engine or an account, and the embedded engine. What does not: the embedded account
(`lakehouse_assets.embedded_snowflake`), what is computed or loaded with them, and reading the environment
(`lakehouse_assets.settings` does that).
"""
