"""`python -m geventuwsgi app:app`: a development run, one worker, HTTP on 127.0.0.1:8000."""

import sys

from geventuwsgi.cli import main

if __name__ == "__main__":
    sys.exit(main(development=True))
