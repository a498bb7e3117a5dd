"""Kinds of values: how a text becomes one, what is wrong with it, and where it was written."""
