"""Where the effect of each common uWSGI option is tested.

The options are the most frequent ones in real files (at least one file in thirty of a sample). An
option without effect has a reason in the table instead.
"""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from geventuwsgi.config.options.table import row

TESTS = Path(__file__).parents[1]

# The file of a test -> each option whose effect it shows -> the test.
EFFECTS = {
    "integration/test_background.py": {
        "daemonize": "test_the_starter_ends_when_the_server_is_ready",
    },
    "integration/test_commands.py": {
        "callable": "test_http",
        "disable-logging": "test_logging_off",
        "http-socket": "test_http",
        "module": "test_a_unix_socket",
        "processes": "test_http",
        "protocol": "test_uwsgi_from_allowed_addresses_only",
        "socket": "test_a_unix_socket",
        "workers": "test_http",
        "wsgi-file": "test_http",
    },
    "integration/test_daemons.py": {
        "attach-daemon": "test_it_lives_with_the_instance",
        "reload-mercy": "test_one_that_ignores_its_signal_is_killed_after_the_mercy",
    },
    "integration/test_hooks.py": {
        "hook-master-start": "test_master_start_binds_signals",
    },
    "integration/test_limits.py": {
        "buffer-size": "test_a_head_over_the_limit",
    },
    "integration/test_logging.py": {
        "log-4xx": "test_conditions_and_the_form_of_lines",
        "log-5xx": "test_conditions_and_the_form_of_lines",
        "log-date": "test_conditions_and_the_form_of_lines",
        "log-dialect": "test_the_product_name_in_the_log",
        "log-maxsize": "test_rotation_under_load_loses_no_line",
        "logformat-strftime": "test_conditions_and_the_form_of_lines",
        "logger": "test_loggers_routes_encoders_and_syslog",
        "req-logger": "test_loggers_routes_encoders_and_syslog",
    },
    "integration/test_options_effect.py": {
        "http-keepalive": "test_http_keepalive_off",
        "ini": "test_strict",
        "listen": "test_listen",
        "logformat": "test_http_keepalive_off",
        "offload-threads": "test_a_file_for_a_slow_client_takes_no_slot",
        "reload-on-as": "test_reload_on_as",
        "strict": "test_strict",
        "threads": "test_threads_are_slots",
        "vhost": "test_vhost_is_by_the_name_of_the_server",
    },
    "integration/test_reload_triggers.py": {
        "py-autoreload": "test_autoreload_sees_modules_as_they_are_imported",
        "touch-reload": "test_a_touched_file_reloads",
    },
    "integration/test_router.py": {
        "http-timeout": "test_a_node_that_hangs_is_504_and_left_out",
    },
    "integration/test_router_embedded.py": {
        "http": "test_the_uwsgi_section_of_an_old_file",
    },
    "integration/test_signals.py": {
        "worker-reload-mercy": "test_mercy_ends",
    },
    "integration/test_start.py": {
        "chmod-socket": "test_mode_pid_files_and_vacuum",
        "chown-socket": "test_root_is_dropped_after_the_sockets_are_bound",
        "gid": "test_root_is_dropped_after_the_sockets_are_bound",
        "lazy-apps": "test_with_lazy_apps_each_worker_loads_it",
        "need-app": "test_an_application_that_need_not_load",
        "pidfile": "test_the_pid_file",
        "uid": "test_root_is_dropped_after_the_sockets_are_bound",
        "vacuum": "test_mode_pid_files_and_vacuum",
    },
    "integration/test_workers.py": {
        "cheaper": "test_more_and_fewer",
        "max-requests": "test_recycling",
        "max-worker-lifetime": "test_recycling",
        "memory-report": "test_the_memory_report",
        "reload-on-rss": "test_recycling",
    },
    "workers/wsgi/test_body.py": {
        "post-buffering": "test_post_buffering",
    },
    "workers/wsgi/test_deadlines.py": {
        "socket-timeout": "test_deadlines",
    },
    "workers/wsgi/test_formats.py": {
        "log-format": "test_the_line",
    },
    "workers/wsgi/test_harakiri.py": {
        "harakiri": "test_harakiri",
    },
    "workers/wsgi/test_queue_limit.py": {
        "gevent": "test_past_the_queue_it_is_503_at_once",
    },
    "workers/wsgi/test_routes.py": {
        "route": "test_responses_of_rules",
    },
    "workers/wsgi/test_slow.py": {
        "harakiri-verbose": "test_verbose_logs_the_whole_worker",
    },
    "workers/wsgi/test_static.py": {
        "static-map": "test_a_file_comes_before_the_application",
    },
    "test_boot.py": {
        "auto-procname": "test_process_titles",
        "chdir": "test_paths_and_environment",
        "env": "test_paths_and_environment",
        "home": "test_home_puts_its_packages_first",
        "import": "test_paths_and_environment",
        "logto": "test_logto_receives_all_output_and_is_reopened",
        "pythonpath": "test_paths_and_environment",
        "virtualenv": "test_a_virtualenv_of_another_python_exits_with_1",
    },
    "integration/test_statistics.py": {
        "stats": "test_uwsgitop_shows_the_workers",
        "stats-http": "test_the_options_of_stats",
    },
    "test_cli.py": {
        "show-config": "test_show_config",
    },
}
IGNORED = {
    "die-on-term", "disable-write-exception", "enable-threads", "gevent-early-monkey-patch",
    "ignore-sigpipe", "ignore-write-errors", "log-master", "master", "plugin",
    "plugin-dir", "plugins", "single-interpreter",
    "thunder-lock"}


