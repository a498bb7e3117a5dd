"""Fuzzing without a clock: a slow machine must not fail an invariant."""

from hypothesis import settings

settings.register_profile("no clock", deadline=None, database=None)
settings.load_profile("no clock")
