"""What the application runs on: the Spark engine (embedded, local, remote) and the Snowflake account (embedded, real).

What belongs here: how to reach an engine or an account, and the embedded ones themselves. What does not: what is
computed or loaded with them, and reading the environment (`lakehouse_assets.settings` does that).
"""
