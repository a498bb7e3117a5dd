"""Dropping root, in the processes that the master executes and never in the master.

The master keeps the user it was started as, because it must reopen logs, certificates and
low ports. A role opens its logs and then sets groups, gid and uid, in this order: each step
needs a privilege that the next one removes.
"""

import logging
import os
from collections.abc import Sequence

from .errors import BootError, ConfigError
from .rights import User

logger = logging.getLogger("geventuwsgi.error")


class Identity:
    """The user and groups that a process changes to.

    Args:
        uid: user name or number; None leaves it unchanged.
        gid: group name or number; None = the user's own group (uWSGI keeps root's).
        groups: supplementary groups, names or numbers, in addition to the user's.
        initgroups: also set the groups of which the user is a member.

    Raises:
        ConfigError: the user or group does not exist.
    """

    def __init__(self, uid: str | int | None, gid: str | int | None,
                 groups: Sequence[str | int] = (), *, initgroups: bool = True) -> None:
        self.initgroups = initgroups
        self.uid: int | None = None
        self.gid: int | None = None
        self.name: str | None = None
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
        is_number = text.isascii() and text.isdigit()
        try:
            entry = pwd.getpwuid(int(text)) if is_number else pwd.getpwnam(text)
        except KeyError:
            if not is_number:
                raise ConfigError(f"there is no user {text!r}", option="uid") from None
            self.uid = int(text)  # a container's random uid has no entry (OpenShift)
            return
        self.uid, self.gid, self.name = entry.pw_uid, entry.pw_gid, entry.pw_name

    @property
    def leaves_root(self) -> bool:
        """Whether `assume` changes root to another user."""
        return os.geteuid() == 0 and bool(self.uid)

    @property
    def user(self) -> User | None:
        """The user with whose rights root uses paths (`rights`); None if root is kept."""
        if not self.leaves_root:
            return None
        assert self.uid is not None
        gid = os.getegid() if self.gid is None else self.gid
        return User(self.uid, gid, tuple(self._all_groups()))

    @property
    def owner(self) -> tuple[int, int]:
        """(uid, gid) of what is created for this user; -1 leaves either unchanged."""
        if os.geteuid() != 0:
            return -1, -1
        return (-1 if self.uid is None else self.uid, -1 if self.gid is None else self.gid)

    def _all_groups(self) -> list[int]:
        """Return all groups that `assume` sets."""
        groups = set(self.groups)
        if self.gid is not None:
            groups.add(self.gid)
            if self.name is not None and self.initgroups:
                groups.update(os.getgrouplist(self.name, self.gid))
        return sorted(groups)

    def assume(self, *, python: bool = True) -> None:
        """Change to this user and these groups for good.

        Without root a warning is logged and nothing changes, as in uWSGI.

        Args:
            python: whether this process will still import Python modules.

        Raises:
            BootError: the kernel refuses, or the process could become root again.
        """
        if os.geteuid() != 0:
            self._warn_about_refusals()
            return
        try:
            if self.gid is not None or self.uid is not None:
                os.setgroups(self._all_groups())
                if self.gid is not None:
                    os.setresgid(self.gid, self.gid, self.gid)
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
            # With pyenv in root's home, every later import would fail.
            if python and not os.access(os.__file__, os.R_OK):
                raise BootError(f"uid {self.uid} cannot read Python's library "
                                f"({os.path.dirname(os.__file__)}): install Python and this "
                                "server where that user can read them")

    def _warn_about_refusals(self) -> None:
        if self.gid is not None and self.gid != os.getegid():
            logger.warning("cannot setgid(%d) as non-root user", self.gid)
        if self.uid is not None and self.uid != os.geteuid():
            logger.warning("cannot setuid(%d) as non-root user", self.uid)


def warn_about_root(identity: Identity, product: str) -> None:
    """Warn in two lines if the application will run as root.

    Args:
        identity: the configured user.
        product: what the log calls this server.
    """
    if os.geteuid() == 0 and not identity.uid:
        logger.warning("*** WARNING: you are running %s as root !!! (use the --uid flag) ***",
                       product)
        logger.warning("a vulnerability in the application gives full control of this machine; "
                       "uid = www-data and gid = www-data drop root after the sockets are bound")


def _group(text: str, option: str) -> int:
    if text.isascii() and text.isdigit():
        return int(text)
    import grp
    try:
        return grp.getgrnam(text).gr_gid
    except KeyError:
        raise ConfigError(f"there is no group {text!r}", option=option) from None
