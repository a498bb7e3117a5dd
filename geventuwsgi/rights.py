"""What root does with a path that the user of `uid` could redirect.

An application may replace a file, or a directory on the way to it, in every directory that its
user can write: by a link to a file of root's, for example. So where a process that still is root
opens, creates, renames or removes a file:

- A path on whose way that user can change nothing is used with root's rights.
- So is one in a directory of root's farther down, but only through that directory's descriptor,
  to which no link led.
- Any other path is used with the rights of that user, who then reaches nothing new through it.
  A file there that only root may open (uWSGI creates its log before it drops root) is opened
  as root if it is root's, has one name and is reached through no link.
- Owner and permissions are set by descriptor, and only of a file that cannot be another one.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

NOT_REGULAR = "it is not a regular file"
MAX_LINKS = 40  # on the way to a file, as in Linux, path_resolution(7)
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


class User(NamedTuple):
    """A user that root changes to.

    Attributes:
        uid, gid: its numbers.
        groups: all its groups.
    """

    uid: int
    gid: int
    groups: tuple[int, ...]


class Opened(NamedTuple):
    """An open file.

    Attributes:
        fd: its descriptor.
        certain: whether it is the user's own, or the path is one that the user cannot redirect:
            its owner and permissions may be set.
    """

    fd: int
    certain: bool


@contextmanager
def acting_as(user: User | None) -> Iterator[None]:
    """Use the rights of another user, groups included; None changes nothing."""
    if user is None:
        yield
        return
    own = os.geteuid(), os.getegid(), os.getgroups()
    try:
        os.setgroups(user.groups)
        os.setegid(user.gid)
        os.seteuid(user.uid)
        yield
    finally:
        os.seteuid(own[0])
        os.setegid(own[1])
        os.setgroups(own[2])


def rights_for(path: str, user: User | None) -> User | None:
    """Return the user to act as for a path: `user` if that user can redirect it, else None.

    Args:
        path: a name that may exist or not.
        user: the one of `uid`, or None if root is kept.
    """
    return None if _redirectable(path, user) is None else user


@contextmanager
def reaching(path: str, user: User | None) -> Iterator[str]:
    """Take the rights for a path, as above, and yield a name of the file to use meanwhile."""
    place = _redirectable(path, user)
    if place is None or user is None:
        yield path
        return
    fd = _directory_of_root(*place, user)
    if fd < 0:
        with acting_as(user):
            yield path
        return
    try:
        yield f"/proc/self/fd/{fd}/{place[1][-1]}"
    finally:
        os.close(fd)


def open_file(path: str, flags: int, mode: int = 0o666, user: User | None = None) -> Opened:
    """Open a file, as above; a FIFO of the user's does not delay that.

    Args:
        path: the file.
        flags: of open(2); O_CLOEXEC is added.
        mode: of a file that is created.
        user: the one of `uid`, or None if root is kept.

    Raises:
        OSError: it cannot be opened.
    """
    try:
        with reaching(path, user) as name:
            trusted = user is None or os.geteuid() == 0
            fd = os.open(name, flags | os.O_CLOEXEC | (0 if trusted else os.O_NONBLOCK), mode)
    except OSError as error:
        error.filename = path
        place = _redirectable(path, user)
        if place is None or user is None or not isinstance(error, PermissionError):
            raise
        try:
            return Opened(_open_file_of_root(*place, flags), False)
        except OSError:
            raise PermissionError(error.errno, f"{error.strerror} for uid {user.uid}, which can "
                                  "change where this path leads", path) from None
    found = os.fstat(fd)
    if stat.S_ISDIR(found.st_mode):     # which can be opened, but not read
        os.close(fd)
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not trusted:
        os.set_blocking(fd, not flags & os.O_NONBLOCK)
    return Opened(fd, user is None or trusted or found.st_uid == user.uid)


def read_file(path: str, user: User | None) -> bytes:
    """Read a file, as above; a FIFO of the user's does not delay that.

    Raises:
        OSError: it cannot be read.
    """
    with os.fdopen(open_file(path, os.O_RDONLY, user=user).fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode) and rights_for(path, user):
            raise OSError(errno.EINVAL, NOT_REGULAR, path)
        return file.read()


def give_away(path: str, owner: tuple[int, int], mode: int | None = None,
              user: User | None = None,
              inode: tuple[int, int] | None = None) -> os.stat_result:
    """Set owner and permissions of a file that was created at a path.

    Args:
        path: its name; a link is not followed.
        owner: (uid, gid); -1 leaves either unchanged.
        mode: its permissions; None leaves them unchanged.
        user: the one of `uid`, or None if root is kept.
        inode: its device and inode; None = it was just created with the rights for its path.

    Returns:
        What the file is now.

    Raises:
        OSError: it cannot be changed, or is not the one that was created.
    """
    with reaching(path, user) as name:
        as_root = os.geteuid() == 0
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        if inode is not None:
            certain = (found.st_dev, found.st_ino) == inode
        else:
            certain = user is None or as_root or found.st_uid == user.uid
        if stat.S_ISLNK(found.st_mode) or not certain:
            raise PermissionError(errno.EPERM, "another user has replaced it", path)
        file = f"/proc/self/fd/{fd}"    # neither fchmod(2) nor fchown(2) takes O_PATH
        if mode is not None:
            os.chmod(file, mode)
        if owner != (-1, -1):
            os.chown(file, *owner)
        return os.fstat(fd)
    finally:
        os.close(fd)


@contextmanager
def pinned(path: str, user: User | None) -> Iterator[str]:
    """Yield a name of a file or directory that meanwhile means no other, to change it as root.

    Raises:
        OSError: it does not exist, or a link that the user may have placed leads to it.
    """
    place = _redirectable(path, user)
    if place is None:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    else:
        at = _descend(*place)
        try:
            fd = os.open(place[1][-1], os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
        finally:
            os.close(at)
    try:
        found = os.fstat(fd)
        if stat.S_ISLNK(found.st_mode) or (
                place is not None and not stat.S_ISDIR(found.st_mode) and found.st_nlink > 1):
            raise OSError(errno.ELOOP, "a link that another user may have placed leads there")
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def rename(path: str, target: str, user: User | None) -> None:
    """Rename a file, as above.

    Raises:
        OSError: it cannot be renamed.
    """
    with reaching(path, user) as old, reaching(target, user) as new:
        os.rename(old, new)


def _redirectable(path: str, user: User | None) -> tuple[str, list[str]] | None:
    """Return the first directory on the way in which the user can change the next name.

    Until there, the way cannot change while this function looks at it.

    Returns:
        That directory, and the names that are looked up from there on; None if there is none.
    """
    if user is None or os.geteuid() != 0:
        return None
    if not path.startswith("/"):     # the start directory may be gone
        path = os.path.join(os.getcwd(), path)
    left = path.split("/")[::-1]
    at, links = "/", 0
    while left:
        name = left.pop()
        if name in ("", "."):
            continue
        if name == "..":
            at = os.path.dirname(at)
            continue
        if _can_change(at, name, user):
            return at, [name, *(step for step in left[::-1] if step not in ("", "."))]
        entry = os.path.join(at, name)
        try:
            target = os.readlink(entry)
        except OSError:     # no link, or it does not exist
            at = entry
            continue
        links += 1
        if links > MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        left += target.split("/")[::-1]
        if target.startswith("/"):
            at = "/"
    return None


def _can_change(directory: str, name: str, user: User) -> bool:
    """Whether the user can create, replace or remove this name in a directory."""
    try:
        found = os.stat(directory)
        if found.st_uid == user.uid:
            return True
        if not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):   # an ACL shows in the group's
            return False
        if found.st_mode & stat.S_ISVTX and os.lstat(os.path.join(directory, name)).st_uid == 0:
            return False
    except OSError:
        if not os.path.isdir(directory):
            return False
    with acting_as(user):
        return os.access(directory, os.W_OK, effective_ids=True)


def _descend(directory: str, names: list[str]) -> int:
    """Open the directory of the last name, through no link.

    Raises:
        OSError: there is a link, or no such directory.
    """
    if ".." in names:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    at = os.open(directory, _DIRECTORY)
    for name in names[:-1]:
        try:
            below = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
        finally:
            os.close(at)
        at = below
    return at


def _directory_of_root(directory: str, names: list[str], user: User) -> int:
    """Open the directory of the last name, if it is root's and the user can change nothing there.

    Returns:
        Its descriptor; -1 if there is a link, or the user can change that name.
    """
    try:
        fd = _descend(directory, names)
    except OSError:
        return -1
    at = f"/proc/self/fd/{fd}"
    if (os.fstat(fd).st_uid == 0 and not _can_change(at, names[-1], user)
            and not os.path.islink(f"{at}/{names[-1]}")):
        return fd
    os.close(fd)
    return -1


def _open_file_of_root(directory: str, names: list[str], flags: int) -> int:
    """Open a regular file of root's that exists, through no link.

    Raises:
        OSError: it is something else.
    """
    at = _descend(directory, names)
    try:
        fd = os.open(names[-1], flags & ~(os.O_CREAT | os.O_EXCL | os.O_TRUNC) | os.O_NOFOLLOW
                     | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=at)
    finally:
        os.close(at)
    found = os.fstat(fd)
    if (flags & os.O_EXCL or not stat.S_ISREG(found.st_mode) or found.st_nlink != 1
            or found.st_uid != 0):
        os.close(fd)
        raise PermissionError
    os.set_blocking(fd, not flags & os.O_NONBLOCK)
    if flags & os.O_TRUNC:
        os.ftruncate(fd, 0)
    return fd
