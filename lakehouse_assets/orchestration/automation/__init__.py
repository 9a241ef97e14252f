"""What starts runs: the one answer to "what is pending", jobs, sensors, schedules.

Does not belong here: how a table is brought up to date (`orchestration/assets/`), how a run is put on the instance
(`orchestration/instance/`).
"""
