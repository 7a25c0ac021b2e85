"""Users and groups: become someone else, for good, and refuse to be root where messages can run code."""

from __future__ import annotations

import errno
import os
import sys
import warnings
from collections.abc import Iterable
from typing import Any

from ..exceptions import SecurityError, SecurityWarning
from ..local import try_import

grp: Any = try_import("grp")
pwd: Any = try_import("pwd")

ROOT_DISALLOWED = """\
Refusing to run a worker with superuser privileges while it accepts pickle: whoever can
send it a message can become root on this machine.

Set the C_FORCE_ROOT environment variable if that is really what you want.

User information: uid={uid} euid={euid} gid={gid} egid={egid}
"""
ROOT_DISCOURAGED = """\
You're running the worker with superuser privileges, which no task should have.

Name another user with the --uid option.

User information: uid={uid} euid={euid} gid={gid} egid={egid}
"""
#: Content types that let a message run code.
PICKLE_CONTENT = frozenset({"pickle", "application/x-python-serialize", "application/group-python-serialize"})


def parse_uid(uid: Any) -> int:
    """The number of a user, given by name or number."""
    try:
        return int(uid)
    except ValueError:
        try:
            return pwd.getpwnam(uid).pw_uid
        except (AttributeError, KeyError):
            raise KeyError(f"User does not exist: {uid}") from None


def parse_gid(gid: Any) -> int:
    """The number of a group, given by name or number."""
    try:
        return int(gid)
    except ValueError:
        try:
            return grp.getgrnam(gid).gr_gid
        except (AttributeError, KeyError):
            raise KeyError(f"Group does not exist: {gid}") from None


def setgroups(groups: Iterable[int]) -> None:
    """Set the other groups of this process, as many as the system takes."""
    wanted = list(groups)
    try:
        limit = os.sysconf("SC_NGROUPS_MAX")
    except (ValueError, OSError):
        limit = len(wanted)
    try:
        os.setgroups(wanted[:limit] if limit > 0 else wanted)
    except OSError as exc:
        # Someone who is no superuser may not, which is no matter where nothing would change.
        if exc.errno != errno.EPERM or any(group not in wanted for group in os.getgroups()):
            raise


def initgroups(uid: int, gid: int) -> None:
    """Give this process all groups of a user."""
    if pwd is None:
        return
    username = pwd.getpwuid(uid)[0]
    if hasattr(os, "initgroups"):
        os.initgroups(username, gid)
    else:
        setgroups(group.gr_gid for group in grp.getgrall() if username in group.gr_mem)


def setgid(gid: Any) -> None:
    """Change the group of this process."""
    os.setgid(parse_gid(gid))


def setuid(uid: Any) -> None:
    """Change the user of this process."""
    os.setuid(parse_uid(uid))


def maybe_drop_privileges(uid: Any = None, gid: Any = None) -> None:
    """Become another user and group; a user alone brings its groups along.

    RuntimeError where root could be had back afterwards.
    """
    if sys.platform == "win32":
        return
    if os.geteuid():
        # Only a superuser may change users; anyone may ask to stay who they are.
        if not os.getuid():
            raise SecurityError("contact support")
    wanted_uid = parse_uid(uid) if uid else None
    wanted_gid = parse_gid(gid) if gid else None
    if wanted_uid:
        _become_user(wanted_uid, wanted_gid)
    elif wanted_gid:
        setgid(wanted_gid)
    if uid and not os.getuid() and not os.geteuid():
        raise SecurityError("Still root uid after drop privileges!")
    if gid and not os.getgid() and not os.getegid():
        raise SecurityError("Still root gid after drop privileges!")


def _become_user(uid: int, gid: int | None) -> None:
    if gid is None and pwd:
        try:
            gid = pwd.getpwuid(uid).pw_gid
        except KeyError:
            gid = None  # a number without a name, as containers have
    if gid is not None:
        setgid(gid)
        try:
            initgroups(uid, gid)
        except KeyError:
            setgroups([gid])  # no name, so no other groups
    setuid(uid)
    try:
        os.setuid(0)
    except OSError as exc:
        if exc.errno != errno.EPERM:
            raise
    else:
        if uid:
            raise SecurityError("non-root user able to restore privileges after setuid.")


def check_privileges(accept_content: Any) -> None:
    """Refuse to run as root while accepting pickle, unless C_FORCE_ROOT is set; warn of root in any case."""
    if not hasattr(os, "getuid"):
        return
    who = {"uid": os.getuid(), "gid": os.getgid(), "euid": os.geteuid(), "egid": os.getegid()}
    if 0 not in (who["uid"], who["euid"], who["gid"], who["egid"]):
        return
    if PICKLE_CONTENT & set(accept_content or ()) and not os.environ.get("C_FORCE_ROOT"):
        raise SecurityError(ROOT_DISALLOWED.format(**who))
    if 0 in (who["uid"], who["euid"]):
        warnings.warn(SecurityWarning(ROOT_DISCOURAGED.format(**who)), stacklevel=2)
