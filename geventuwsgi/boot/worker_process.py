"""What an exec'd interpreter runs: the template of a generation, and its children the workers.

`run_role` reads the plan that `roles` wrote. `WorkerTemplate` creates logs, sockets and
scoreboard from descriptors, drops root, loads the application and forks workers.
"""

import atexit
import json
import logging
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..config.resolve import asgi
from ..config.settings import Settings
from ..errors import AppLoadError, BootError, GeventuwsgiError
from ..ipc.commands import flush_streams
from ..master.attached.autoreload import Imported, directories_of, files_of
from ..system import forked, kernel
from ..system.limits import bind_processors
from . import tls
from .hooks import (
    START_PHASES, accepting_phases, identity_of, limits_of, run_hooks, wait_for_resources,
)
from .logs import Logs
from .monitor_process import MonitorTemplate
from .process_setup import (
    as_asgi, change_directory, cores_of, import_all, prepare_modules, prepare_paths, titles_of,
)
from .role_template import RoleTemplate
from .router_process import RouterTemplate
from .sockets import map_sockets

if TYPE_CHECKING:
    from ..app.applications import Applications
    from ..prefork.child import Child

logger = logging.getLogger("geventuwsgi.error")

_TEMPLATES: dict[str, type[RoleTemplate]] = {"router": RouterTemplate, "monitor": MonitorTemplate}


def run_role(plan_fd: int, generation: int, control_fd: int,
             found_to_be_asgi: bool = False) -> None:
    """Run the template of one generation, and in its children the workers; never return.

    Args:
        plan_fd: the memfd with the plan of `roles`.
        generation: its number.
        control_fd: its end of the control socket.
        found_to_be_asgi: an earlier template, perhaps of an earlier generation, has found that
            the application is ASGI.
    """
    import socket

    from ..ipc import channel
    from ..prefork import template

    sock = socket.socket(fileno=control_fd)
    status = 3
    try:
        os.set_inheritable(control_fd, False)
        os.set_inheritable(plan_fd, False)
        plan = json.loads(os.pread(plan_fd, os.fstat(plan_fd).st_size, 0)
                          .decode("utf-8", "surrogateescape"))
        sys.argv = plan["argv"]
        role = (_TEMPLATES[plan["kind"]](plan, generation, sock) if plan["kind"] in _TEMPLATES
                else WorkerTemplate(plan, generation, sock, found_to_be_asgi))
        status = role.run()
    except GeventuwsgiError as error:
        status = template.log_failure(error, "a role could not start")
        channel.send(sock, channel.failed(status, str(error)))
    except Exception:
        logger.exception("a role could not start")
        channel.send(sock, channel.failed(status, "a role could not start"))
    finally:
        flush_streams()
        os._exit(status)


