"""The sources of configuration lines: argv, the environment, INI files and their blocks.

Begin with `lines.py`, which collects all of them in the order in which they count.
"""
