"""Roles and what they may do: GRANT, REVOKE, FUTURE grants, ownership, and the check of each statement.

What belongs here: who may do what. What does not: doing it (`statement.py`).

The user of the account has ACCOUNTADMIN, which is the role of a login that names none, and may everything. Any other
role may what was granted to it and to the roles that it holds, and what it owns. Where it differs from Snowflake: there
are no secondary roles; a warehouse is granted, and asked for by nobody; a view is read without a look at what its owner
may; masking, row access and WITH GRANT OPTION are refused.
"""