class WorkerTemplate:
    """The process of a template, and the objects that its workers inherit.

    Args:
        plan: the plan that `roles.worker_role` wrote.
        generation: its number.
        sock: its end of the control socket.
        found_to_be_asgi: as of `run_role`.
    """

    def __init__(self, plan: dict[str, Any], generation: int, sock: Any,
                 found_to_be_asgi: bool) -> None:
        from ..ipc.scoreboard import Scoreboard
        from ..net.listener import Listener
        from ..prefork.template import Template

        settings = Settings.from_json(plan["settings"])
        self.interface = settings.interface
        self.settings = settings = as_asgi(settings) if found_to_be_asgi else settings
        self.generation = generation
        self.master: int = plan["master"]
        self.broken = False     # an error page was loaded instead of the application
        self.control = sock
        self._loading: Any = None   # the control socket while the application is loaded
        self.imported = Imported(settings.py_autoreload_ignore)
        self.logs = Logs(settings, requests=True, pipe=plan["requests"])
        if plan["requests"] >= 0:
            os.set_inheritable(plan["requests"], False)
        if found_to_be_asgi:    # perhaps by an earlier generation, for another configuration
            for warning in asgi.found(settings):
                logger.warning("%s", warning)
        self.titles = titles_of(settings)
        self.titles.set(f"template {generation}")
        if plan["version"] != __version__:
            logger.warning("this is geventuwsgi %s, its master is %s: SIGUSR2 upgrades it too",
                           __version__, plan["version"])
        self.listeners = [Listener.from_json(text) for text in plan["listeners"]]
        board = Scoreboard.open(plan["board"])
        os.set_inheritable(board.fd, False)
        if generation > 1:  # at the first start the master ran them, before it bound sockets
            run_hooks(settings, os.environ, *START_PHASES)
        limits_of(settings).apply()
        # The keys may be readable by root only.
        tls.attach(settings, self.listeners, plan["tls"])
        tls.forget_passphrase(settings)
        self.identity = identity_of(settings)
        self.logs.reopened_by_master = self.identity.leaves_root
        if not settings.drop_after_apps:
            self.identity.assume()
        self.template = Template(
            sock, board, generation=generation, master=plan["master"], cores=cores_of(settings),
            reopen=self.logs.reopen, use_log=self.logs.replace,
            title=lambda number: self.titles.set(f"worker {number}"))

    def run(self) -> int:
        """Load the application and fork workers until the master ends the template."""
        return self.template.run(self.load, self.work)

    def load(self) -> "Applications | None":
        """Prepare the process, and load the application unless each worker does so."""
        from ..api import uwsgi_module
        from ..prefork import template

        settings = self.settings
        if settings.pyargv is not None:
            sys.argv = ["uwsgi", *settings.pyargv.split()]
        if settings.threads_stack_size:
            threading.stack_size(settings.threads_stack_size * 1024)
        if not settings.drop_after_apps:
            run_hooks(settings, os.environ, "as-user")
        wait_for_resources(settings, "socket")
        self.uwsgi = uwsgi_module.install(uwsgi_module.ApiInstance(
            settings.given, self.master, settings.processes, cores_of(settings),
            settings.buffer_size, settings.pidfile or "",
            tuple(one.socket.fileno() for one in self.listeners), self.generation > 1,
            settings.mode, "gevent" if settings.gevent else None))
        # Imported before the fork so that the workers share its memory.
        if settings.interface == "asgi":
            from ..workers.asgi import bridge  # noqa: F401
        else:
            if settings.monkey_patch:
                # Before the application is imported, so that it imports the patched modules.
                patch_all()
            from ..workers.wsgi import worker  # noqa: F401
        prepare_paths(settings)
        prepare_modules(settings)
        if settings.lazy_apps:
            self._drop_late()
            return None
        applications = self.load_applications(self.control, wait=True)
        if self._is_wsgi_now(applications):
            raise template.WrongInterface
        if applications.asgi and settings.interface == "auto":
            self._found_asgi()
        self._drop_late()
        return applications

    def _is_wsgi_now(self, applications: "Applications") -> bool:
        """Whether new code is WSGI, after an earlier generation has found it to be ASGI."""
        changed = (self.interface == "auto" and self.settings.interface == "asgi"
                   and not applications.asgi and not self.broken)
        if changed:
            logger.info("the application is no longer ASGI, and is loaded again as WSGI")
        return changed

    def _found_asgi(self) -> None:
        """Continue with an application that turned out to be ASGI.

        Raises:
            WrongInterface: this process is not fit for it. Patching cannot be undone, and threads
                that the import has started would be missing in the workers.
        """
        from ..ipc import channel
        from ..prefork import template

        warnings = asgi.found(self.settings)
        patched = self.settings.monkey_patch
        if patched or template.threads(self.template.earlier_tasks):
            logger.info("the application is ASGI and is loaded again %s; interface = asgi avoids "
                        "this", "without monkey-patching" if patched else
                        "in each worker, as its import starts threads")
            raise template.WrongInterface
        for warning in warnings:
            logger.warning("%s", warning)
        self.settings = self.settings.replace(interface="asgi")
        self.template.cores = cores_of(self.settings)
        channel.send(self.control, channel.FOUND_ASGI)
        from ..workers.asgi import bridge  # noqa: F401

    def _drop_late(self) -> None:
        """Drop root after the application is loaded (`drop-after-apps`)."""
        if not self.settings.drop_after_apps:
            return
        self.identity.assume()
        try:
            kernel.die_with_parent()  # cleared by the change of user
        except OSError:
            pass  # a sandbox that forbids prctl
        run_hooks(self.settings, os.environ, "as-user")

    @property
    def ended(self) -> bool:
        """Whether no application is being loaded (see `system.forked`)."""
        return self._loading is None

    def become_ordinary(self) -> None:
        """Stop being a template or worker, in a process that the application's import forks."""
        if self._loading is self.control:
            self.template.forget()
        forked.give_up([self._loading.detach(), *(one.socket.detach() for one in self.listeners)])

    def load_applications(self, control: Any, *, wait: bool) -> "Applications":
        """Load the applications, and report their files to the master for `py-autoreload`.

        If they do not load, a development run serves an error page instead. With `reload` every
        later generation does, too, but at the first start the server ends.
        """
        failed: list[str] = []
        self._loading = control
        forked.watch(self)
        try:
            return load_applications(self.settings.replace(interface=self.interface))
        except AppLoadError as error:
            failed = files_of(error)
            failed += directories_of(failed)
            if not (self.settings.dev or self.generation > 1 and self.settings.reload):
                raise
            return self.error_page(error)
        finally:
            self._loading = None
            if self.settings.dev:
                failed = [*failed, *self.paste_files()]
            if self.settings.py_autoreload:
                self.imported.report(control, failed, wait=wait)

    def paste_files(self) -> list[str]:
        """Return the PasteDeploy files of the applications."""
        from ..app import paste

        settings = self.settings
        return paste.files_of((
            settings.application, settings.asgi, settings.module, settings.paste,
            *(mount.partition("=")[2].strip() for mount in settings.mount)))

    def error_page(self, error: GeventuwsgiError) -> "Applications":
        """Log an error, and return a page that shows it as the application."""
        from ..app import debug_pages

        self.broken = True
        traceback = getattr(error, "traceback", "").rstrip()
        logger.error("%s; an error page is served instead%s", error,
                     traceback and f"\n{traceback}")
        return debug_pages.applications_of(error)

    def work(self, applications: "Applications | None", child: "Child") -> int:
        """Run a worker; return its exit status."""
        from ..api import uwsgi_module
        from ..ipc import channel

        gevent = sys.modules.get("gevent")
        if gevent is not None:
            gevent.reinit()  # after an os.fork() that gevent did not see
        settings = self.settings
        if settings.dev:
            # Ctrl-C is for the master. Unblocked, it would stop a worker in pdb, which installs
            # its own handler at each `continue`.
            signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
        child.reopen, child.use_log = self.logs.reopen, self.logs.replace
        child.accepting = lambda: run_hooks(settings, os.environ, *accepting_phases(child))
        if settings.cpu_affinity:
            bind_processors(child.id, settings.cpu_affinity)
        uwsgi_module.enter_worker(self.uwsgi, child.id, lambda: child.logvars())
        run_hooks(settings, os.environ, "post-fork")
        if applications is None:
            applications = self.load_applications(child.control, wait=False)
            if self._is_wsgi_now(applications):
                channel.send(child.control, channel.WRONG_INTERFACE)
                return AppLoadError.exit_status
        if settings.py_autoreload:
            child.report_imports = lambda: self.imported.report(child.control)
        uwsgi_module.run_post_fork_hook(self.uwsgi)
        try:
            try:
                return self.serve(applications, child)
            except BootError as error:  # the startup of an ASGI application
                if not settings.dev:
                    raise
                return self.serve(self.error_page(error), child)
        finally:
            if settings.skip_atexit:
                atexit._clear()
            else:
                uwsgi_module.run_atexit(self.uwsgi)

    def serve(self, applications: "Applications", child: "Child") -> int:
        """Run a WSGI or an ASGI worker; return its exit status."""
        settings = self.settings
        listeners = map_sockets(self.listeners, settings.map_socket, child.id)
        if not self.broken and (applications.asgi or settings.interface == "asgi"):
            if settings.interface != "asgi":
                if settings.monkey_patch:
                    raise AppLoadError("the application is ASGI, but with lazy-apps a worker finds "
                                       "out too late: set interface = asgi")
                for warning in asgi.found(settings):
                    logger.warning("%s", warning)
            from ..app import debug_pages
            from ..workers.asgi import bridge
            if settings.dev:
                applications = applications.wrapped(debug_pages.delay_errors)
            return bridge.run(settings, listeners, applications, child, self.logs.requests)
        from ..workers.wsgi import worker
        return worker.run(settings, listeners, applications, child, self.logs.requests)


