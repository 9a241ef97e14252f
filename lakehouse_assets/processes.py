"""Which process something belongs to, and whether that process has ended.

What belongs here: the one identity of a process, by which everything that asks "does it still live?" decides. What does
not: what follows from the answer.

A process id alone may be another process's by now, and a start time by the wall clock moves whenever the clock is set.
So on Linux a process is known by the boot of its machine, its namespace of process ids, its id, and the ticks from boot
to its start: none of these moves for as long as it lives.
"""

import hashlib
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import psutil

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PID_NAMESPACE = Path("/proc/self/ns/pid")


class ProcessIdentity(NamedTuple):
    """A process. realm: where its id is unique; started: when it started, in a form that stays the same for as long as
    it lives.
    """

    host: str
    realm: str
    pid: int
    started: str

    @classmethod
    def current(cls) -> "ProcessIdentity":
        """This process."""
        process = psutil.Process()
        return cls(socket.gethostname(), _realm(), process.pid, _started(process))

    @classmethod
    def read(cls, fields: Mapping[str, str]) -> "ProcessIdentity":
        """From the fields that `text` writes. Raises KeyError or ValueError where one is missing or is none."""
        return cls(fields["host"], fields.get("realm", ""), int(fields["pid"]), fields["started"])

    @classmethod
    def parse(cls, text: str) -> "ProcessIdentity":
        """From what `text` gave. Raises KeyError or ValueError for any other text."""
        return cls.read(dict(field.split("=", 1) for field in text.split()))

    @property
    def text(self) -> str:
        """All of it in one line, for `parse`."""
        return f"host={self.host} realm={self.realm} pid={self.pid} started={self.started}"

    def is_gone(self) -> bool | None:
        """Whether the process has ended; None where that cannot be known, as of another machine or container. A host
        that has meanwhile got another name is still the same one, and none of its processes has survived a restart.
        """
        here = _realm()
        if self.realm != here:
            restarted = self.realm.partition("/")[0] != here.partition("/")[0]
            return True if restarted and self.host == socket.gethostname() else None
        return has_ended(self.pid, self.started)


def has_ended(pid: int, started: str | None = None) -> bool:
    """Whether a process of this machine has ended: no process has its id, one that started at another time has it, or
    only its parent has not asked for its end yet. started: None where that was not recorded, as by earlier versions:
    whoever has the id is then taken for it.
    """
    try:
        process = psutil.Process(pid)
        return process.status() == psutil.STATUS_ZOMBIE or started not in (None, _started(process))
    except psutil.NoSuchProcess:
        return True


def scratch_name() -> str:
    """A new name for a folder that this process alone works in, by which `in_use` tells whose it is."""
    me = ProcessIdentity.current()
    return f"{uuid4().hex}-{_mark(me.realm)}-{me.pid}-{me.started}"


def in_use(name: str) -> bool | None:
    """Whether the process lives that got a name from `scratch_name`; None where that cannot be known, as of another
    machine or another kind of name.
    """
    _, mark, pid, started = ["", "", "", "", *name.split("-")][-4:]
    return not has_ended(int(pid), started) if mark == _mark(_realm()) else None


def _mark(realm: str) -> str:
    return hashlib.sha256(realm.encode()).hexdigest()[:12]


def _realm() -> str:
    """Where process ids are unique: this boot of this machine and, as containers share both, this namespace of process
    ids. Elsewhere than on Linux, this host.
    """
    if _BOOT_ID.exists():
        return f"{_BOOT_ID.read_text().strip()}/{_PID_NAMESPACE.readlink().as_posix()}"
    return socket.gethostname()


def _started(process: psutil.Process) -> str:
    if _BOOT_ID.exists():
        try:
            return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19]
        except (FileNotFoundError, ProcessLookupError) as error:
            raise psutil.NoSuchProcess(process.pid) from error
    return f"{process.create_time():.2f}"
