"""Tests of the sources: no byte of a drop is lost, altered or passed over in silence."""
