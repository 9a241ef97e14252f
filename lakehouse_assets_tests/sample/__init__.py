"""Tests of the sample: it is the same everywhere, as dirty as its ledger says, and as lively as the real thing."""
