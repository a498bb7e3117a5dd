"""The board for servers that want a script."""

import os
import sys

from paste.deploy import loadapp

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, here)
application = loadapp(f"config:{here}/production.ini")
