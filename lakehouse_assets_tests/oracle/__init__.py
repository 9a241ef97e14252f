"""A second opinion on every silver and gold table, and the tests that prove the opinion sound."""
