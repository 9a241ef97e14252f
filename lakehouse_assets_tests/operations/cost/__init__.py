"""Tests of the model of what a day costs."""
