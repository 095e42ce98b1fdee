"""Starts one process that outlives its starter, in namespaces of its own where asked. A script of ``processes.start``.

A node lives in three namespaces. Its network namespace keeps routes and iptables rules away from the machine's. Its
mount namespace makes mounts invisible outside, and ends them with the last process. Its PID namespace ends every
process in it, those of containers too, when its first one is killed: nothing can be left behind.

usage: launch.py SOCKET here COMMAND…          a plain process
       launch.py SOCKET new FOLDER COMMAND…    the first process of new namespaces, whose own files lie in FOLDER
       launch.py SOCKET join PID COMMAND…      one more process in those of PID

SOCKET is the number of an open socket. One byte is sent from the new process: the kernel attaches its PID as the
receiver sees it, which no process in a PID namespace can know of itself. After it comes end-of-file, or why the command
could not be run.
"""

import ctypes
import os
import socket
import stat
import sys
from contextlib import suppress
from pathlib import Path

CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET = 0x00020000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18

# Paths that containerd, CNI and the kubelet write to, some whatever their configuration says: a node gets its own.
PRIVATE = {
    "/run": {"containerd", "containerd-2", "netns", "xtables.lock"},
    "/var/lib": {"cni", "containerd", "containerd-2", "kubelet", "kubelet-2"},
    "/var/log": {"containers", "pods", "pods-2"},
}

# What grows lies in the node's folder; the rest in memory.
ON_DISK = {
    f"{name}{suffix}": f"{parent}/{name}{suffix}"
    for name, parent in {"containerd": "/var/lib", "kubelet": "/var/lib", "pods": "/var/log"}.items()
    for suffix in ("", "-2")
}

libc = ctypes.CDLL(None, use_errno=True)


def checked(result: int, what: str) -> None:
    """Raise what the C library says where it failed."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    """mount(2)."""
    words = (text.encode() if text is not None else None for text in (source, target, kind))
    checked(libc.mount(*words, ctypes.c_ulong(flags), options.encode() if options else None), f"mount {target}")


def shadow(folder: str, private: set[str]) -> None:
    """Cover a folder by one with the same entries, but for the private ones, that takes new ones."""
    original = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    mount("tmpfs", folder, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    for entry in Path(f"/proc/self/fd/{original}").iterdir():
        with suppress(FileNotFoundError):  # programs come and go with their files in /run
            if entry.name not in private:
                show(entry, Path(folder, entry.name))
    os.close(original)


def show(entry: Path, target: Path) -> None:
    """Let an entry of a covered folder be seen where it was."""
    mode = entry.lstat().st_mode
    if stat.S_ISLNK(mode):
        target.symlink_to(entry.readlink())
        return
    if stat.S_ISDIR(mode):
        target.mkdir()
    else:
        target.touch()
    mount(str(entry), str(target), None, MS_BIND | MS_REC)


def furnish(own: str) -> None:
    """Make the mount namespace that this process is in what a node needs."""
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    for folder, private in PRIVATE.items():
        shadow(folder, private)
    for name, target in ON_DISK.items():
        Path(own, name).mkdir(exist_ok=True)
        Path(target).mkdir()
        mount(f"{own}/{name}", target, None, MS_BIND)
    mount(f"{own}/resolv.conf", os.path.realpath("/etc/resolv.conf"), None, MS_BIND)
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)


def join(pid: str) -> None:
    """Enter the namespaces of a process; the PID namespace takes effect for children."""
    kinds = {"pid": CLONE_NEWPID, "net": CLONE_NEWNET, "mnt": CLONE_NEWNS}
    opened = {kind: os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY) for kind in kinds}
    for kind, flag in kinds.items():
        checked(libc.setns(opened[kind], flag), f"enter the {kind} namespace of {pid}")


def main() -> None:
    """Become the command, two or three processes further down."""
    number, mode, *command = sys.argv[1:]
    where = command.pop(0) if mode != "here" else ""
    if mode == "new":
        checked(libc.unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID), "make namespaces")
    elif mode == "join":
        join(where)
    child = os.fork()
    if child:
        if mode == "join":
            os.waitpid(child, 0)  # unreaped it would keep its PID namespace from ending
        os._exit(0)
    if mode == "join" and os.fork():
        os._exit(0)  # an orphan belongs to the namespace's first process, which reaps it
    become(command, socket.socket(fileno=int(number)), own=where if mode == "new" else None)


def become(command: list[str], channel: socket.socket, own: str | None) -> None:
    """Report this process, and run the command in it."""
    os.setsid()
    try:
        if own is not None:
            furnish(own)
        channel.send(b"!")
        channel.set_inheritable(False)
        os.execvp(command[0], command)
    except OSError as error:
        channel.send(f"{error}".encode())
        os._exit(127)


main()
