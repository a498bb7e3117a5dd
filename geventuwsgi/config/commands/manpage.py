"""The man page, geventuwsgi(1), generated from the option table.

`python -m geventuwsgi.config.commands.manpage` prints it, docs/geventuwsgi.1; a test fails if that
file is stale. It uses only the macros of man(7).
"""

import re
import textwrap
from collections.abc import Iterator

from geventuwsgi import __version__
from geventuwsgi.config.commands.help import facts_of, letters_of, plain, sections, sentence
from geventuwsgi.config.options.option import Option

_HEAD = r"""
.\" This file is generated: python -m geventuwsgi.config.commands.manpage
.TH GEVENTUWSGI 1 "" "geventuwsgi @version@" "User Commands"
.SH NAME
geventuwsgi \- gevent application server that runs an existing uwsgi.ini
.SH SYNOPSIS
.B geventuwsgi
.RI [ OPTIONS ]
.I APPLICATION
.br
.B geventuwsgi
.RI [ OPTIONS ]
.BR \-c " \fIFILE\fR[:\fISECTION\fR]"
.br
.B geventuwsgi
.BR \-\-reload | \-\-stop | \-\-stacks
.I PIDFILE
.br
.B geventuwsgi
.BR \-\-check\-config " \fIFILE\fR"
.SH DESCRIPTION
.B geventuwsgi
serves WSGI applications on gevent and ASGI applications on asyncio, over HTTP,
HTTPS and the uwsgi protocol.
It reads the [uwsgi] section of an INI file that was written for uWSGI, and
accepts gunicorn's option names too.
.PP
.I APPLICATION
is
.BR package.module:name ,
.B package.module:factory()
or
.BR file.py:name ;
the default name is
.B application
or
.BR app .
An address is
.BR host:port ,
.BR :port ,
.BR [::1]:port ,
a path,
.BR @abstract ,
or
.BR fd://3 .
.SH OPTIONS
Each option may be set in a file as
.B name = value
under [uwsgi] or [geventuwsgi], and in the environment as
.BR GEVENTUWSGI_NAME .
Times are in seconds, or written as
.BR 90s ,
.B 5m
or
.BR 1h ;
sizes are in bytes, or written as
.BR 64k ,
.B 10M
or
.BR 1G .
A flag without a value is true;
.B \-\-name=false
switches it off.
.B geventuwsgi \-\-help
.I OPTION
prints uWSGI's and gunicorn's names of an option.
"""

_TAIL = r"""
.SH SIGNALS
To the master:
.TP
.BR SIGTERM ", " SIGINT
Stop: accept no new connections, let requests in progress finish.
A second signal stops at once.
.TP
.B SIGQUIT
Stop at once.
.TP
.B SIGHUP
Read configuration and code again; the old workers keep serving until the new
ones are ready, or if they fail.
.TP
.B SIGUSR1
Reopen the logs.
.TP
.B SIGUSR2
Upgrade the running server to the version installed on disk.
.TP
.BR SIGTTIN ", " SIGTTOU
Add a worker, remove a worker.
.SH EXIT STATUS
.TP
.B 0
A clean stop.
.TP
.B 1
The configuration is wrong, or a socket cannot be bound.
.TP
.B 2
The command line is wrong.
.TP
.B 3
The workers cannot start.
.TP
.B 4
The application cannot be loaded.
.SH ENVIRONMENT
.TP
.B GEVENTUWSGI_*
Options, weaker than the command line and stronger than files.
.TP
.B GEVENTUWSGI_CMD_ARGS
Part of a command line, weaker than these.
.TP
.B UWSGI_*
Options as in a [uwsgi] section.
.TP
.B PORT
Without a socket, listen on 0.0.0.0 and this port.
.TP
.B WEB_CONCURRENCY
The number of workers, if it is not set otherwise.
.TP
.B FORWARDED_ALLOW_IPS
The default of
.BR forwarded\-allow\-ips .
.TP
.BR LISTEN_FDS ", " LISTEN_PID ", " LISTEN_FDNAMES
Sockets passed by systemd.
.TP
.B NOTIFY_SOCKET
The socket of systemd for notifications of the state.
.SH FILES
.TP
.IR PREFIX /share/geventuwsgi
Example configurations in conf/, units and scripts for a service manager in
init/, and the documentation in docs/.
.I PREFIX
is the virtual environment that the server is installed in.
.SH EXAMPLES
.nf
geventuwsgi \-c app.ini
geventuwsgi shop.wsgi:application \-\-bind 127.0.0.1:8000 \-\-workers 4
geventuwsgi \-\-asgi main:app \-\-bind :443 \-\-certfile a.crt \-\-keyfile a.key
geventuwsgi \-\-socket /run/app.sock \-\-chmod\-socket=660 \-\-wsgi\-file app.py
.fi
.SH SEE ALSO
.BR uwsgi (1),
.BR gunicorn (1),
.BR systemd.service (5)
"""
_QUOTED = re.compile(r"``(.+?)``")
_CONTROL = re.compile(r"^([.'])", re.MULTILINE)


def page() -> str:
    """Return the man page."""
    lines = [_HEAD.strip().replace("@version@", __version__)]
    for title, options in sections():
        if title != "INI logic":
            lines.append(f".SS {escaped(title)}")
            for option in options:
                lines += _entry(option)
    return "\n".join([*lines, _TAIL.strip()]) + "\n"


def escaped(text: str) -> str:
    """Escape a text for roff; ``literals`` become bold."""
    text = text.replace("\\", r"\e").replace("-", r"\-")
    text = textwrap.fill(_QUOTED.sub(r"\\fB\1\\fR", text), 80, break_long_words=False,
                         break_on_hyphens=False)
    return _CONTROL.sub(r"\\&\1", text)


def _entry(option: Option) -> Iterator[str]:
    """Yield the lines of one option, a tagged paragraph."""
    yield ".TP"
    if option.name == "application":
        yield r"\fIAPPLICATION\fR"
    else:
        names = [*(f"-{letter}" for letter in letters_of(option)),
                 *(f"--{name}" for name in (option.name, *option.aliases, *option.gunicorn))]
        metavar = escaped(option.value_type.metavar)
        metavar = f" \\fI{metavar}\\fR" if metavar else ""
        yield ", ".join(f"\\fB{escaped(name)}\\fR" for name in names) + metavar
    yield escaped(sentence(option.help))
    for title, text in facts_of(option, "``{}``"):
        if title in ("Default", "Unlike uWSGI") and text != "``off``.":
            yield escaped(f"{title}: {plain(text, '``{}``')}")


if __name__ == "__main__":
    print(page(), end="")
