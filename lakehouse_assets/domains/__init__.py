"""What this lakehouse holds, one folder a domain: its sources, contracts, transforms and tables.

Every module of a domain's folder is looked through for declarations, so a new table needs no entry in a list. Does not
belong here: machinery that another domain could use (`core/`). Domains never import each other: they meet in tables.
"""
