"""The rows of development runs; what such a run changes in others stands in `development`."""

from geventuwsgi.config.values.types import Boolean, Many, Path
from geventuwsgi.config.options.option import Option

_DEVELOPMENT = "Development"
DEVELOPMENT = (
    Option("dev", Boolean(), "a development run: one worker, HTTP on 127.0.0.1:8000 where no "
           "socket speaks it, reload on change, tracebacks in the browser, one short line per "
           "request, no time limits", _DEVELOPMENT, default=False, everywhere=False,
           derived="off; on under ``python -m geventuwsgi``"),
    Option("reload-extra-file", Many(Path()), "a file, or a pattern, whose change reloads the "
           "application too where py-autoreload looks at the modules; may be repeated",
           _DEVELOPMENT, default=(), merge=True,
           gunicorn=("reload-extra-files",)),
)
