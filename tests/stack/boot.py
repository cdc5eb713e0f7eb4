"""Run systemd as the first process of namespaces of its own: `unshare … python boot.py SPEC.json`, as root.

The machine's file system, but for what is written: /run, /var/lib, /opt and /etc are new, with what SPEC puts there.
"""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from contain import bind, mount

_ETC = ("passwd", "group", "nsswitch.conf", "ld.so.cache")


def main(spec: dict[str, Any]) -> None:
    mount("--make-rprivate", "/")
    mount("-t", "proc", "proc", "/proc")
    _cgroups()
    kept = {name: Path("/etc", name).read_bytes() for name in _ETC}
    for folder in ("/etc", "/run", "/var/lib", "/opt"):
        mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", folder)
    for name, content in kept.items():
        Path("/etc", name).write_bytes(content)
    # Without one this would be the machine's first start, with everything enabled.
    Path("/etc/machine-id").write_text(f"{1:032}\n")
    for source, target in spec["binds"]:
        bind(Path(source), Path(target), read_only=True)
    for source, target in spec["copies"]:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    options = ("--system", f"--unit={spec['target']}", "--show-status=no", "--log-target=null")
    os.execve("/lib/systemd/systemd", ["systemd", *options], {"container": "test", "PATH": "/usr/bin:/bin"})


def _cgroups() -> None:
    """Those of our namespace alone; with the old hierarchy for systemd where the machine has one."""
    old = ":name=systemd:" in Path("/proc/self/cgroup").read_text()
    mount("-t", "tmpfs", "tmpfs", "/sys/fs/cgroup")
    if not old:
        mount("-t", "cgroup2", "cgroup2", "/sys/fs/cgroup")
        return
    for name in ("systemd", "unified"):
        Path("/sys/fs/cgroup", name).mkdir()
    mount("-t", "cgroup", "-o", "none,name=systemd", "cgroup", "/sys/fs/cgroup/systemd")
    mount("-t", "cgroup2", "cgroup2", "/sys/fs/cgroup/unified")


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
