"""The option table. Begin with `option.py` (an option) and `table.py` (all options, look-up).

Each other module has the options of one topic. An option is defined nowhere else: the command
line, INI files, the environment, `--help` and the reference all use the table.
"""
