"""Giving up root, in the exec'd role and never in the master.

The master keeps what it was started with (it must reopen logs, certificates and low
ports); a role binds nothing, opens its logs and then drops: groups, gid, uid, in this
order, for each step needs what the next one takes away.
"""

import logging
import os
from collections.abc import Sequence

from ..errors import BootError, ConfigError

logger = logging.getLogger("geventuwsgi.error")


class Identity:
    """Who a role is to be.

    Args:
        uid: user name or number; None = stay.
        gid: group name or number; None = the user's own group (uWSGI keeps root's).
        groups: supplementary groups, names or numbers, beside those of the user.
        initgroups: whether it is in the groups of which the user is a member.

    Raises:
        ConfigError: there is no such user or group.
    """

    def __init__(self, uid: str | int | None, gid: str | int | None,
                 groups: Sequence[str | int] = (), *, initgroups: bool = True) -> None:
        self.initgroups = initgroups
        self.uid: int | None = None
        self.gid: int | None = None
        self.user: str | None = None
        if uid is not None and uid != "":
            self._find_user(str(uid))
        if gid is not None and gid != "":
            self.gid = _group(str(gid), "gid")
        self.groups = [_group(str(name), "add-gid") for name in groups]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identity) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def _find_user(self, text: str) -> None:
        import pwd
        try:
            entry = pwd.getpwuid(int(text)) if text.isdigit() else pwd.getpwnam(text)
        except KeyError:
            if not text.isdigit():
                raise ConfigError(f"there is no user {text!r}", option="uid") from None
            self.uid = int(text)  # a container's random uid has no entry (OpenShift)
            return
        self.uid, self.gid, self.user = entry.pw_uid, entry.pw_gid, entry.pw_name

    @property
    def leaves_root(self) -> bool:
        """Whether `assume` turns root into somebody else."""
        return os.geteuid() == 0 and bool(self.uid)

    def assume(self, *, python: bool = True) -> None:
        """Become it for good.

        Not being root is told and survived, as in uWSGI.

        Args:
            python: whether modules of Python will be imported from here on.

        Raises:
            BootError: the kernel refuses, or root could be taken back.
        """
        if os.geteuid() != 0:
            self._tell_what_is_refused()
            return
        try:
            if self.gid is not None or self.uid is not None:
                groups = set(self.groups)
                if self.gid is not None:
                    if self.user is not None and self.initgroups:
                        groups.update(os.getgrouplist(self.user, self.gid))
                    os.setgroups(sorted(groups | {self.gid}))
                    os.setresgid(self.gid, self.gid, self.gid)
                else:
                    os.setgroups(sorted(groups))
            elif self.groups:
                os.setgroups(sorted({*self.groups, *os.getgroups()}))
            if self.uid is not None:
                os.setresuid(self.uid, self.uid, self.uid)
        except OSError as error:
            raise BootError(f"cannot become uid {self.uid}, gid {self.gid}: "
                            f"{error.strerror}") from None
        if self.uid:
            try:
                os.setuid(0)
            except PermissionError:
                pass
            else:
                raise BootError(f"uid {self.uid} could become root again")
            # pyenv in root's home: all that is imported from here on would not be found
            if python and not os.access(os.__file__, os.R_OK):
                raise BootError(f"uid {self.uid} cannot read Python's library "
                                f"({os.path.dirname(os.__file__)}): install Python and this "
                                "server where that user can read them")

    def _tell_what_is_refused(self) -> None:
        if self.gid is not None and self.gid != os.getegid():
            logger.warning("cannot setgid(%d) as non-root user", self.gid)
        if self.uid is not None and self.uid != os.geteuid():
            logger.warning("cannot setuid(%d) as non-root user", self.uid)


def warn_about_root(identity: Identity, product: str) -> None:
    """Warn in two lines that the application will run as root, if it will.

    Args:
        identity: the configured user.
        product: what the log calls this server.
    """
    if os.geteuid() == 0 and not identity.uid:
        logger.warning("*** WARNING: you are running %s as root !!! (use the --uid flag) ***",
                       product)
        logger.warning("whoever finds a hole in the application owns this machine; "
                       "uid = www-data and gid = www-data drop root after the sockets are bound")


def _group(text: str, option: str) -> int:
    if text.isdigit():
        return int(text)
    import grp
    try:
        return grp.getgrnam(text).gr_gid
    except KeyError:
        raise ConfigError(f"there is no group {text!r}", option=option) from None
