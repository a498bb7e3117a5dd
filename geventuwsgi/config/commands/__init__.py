"""What the command line prints instead of a start: checks, help, conversions, completion.

Each module is one command; `load/arguments.py` calls them.
"""
