"""Which server has an option of this name: uWSGI, gunicorn or another, for `--help OPTION`.

An option's first name and its aliases are uWSGI's, except for those listed here.
`tests/config/options/test_names.py` compares the lists with the programs themselves.
"""

from geventuwsgi.config.options.aliases import NAMES_OF
from geventuwsgi.config.options.option import Option

# First names and aliases that uWSGI does not have.
NOT_UWSGI = frozenset("""
check-config status format from application monkey-patch completion paste-global env-file
asgi interface factory root-path asgi-loop asgi-loop-timeout lifespan
lifespan-startup-timeout lifespan-shutdown-timeout ws-ping-interval ws-ping-timeout ws-max-size
ws-max-queue ws-per-message-deflate
bind certfile ssl-certfile ssl-certificate keyfile ssl-keyfile ca-certs ssl-ca-certs cert-reqs
ssl-cert-reqs ciphers ssl-ciphers ssl-version ssl-keyfile-password keyfile-password
worker-class worker-connections worker-timeout
http-router http-route http-lb http-connections http-node-connections http-queue
http-upgrade-timeout http-buffer http-x-forwarded-for
chain-reload py-autoreload-ignore reload-extra-file shutdown-delay readiness-path
max-requests-jitter cheaper-idle daemon
limit-request-line limit-request-fields limit-request-field-size limit-request-field_size
request-timeout request-min-rate limit-connections-per-address
metrics keepalive harakiri-path slow-request block-warning stacks cancel-on-disconnect queue-limit
uwsgi-allow-from forwarded-allow-ips proxy-allow-ips server-header date-header honor-range
error-page error-page-400 error-page-408 error-page-413 error-page-414 error-page-421 error-page-431
error-page-501 error-page-502 error-page-503 error-page-504 error-page-505
access-logfile error-logfile capture-output log-level log-dialect
""".split())
# First names and aliases that gunicorn has too.
ALSO_GUNICORN = frozenset("""
config check-config paste paste-global pythonpath chdir env root-path asgi-loop bind protocol
reuse-port umask
certfile keyfile ca-certs cert-reqs ciphers ssl-version workers threads worker-class
worker-connections pidfile reload max-requests max-requests-jitter daemon limit-request-line
limit-request-fields limit-request-field-size limit-request-field_size keepalive uwsgi-allow-from
forwarded-allow-ips proxy-allow-ips access-logfile error-logfile capture-output log-level log-syslog
reload-extra-file
""".split())


def by_server(option: Option) -> dict[str, list[str]]:
    """Return the names of an option by server; aliases that no other server has are "Also"."""
    plain = (option.name, *option.aliases)
    uwsgi = [name for name in plain if option.everywhere and name not in NOT_UWSGI]
    others_of = {server: [name for name in option.gunicorn if name in names]
                 for server, names in NAMES_OF.items()}
    gunicorn = [name for name in plain if name in ALSO_GUNICORN]
    gunicorn += [name for name in option.gunicorn
                 if not any(name in names for names in others_of.values())]
    others = [name for name in option.aliases if name not in uwsgi and name not in gunicorn]
    found = {"Also": others, "uWSGI": uwsgi, "gunicorn": gunicorn, **others_of}
    return {server: names for server, names in found.items() if names}
