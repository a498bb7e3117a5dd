"""Fuzz tests without deadlines, so that they do not fail on a slow machine."""

from hypothesis import settings

settings.register_profile("no clock", deadline=None, database=None)
settings.load_profile("no clock")
