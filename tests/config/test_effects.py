"""Each option of uWSGI that real files have often has a test of what it does, and this is where.

The names are those that uWSGI's users write most (in one file of thirty or more, of the
files that were counted). One without an effect here has its reason in the table instead.
"""

import re
from functools import cache
from pathlib import Path

import pytest

from geventuwsgi.config.table import row

TESTS = Path(__file__).parents[1]

# Option -> the test of its effect, wherever it stands.
EFFECTS = {
    "attach-daemon": "test_it_lives_with_the_instance",
    "auto-procname": "test_process_titles",
    "buffer-size": "test_a_head_over_the_limit",
    "callable": "test_http",
    "chdir": "test_paths_and_environment",
    "cheaper": "test_slots_in_use_bring_workers_and_free_ones_let_them_go",
    "chmod-socket": "test_mode_and_vacuum",
    "chown-socket": "test_root_is_dropped_after_the_sockets_are_bound",
    "daemonize": "test_the_starter_ends_when_the_server_is_ready",
    "disable-logging": "test_logging_off",
    "env": "test_paths_and_environment",
    "gevent": "test_past_the_queue_it_is_503_at_once",
    "gid": "test_root_is_dropped_after_the_sockets_are_bound",
    "harakiri": "test_harakiri",
    "harakiri-verbose": "test_verbose_tells_of_the_whole_worker",
    "home": "test_home_puts_its_packages_first",
    "hook-master-start": "test_each_phase_in_its_process",
    "http": "test_the_uwsgi_section_of_an_old_file",
    "http-keepalive": "test_http_keepalive_off",
    "http-socket": "test_http",
    "http-timeout": "test_a_node_that_hangs_is_504_and_left_out",
    "import": "test_paths_and_environment",
    "ini": "test_the_ini_file",
    "lazy-apps": "test_lazy_apps_loads_in_each_worker",
    "listen": "test_listen",
    "log-format": "test_the_line",
    "log-4xx": "test_conditions_and_the_form_of_lines",
    "log-5xx": "test_conditions_and_the_form_of_lines",
    "log-date": "test_conditions_and_the_form_of_lines",
    "log-maxsize": "test_rotation_under_load_loses_no_line",
    "logformat-strftime": "test_conditions_and_the_form_of_lines",
    "logger": "test_loggers_routes_encoders_and_syslog",
    "req-logger": "test_loggers_routes_encoders_and_syslog",
    "logformat": "test_http_keepalive_off",
    "logto": "test_logto_takes_everything_and_is_reopened",
    "max-requests": "test_recycling_under_load_fails_no_request",
    "max-worker-lifetime": "test_an_old_worker_is_replaced",
    "memory-report": "test_the_memory_report",
    "module": "test_a_unix_socket",
    "need-app": "test_an_application_that_need_not_load",
    "offload-threads": "test_a_file_for_a_slow_client_takes_no_slot",
    "pidfile": "test_the_pid_file",
    "post-buffering": "test_post_buffering",
    "processes": "test_http",
    "protocol": "test_uwsgi_from_allowed_addresses_only",
    "py-autoreload": "test_autoreload_sees_modules_as_they_are_imported",
    "pythonpath": "test_paths_and_environment",
    "reload-mercy": "test_one_that_ignores_its_signal_is_killed_after_the_mercy",
    "reload-on-as": "test_reload_on_as",
    "reload-on-rss": "test_a_worker_that_grows_is_replaced",
    "route": "test_answers_of_rules",
    "show-config": "test_show_config",
    "socket": "test_a_unix_socket",
    "socket-timeout": "test_deadlines",
    "static-map": "test_a_file_comes_before_the_application",
    "strict": "test_strict",
    "threads": "test_threads_are_slots",
    "touch-reload": "test_a_touched_file_reloads",
    "uid": "test_root_is_dropped_after_the_sockets_are_bound",
    "vacuum": "test_mode_and_vacuum",
    "vhost": "test_vhost_is_by_the_name_of_the_server",
    "virtualenv": "test_home_puts_its_packages_first",
    "worker-reload-mercy": "test_mercy_ends",
    "workers": "test_http",
    "wsgi-file": "test_http",
}
WITHOUT = {
    "die-on-term", "disable-write-exception", "enable-threads", "gevent-early-monkey-patch",
    "ignore-sigpipe", "ignore-write-errors", "log-master", "master", "plugin",
    "plugin-dir", "plugins", "single-interpreter", "stats", "stats-http",
    "thunder-lock"}


@cache
def functions() -> frozenset[str]:
    """Return the names of all tests, those that one test runs beside each other included."""
    return frozenset(name for path in TESTS.rglob("test_*.py")
                     for name in re.findall(r"^(?:async )?def (?:test_)?(\w+)\(",
                                            path.read_text(), re.MULTILINE))


@pytest.mark.parametrize("name", EFFECTS)
def test_an_option_has_a_test_of_its_effect(name: str) -> None:
    option = row(name, uwsgi=True)
    assert option is not None and option.status in ("taken", "directive", "command")
    assert EFFECTS[name].removeprefix("test_") in functions()


@pytest.mark.parametrize("name", sorted(WITHOUT))
def test_an_option_without_effect_has_its_reason(name: str) -> None:
    option = row(name, uwsgi=True)
    assert option is not None and option.status in ("ignored", "refused") and option.reason
