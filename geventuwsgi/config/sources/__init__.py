"""Where lines of configuration come from: argv, the environment, INI files and their blocks.

Begin with `lines.py`, which yields all of them in the order in which they count.
"""
