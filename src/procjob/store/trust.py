"""Whether a pickle in a store may be loaded: it may if this user's procjob has written it, to this very row.

Loading a pickle runs code of whoever wrote it. So each carries a signature (HMAC, SHA-256) under a secret of 32 random
bytes that only this user can read, over the pickle and the row it belongs to: neither a file from somebody else nor a
pickle that was moved from one row to another passes. Notebooks are trusted by Jupyter in the same way.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
import stat
from pathlib import Path

_MAGIC = b"procjob pickle 1"
_UNSIGNED = bytes(32)
_HEAD = len(_MAGIC) + len(_UNSIGNED)


class NotTrusted(Exception):
    """A pickle is not known to be this user's own; says why."""


def sign(pickled: bytes, owner: str) -> bytes:
    """Return what is kept of a pickle; unsigned where no secret can be kept.

    Args:
        pickled: the pickle.
        owner: what it belongs to, the same when it is read.
    """
    secret = _secret(make=True)
    return _MAGIC + (_UNSIGNED if secret is None else _signature(secret, pickled, owner)) + pickled


def checked(data: bytes, owner: str, *, allow: bool) -> bytes:
    """Return the pickle in what `sign` made.

    Args:
        data: what is kept.
        owner: what it belongs to.
        allow: the user's consent to load it whoever wrote it.

    Raises:
        NotTrusted: it is not this user's, and there is no consent.
    """
    signature, pickled = data[len(_MAGIC) : _HEAD], data[_HEAD:]
    if not data.startswith(_MAGIC) or len(signature) < len(_UNSIGNED):
        raise NotTrusted("it is damaged")
    if allow:
        return pickled
    if signature == _UNSIGNED:
        raise NotTrusted("it is not signed: whoever wrote it could keep no secret (no home to write to)")
    secret = _secret(make=False)
    if secret is None:
        raise NotTrusted(f"there is no secret to check its signature with: {secret_file()} is missing or not private")
    if not hmac.compare_digest(signature, _signature(secret, pickled, owner)):
        raise NotTrusted("it was written by another user or on another machine, or changed since")
    return pickled


def secret_file() -> Path:
    """Return where the secret of this user is kept.

    Raises:
        RuntimeError: there is no home.
    """
    state = os.environ.get("XDG_STATE_HOME", "")
    folder = Path(state) if Path(state).is_absolute() else Path.home() / ".local" / "state"
    return folder / "procjob" / "secret"


def _signature(secret: bytes, pickled: bytes, owner: str) -> bytes:
    mac = hmac.new(secret, owner.encode() + b"\0", "sha256")
    mac.update(pickled)
    return mac.digest()


def _secret(*, make: bool) -> bytes | None:
    """Return the secret; None if there is none and none can be kept."""
    try:
        file = secret_file()
        found = _read(file)
        if found is None and make:
            _make(file)
            found = _read(file)
    except (OSError, RuntimeError):
        return None
    return found


def _read(file: Path) -> bytes | None:
    """Return the secret in a file; None if there is no file.

    Raises:
        OSError: it cannot be read, or others could have written or read it.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as opened:
        found = os.fstat(descriptor)
        private = not hasattr(os, "geteuid") or (
            found.st_uid == os.geteuid() and not stat.S_IMODE(found.st_mode) & 0o077
        )
        secret = opened.read(33)
    if not private or len(secret) != 32:
        raise PermissionError(f"{file} is no private secret")
    return secret


def _make(file: Path) -> None:
    """Make the secret, whole at once: of several processes the first one to link it wins."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    own = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
    descriptor = os.open(own, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            os.fchmod(descriptor, 0o600)
            opened.write(secrets.token_bytes(32))
            opened.flush()
            os.fsync(descriptor)
        with contextlib.suppress(FileExistsError):
            os.link(own, file)
    finally:
        own.unlink()
