"""Commands that print something instead of starting the server: checks, help, completion.

Each module is one command; `load/arguments.py` and `cli` call them.
"""