def load_applications(settings: Settings) -> "Applications":
    """Import the modules of `import`, load the applications and log them.

    Raises:
        AppLoadError: an application does not load.
        HookError: a hook of `pre-app` or `post-app` failed.
    """
    from ..app import paste

    run_hooks(settings, os.environ, "pre-app")
    logged = paste.file_of(settings.paste or "") if settings.paste_logger else ""
    if logged:
        paste.configure_logging(logged, paste.variables(settings.paste_global))
    import_all(settings.import_, "import")
    started = time.monotonic()
    applications = _loaded(settings)
    for failure in applications.failures:
        logger.error("%s\n%s", failure, failure.traceback.rstrip())
    for line in applications.ready_lines(os.getpid()):
        logger.info("%s", line)
    names = ", ".join(application.source for application in applications) or "no application"
    logger.info("application %s loaded in %d ms", names, (time.monotonic() - started) * 1000)
    run_hooks(settings, os.environ, "post-app")
    if settings.chdir2:
        change_directory(settings, "chdir2")
    return applications


def _loaded(settings: Settings) -> "Applications":
    """Load the applications; an error has the line of the configuration that names it."""
    from ..app import loader

    try:
        return loader.load(
            application=settings.application, asgi=settings.asgi, module=settings.module,
            wsgi_file=settings.wsgi_file, paste=settings.paste, interface=settings.interface,
            paste_global=settings.paste_global,
            factory=settings.factory, callable=settings.callable, mounts=settings.mount,
            manage_script_name=settings.manage_script_name, need_app=settings.need_app,
            ignore_script_name=settings.ignore_script_name,
            no_default_app=settings.no_default_app,
            virtual_host="HTTP_HOST" if settings.vhost_host else "SERVER_NAME")
    except AppLoadError as error:
        named = {name: str(getattr(settings, name.replace("-", "_")) or "")
                 for name in ("application", "asgi", "module", "paste", "wsgi-file")}
        if len(settings.mount) == 1:    # of several only the last one's place is known
            named["mount"] = settings.mount[0].partition("=")[2]
        for name, spelling in named.items():
            origin, source = settings.origin(name), spelling.partition(":")[0]
            if source and source in str(error) and origin.kind != "argv":
                error.args = (f"{origin.place}: {origin.option}: {error}", *error.args[1:])
                break
        raise


