"""`manage.py rungeventuwsgi [ADDRESS:PORT] [OPTIONS]`: the project under geventuwsgi."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from geventuwsgi.django import project
from geventuwsgi.errors import UsageError
from geventuwsgi.paste import become

_HELP = """\
Serve this project with geventuwsgi: WSGI_APPLICATION, or with --asgi ASGI_APPLICATION. Every
option of `geventuwsgi --help` may follow; ADDRESS:PORT, --nostatic, --noreload and --nothreading
are as with runserver. With DEBUG it is a development run: the server reloads when files change,
and serves the files of django.contrib.staticfiles."""


class Command(BaseCommand):
    """Become the server: this process is replaced, and what it loaded is left behind."""

    help = _HELP
    requires_system_checks: list[str] = []  # with DEBUG alone, below

    def run_from_argv(self, argv: list[str]) -> None:
        """Hand on what argparse does not know: the server's options are its own."""
        if {"-h", "--help", "--version"} & set(argv[2:3]):
            super().run_from_argv(argv)
            return
        try:
            self.become(argv[2:])
        except CommandError as error:
            if "--traceback" in argv:
                raise
            self.stderr.write(f"{type(error).__name__}: {error}")
            raise SystemExit(error.returncode) from None

    def add_arguments(self, parser: CommandParser) -> None:
        """Say what may follow, for --help."""
        parser.add_argument("words", nargs="*", metavar="[ADDRESS:]PORT or OPTION",
                            help="where to listen, and options of geventuwsgi")

    def handle(self, *args: str, **options: Any) -> None:
        """Serve on an address, `call_command("rungeventuwsgi", "8000")`."""
        self.become(options["words"])

    def become(self, words: list[str]) -> None:
        """Check the project as runserver does, and become its server.

        A server that reloads is begun whatever the checks say: the next change mends it.

        Raises:
            CommandError: an option that neither Django nor the server has, or a check failed;
                no host is allowed.
        """
        try:
            command = project.Command(words)
        except UsageError as error:
            raise CommandError(str(error), returncode=error.exit_status) from None
        if not settings.DEBUG and not settings.ALLOWED_HOSTS:
            raise CommandError("settings.ALLOWED_HOSTS is empty, which without DEBUG answers 400 "
                               "to every request: name the hosts that are served")
        if settings.DEBUG and command.checks:
            try:
                self.check(display_num_errors=True)
            except CommandError as error:
                if not command.reload:
                    raise
                self.stderr.write(str(error))
            except Exception as error:
                if not command.reload:
                    raise
                self.stderr.write(f"The checks ended with {type(error).__name__}: {error}")
        become(project.arguments(command, settings))
