"""Tests of the value graph and of what is matched on it."""
