"""Each option of uWSGI that real files have often has a test of what it does, and this is where.

The names are those that uWSGI's users write most (in one file of thirty or more, of the
files that were counted). One without an effect here has its reason in the table instead.
"""

import re
from pathlib import Path

import pytest

from geventuwsgi.config.table import row

TESTS = Path(__file__).parents[1]

# Option -> the test of its effect.
EFFECTS = {
    "attach-daemon": "integration/test_daemons.py::test_it_lives_with_the_instance",
    "auto-procname": "test_boot.py::test_process_titles",
    "buffer-size": "integration/test_limits.py::test_a_head_over_the_limit",
    "callable": "integration/test_commands.py::test_http",
    "chdir": "test_boot.py::test_paths_and_environment",
    "cheaper":
        "integration/test_workers.py::test_slots_in_use_bring_workers_and_free_ones_let_them_go",
    "chmod-socket": "integration/test_start.py::test_mode_and_vacuum",
    "chown-socket":
        "integration/test_start.py::test_root_is_dropped_after_the_sockets_are_bound",
    "daemonize":
        "integration/test_background.py::test_the_starter_ends_when_the_server_is_ready",
    "disable-logging": "integration/test_commands.py::test_logging_off",
    "env": "test_boot.py::test_paths_and_environment",
    "gevent": "server/test_overload.py::test_past_the_queue_it_is_503_at_once",
    "gid": "integration/test_start.py::test_root_is_dropped_after_the_sockets_are_bound",
    "harakiri": "server/test_harakiri.py::test_harakiri",
    "harakiri-verbose": "server/test_slow.py::test_verbose_tells_of_the_whole_worker",
    "home": "test_boot.py::test_home_puts_its_packages_first",
    "hook-master-start": "integration/test_hooks.py::test_each_phase_in_its_process",
    "http":
        "integration/test_router_embedded.py::test_the_uwsgi_section_of_an_old_file",
    "http-keepalive": "integration/test_options_effect.py::test_http_keepalive_off",
    "http-socket": "integration/test_commands.py::test_http",
    "http-timeout": "integration/test_router.py::test_a_node_that_hangs_is_504_and_left_out",
    "import": "test_boot.py::test_paths_and_environment",
    "ini": "integration/test_commands.py::test_the_ini_file",
    "lazy-apps": "test_boot.py::test_lazy_apps_loads_in_each_worker",
    "listen": "integration/test_options_effect.py::test_listen",
    "log-format": "server/test_formats.py::test_the_line",
    "logformat": "integration/test_options_effect.py::test_http_keepalive_off",
    "logto": "test_boot.py::test_logto_takes_everything_and_is_reopened",
    "max-requests":
        "integration/test_workers.py::test_recycling_under_load_fails_no_request",
    "max-worker-lifetime": "integration/test_workers.py::test_an_old_worker_is_replaced",
    "memory-report": "integration/test_workers.py::test_the_memory_report",
    "module": "integration/test_commands.py::test_a_unix_socket",
    "need-app": "integration/test_start.py::test_an_application_that_need_not_load",
    "pidfile": "integration/test_start.py::test_the_pid_file",
    "post-buffering": "server/test_body.py::test_post_buffering",
    "processes": "integration/test_commands.py::test_http",
    "protocol":
        "integration/test_commands.py::test_uwsgi_from_allowed_addresses_only",
    "py-autoreload":
        "integration/test_reload_triggers.py::test_autoreload_sees_modules_as_they_are_imported",
    "pythonpath": "test_boot.py::test_paths_and_environment",
    "reload-mercy":
        "integration/test_daemons.py::test_one_that_ignores_its_signal_is_killed_after_the_mercy",
    "reload-on-as": "integration/test_options_effect.py::test_reload_on_as",
    "reload-on-rss": "integration/test_workers.py::test_a_worker_that_grows_is_replaced",
    "route": "server/test_routes.py::test_answers_of_rules",
    "show-config": "test_cli.py::test_show_config",
    "socket": "integration/test_commands.py::test_a_unix_socket",
    "socket-timeout": "server/test_deadlines.py::test_deadlines",
    "static-map": "server/test_static.py::test_a_file_comes_before_the_application",
    "strict": "integration/test_options_effect.py::test_strict",
    "threads": "integration/test_options_effect.py::test_threads_are_slots",
    "touch-reload":
        "integration/test_reload_triggers.py::test_a_touched_file_reloads",
    "uid": "integration/test_start.py::test_root_is_dropped_after_the_sockets_are_bound",
    "vacuum": "integration/test_start.py::test_mode_and_vacuum",
    "vhost": "integration/test_options_effect.py::test_vhost_is_by_the_name_of_the_server",
    "virtualenv": "test_boot.py::test_home_puts_its_packages_first",
    "worker-reload-mercy": "integration/test_signals.py::test_mercy_ends",
    "workers": "integration/test_commands.py::test_http",
    "wsgi-file": "integration/test_commands.py::test_http",
}
WITHOUT = {
    "die-on-term", "disable-write-exception", "enable-threads", "gevent-early-monkey-patch",
    "ignore-sigpipe", "ignore-write-errors", "log-master", "master", "offload-threads", "plugin",
    "plugin-dir", "plugins", "single-interpreter", "thunder-lock"}


@pytest.mark.parametrize("name", EFFECTS)
def test_an_option_has_a_test_of_its_effect(name: str) -> None:
    option = row(name, uwsgi=True)
    assert option is not None and option.status in ("taken", "directive", "command")
    file, _, function = EFFECTS[name].partition("::")
    found = re.search(rf"^def {function}\((?:.|\n)*?(?=^def |^@|^class |\Z)",
                      (TESTS / file).read_text(), re.MULTILINE)
    assert found is not None, f"{EFFECTS[name]} does not exist"


@pytest.mark.parametrize("name", sorted(WITHOUT))
def test_an_option_without_effect_has_its_reason(name: str) -> None:
    option = row(name, uwsgi=True)
    assert option is not None and option.status in ("ignored", "refused") and option.reason