def patch_all() -> None:
    """Call `gevent.monkey.patch_all()`, with one search of the installed distributions.

    gevent emits some 25 events while it patches, and for each it reads the metadata of all
    installed distributions to find plugins. With 80 distributions this takes 50 ms of the 200
    until a template loads the application. They do not change meanwhile, so the result of one
    search is used for every event.
    """
    from importlib import metadata  # gevent needs it; a master would not

    from gevent import monkey
    from gevent import threading as patches

    hooks: Any = patches._ForkHooks
    after_fork = hooks.after_fork_in_child

    def after_fork_in_child(self: Any) -> None:
        """Hide from gevent, which asserts that there are none, the threads that libraries have
        started in the child before it."""
        active = threading._active  # type: ignore[attr-defined]
        started = {ident: active.pop(ident) for ident, thread in tuple(active.items())
                   if thread is not self._before_fork_current_thread}
        after_fork(self)
        active.update(started)

    hooks.after_fork_in_child = after_fork_in_child
    installed = metadata.entry_points()
    original = metadata.entry_points

    def entry_points(**wanted: Any) -> Any:
        return installed.select(**wanted)

    metadata.entry_points = entry_points  # type: ignore[assignment]
    try:
        monkey.patch_all()
    finally:
        metadata.entry_points = original
