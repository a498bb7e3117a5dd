"""`python -m geventuwsgi app:app`: a development run, unless `--no-dev` is given."""

import sys

from geventuwsgi.cli import main

if __name__ == "__main__":
    sys.exit(main(dev=True))
