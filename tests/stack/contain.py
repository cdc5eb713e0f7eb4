"""Run a program as a container would: `unshare --mount --pid --fork python contain.py SPEC.json`, as root.

A separate root file system with the system's programs, /proc and a few devices, the requested mounts, and
nothing else; then no rights except those of the user.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

_DEVICES = ("null", "zero", "full", "random", "urandom")


def main(spec: dict[str, Any]) -> None:
    root = Path(spec["root"])
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", root)
    _system(root, spec["uid"], spec["gid"], spec["hosts"])
    # Outer folders first, as in engines.
    mounts = [(target, source, mode) for source, target, mode in spec["binds"]]
    mounts += [(path, "", options) for path, options in spec["tmpfs"]]
    for target, source, options in sorted(mounts):
        if source:
            bind(Path(source), root / target.lstrip("/"), read_only=options == "ro")
        else:
            (root / target.lstrip("/")).mkdir(parents=True, exist_ok=True)
            limits = f",{options}" if options else ""
            mount("-t", "tmpfs", "-o", f"nosuid,nodev,noexec,mode=1777{limits}", "tmpfs", root / target.lstrip("/"))
    if spec["read_only"]:
        mount("-o", "remount,ro", root)
    os.chroot(root)
    os.chdir("/")
    # It ends with this process. `unshare --kill-child` ensures that only while the user does not change.
    command = [*as_user(spec["uid"], spec["gid"], "--pdeathsig=KILL"), *spec["argv"]]
    os.execve(command[0], command, spec["environment"])


def as_user(uid: int, gid: int, *more: str) -> list[str]:
    """The prefix of a command that has no capabilities and can gain none."""
    options = ("--clear-groups", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", *more)
    return ["/usr/bin/setpriv", f"--reuid={uid}", f"--regid={gid}", *options, "--"]


def _system(root: Path, uid: int, gid: int, hosts: str) -> None:
    for folder in ("proc", "dev/shm", "etc", "run", "var"):
        (root / folder).mkdir(parents=True)
    bind(Path("/usr"), root / "usr", read_only=True)
    for name in ("bin", "lib", "lib64", "sbin"):
        if Path("/", name).is_symlink():
            (root / name).symlink_to(Path("/", name).readlink())
        elif Path("/", name).exists():
            bind(Path("/", name), root / name, read_only=True)
    mount("-t", "proc", "proc", root / "proc")
    mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", root / "dev/shm")
    for device in _DEVICES:
        bind(Path("/dev", device), root / "dev" / device, read_only=False)
    etc = root / "etc"
    (etc / "hosts").write_text(hosts)
    (etc / "nsswitch.conf").write_text("hosts: files\n")
    (etc / "passwd").write_text(f"root:x:0:0::/:/bin/sh\nservice:x:{uid}:{gid}::/tmp:/bin/sh\n")
    (etc / "group").write_text(f"root:x:0:\nservice:x:{gid}:\n")
    for file in ("ld.so.cache", "localtime", "mime.types"):
        if Path("/etc", file).exists():
            (etc / file).write_bytes(Path("/etc", file).read_bytes())
    if Path("/etc/ssl").exists():
        bind(Path("/etc/ssl"), etc / "ssl", read_only=True)


def bind(source: Path, target: Path, *, read_only: bool) -> None:
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    mount("--bind", source, target)
    if read_only:
        mount("-o", "remount,bind,ro", target)


def mount(*arguments: str | Path) -> None:
    done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"mount {' '.join(map(str, arguments))}: {done.stderr}")


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
