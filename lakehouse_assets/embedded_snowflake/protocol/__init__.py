"""The protocol of the embedded account: the part of Snowflake's REST interface that the connector uses, over HTTP on
loopback.

What belongs here: logins, queries, file uploads, and when sessions and the server end. What does not: what a statement
does (`statement.py`).

Who may: a request that a web page sent is refused (`Host`, `Origin`). Of the rest, a login shows the secret of the
home, an upload a ticket of its session, the liveness probe `/account` a proof of the secret, and everything else the
token of a session. That is judged before a body is read, but for the login's, which carries the secret and is small.

A thread serves each client connection. That also tells when a client is gone: a session whose connections are all
closed, and which left a transaction open, is rolled back after a moment, so that a killed client never blocks the next
one.
"""
