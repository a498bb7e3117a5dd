"""`manage.py rungeventuwsgi [ADDRESS:PORT] [OPTIONS]`: the project under geventuwsgi."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from geventuwsgi.django import project
from geventuwsgi.errors import UsageError
from geventuwsgi.paste import exec_server

_HELP = """\
Serve this project with geventuwsgi: WSGI_APPLICATION, or with --asgi ASGI_APPLICATION. Every
option of `geventuwsgi --help` may follow; ADDRESS:PORT, --nostatic, --noreload and --nothreading
are as with runserver. With DEBUG it is a development run: the server reloads when files change,
and serves the files of django.contrib.staticfiles."""


class Command(BaseCommand):
    """Replace this process by the server, which loads the project again."""

    help = _HELP
    requires_system_checks: list[str] = []  # only with DEBUG, in serve()

    def run_from_argv(self, argv: list[str]) -> None:
        """Run the command without argparse, which does not know the server's options."""
        if {"-h", "--help", "--version"} & set(argv[2:3]):
            super().run_from_argv(argv)
            return
        try:
            self.serve(argv[2:])
        except CommandError as error:
            if "--traceback" in argv:
                raise
            self.stderr.write(f"{type(error).__name__}: {error}")
            raise SystemExit(error.returncode) from None

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the arguments that --help shows."""
        parser.add_argument("words", nargs="*", metavar="[ADDRESS:]PORT or OPTION",
                            help="where to listen, and options of geventuwsgi")

    def handle(self, *args: str, **options: Any) -> None:
        """Serve on an address, `call_command("rungeventuwsgi", "8000")`."""
        self.serve(options["words"])

    def serve(self, words: list[str]) -> None:
        """Check the project as runserver does, and replace this process by its server.

        A server that reloads is started even if a check fails: the next change may fix it.

        Raises:
            CommandError: neither Django nor the server has such an option; a check failed; no
                host is allowed.
        """
        try:
            command = project.Command(words)
        except UsageError as error:
            raise CommandError(str(error), returncode=error.exit_status) from None
        if not settings.DEBUG and not settings.ALLOWED_HOSTS:
            raise CommandError("settings.ALLOWED_HOSTS is empty, so without DEBUG every request "
                               "gets a 400: list the hosts to serve")
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
        exec_server(project.arguments(command, settings))
