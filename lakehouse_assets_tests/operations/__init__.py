"""Tests of what is asked of a lakehouse that runs."""
