"""Settings of a configuration that does not stand as a whole, for --show-config.

The lines that are refused are left out, one round after another, until the rest stands.
Nothing is ever served with it.
"""

from geventuwsgi.config.commands.check import mentioned, names, places_of
from geventuwsgi.config.sources.lines import Reading
from geventuwsgi.config.resolve.resolve import resolve
from geventuwsgi.config.settings import Settings
from geventuwsgi.errors import ConfigError


def tolerant(reading: Reading, *, dev: bool = False) -> Settings:
    """Return what the lines that can be carried out make.

    Args:
        reading: everything that was read, with its late passes made.
        dev: as for `resolve`.

    Returns:
        The settings; `refusals` says what is wrong with the others.
    Raises:
        ConfigError: which is about no line that could be left out.
    """
    failing: set[int] = set()
    missing: set[str] = set()
    refusals: list[str] = []
    known = len(reading.warnings)
    while True:
        try:
            settings = resolve(reading.without(failing), dev=dev)
        except ConfigError as error:
            del reading.warnings[known:]
            found = {index for one in (error, *error.others)
                     for index in places_of(one, reading, failing)}
            if not found:
                raise
            # What another line says of one that is left out is no mistake of its own.
            refusals += [str(one) for one in (error, *error.others)
                         if not mentioned(missing, one.message)]
            failing |= found
            missing.update(name for index in found for name in names(reading.entries[index]))
        else:
            return settings.replace(refusals=tuple(dict.fromkeys(refusals)))