@cache
def collected(file: str) -> dict[str, str]:
    """Return the text of each test of a file, together with the code of the file outside of tests.

    That code includes fixtures, texts of files and shared checks.
    """
    text = (TESTS / file).read_text()
    found, shared = {}, ""
    for node in ast.parse(text).body:
        lines = [line for one in [*getattr(node, "decorator_list", ()), node]
                 for line in text.splitlines()[one.lineno - 1:one.end_lineno]]
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            found[node.name] = "\n".join(lines)
        else:
            shared += "\n".join(lines) + "\n"
    return {name: shared + own for name, own in found.items()}


def written(name: str) -> re.Pattern[str]:
    """Match an option that is set: `--name`, "name", `name =` of a file, `na_me=` in Python."""
    option = row(name, uwsgi=True)
    letters = "".join(one for one in option.aliases if len(one) == 1) if option else ""
    same = f"(?:{re.escape(name)}|{re.escape(name.replace('-', '_'))})"
    return re.compile(
        rf"--{same}(?![\w-])|(?:(?<![\w.-])|(?<=\\n)){same}\s*=(?!=)|[\"']{same}[\"']"
        + (rf"|[\"' ]-[{letters}](?!\w)" if letters else ""))


@pytest.mark.parametrize(("file", "name"), [(file, name) for file in EFFECTS
                                            for name in EFFECTS[file]])
def test_an_option_has_a_test_of_its_effect(file: str, name: str) -> None:
    option = row(name, uwsgi=True)
    assert option is not None and option.status in ("taken", "directive", "command")
    text = collected(file)[EFFECTS[file][name]]
    assert written(name).search(text), f"{file}: {EFFECTS[file][name]} does not set {name}"


def test_a_missing_effect_is_noticed() -> None:
    assert not written("harakiri").search("def harakiri(): 'of harakiri-verbose = 1'")
    assert not written("route").search("x.route = 1; a-route = 1; --route-run")
    assert all(written("route").search(text) for text in (
        "\nroute = ^/", "'--route'", "a\\nroute=x", '"route"'))
    assert "a_504_and_the_worker_lives" not in collected("workers/wsgi/test_harakiri.py")


@pytest.mark.parametrize("name", sorted(IGNORED))
def test_an_option_without_effect_has_its_reason(name: str) -> None:
    option = row(name, uwsgi=True)
    assert option is not None and option.status in ("ignored", "refused") and option.reason
