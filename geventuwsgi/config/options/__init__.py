"""The option table. Begin with `option.py` (a row) and `table.py` (all rows, and looking one up).

Every other module holds the rows of one topic. An option is written nowhere else: the command
line, INI files, the environment, `--help` and the reference all read its row.
"""
