#!/usr/bin/env python3
"""A small list against a large snapshot, on this machine: see docs/performance.md.

    benches/warm/warm.py --ours 10000 --theirs 10000000 [--programs target/release] [--dir DIR]

Publishes a synthetic table, serves it on loopback, and asks it three times: first the snapshot is
fetched, then it is there. Prints a line of JSON for each step: processor and wall seconds, bytes, the most
memory that was resident, and the most that was anonymous, looked at every 10 ms. Linux alone.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TICK = os.sysconf("SC_CLK_TCK")


class Watched:
    """A program, with its processor time and the most of its memory."""

    def __init__(self, line, **more):
        self.child = subprocess.Popen(line, **more)
        self.anonymous = 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)
        self.thread.start()

    def status(self, member):
        try:
            text = Path(f"/proc/{self.child.pid}/status").read_text()
        except OSError:
            return 0
        lines = (line for line in text.splitlines() if line.startswith(member + ":"))
        return next((int(line.split()[1]) << 10 for line in lines), 0)

    def look(self):
        while not self.over.wait(0.01):
            self.anonymous = max(self.anonymous, self.status("RssAnon"))

    def cpu(self):
        fields = Path(f"/proc/{self.child.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def end(self):
        """Waits for its end; gives what it printed and what it used."""
        out = self.child.stdout.read() if self.child.stdout else b""
        _, status, used = os.wait4(self.child.pid, 0)
        self.over.set()
        self.thread.join()
        self.child.returncode = os.waitstatus_to_exitcode(status)
        return out, used


def show(step, **facts):
    print(json.dumps({"step": step, **facts}), flush=True)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--ours", type=int, default=10_000)
    arguments.add_argument("--theirs", type=int, default=10_000_000)
    arguments.add_argument("--programs", type=Path, default=ROOT / "target" / "release")
    arguments.add_argument("--dir", type=Path, help="where everything lies; a new temporary folder if not given")
    given = arguments.parse_args()
    if given.dir is None:
        with tempfile.TemporaryDirectory(prefix="tally-warm-") as folder:
            measure(given, Path(folder))
    else:
        given.dir.mkdir(parents=True, exist_ok=True)
        measure(given, given.dir)


def measure(given, folder):
    tally, tallyd = (str(given.programs.resolve() / name) for name in ("tally", "tallyd"))
    env = {**os.environ, "TALLY_PASSPHRASE": "a passphrase for two throw-away homes"}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = "127.0.0.1:%d" % probe.getsockname()[1]

    def run(*line):
        subprocess.run([*map(str, line)], cwd=folder, env=env, check=True, stdout=subprocess.DEVNULL)

    def watched(*line):
        started = time.perf_counter()
        program = Watched([*map(str, line)], cwd=folder, env=env, stdout=subprocess.PIPE)
        out, used = program.end()
        if program.child.returncode:
            sys.exit(f"{line[0]} ended with {program.child.returncode}")
        return json.loads(out), {
            "cpu_seconds": round(used.ru_utime + used.ru_stime, 2),
            "wall_seconds": round(time.perf_counter() - started, 2),
            "peak_rss_mib": used.ru_maxrss >> 10,
            "peak_anonymous_mib": program.anonymous >> 20,
        }

    overlap = max(1, min(given.ours, given.theirs) // 10)
    sizes = ["--ours", given.ours, "--theirs", given.theirs, "--overlap", overlap]
    run(tally, "datagen", "--dir", "data", *sizes, "--seed", 1, "--quiet")
    for name, listen in (("holder", address), ("asker", "127.0.0.1:0")):
        run(tallyd, "init", name, "--name", name, "--dev-ca", "--listen", listen, "--quiet")
        run(tallyd, "peer", "export", f"{name}.peer", "--home", name, "--quiet")
    for name, peer in (("holder", "asker"), ("asker", "holder")):
        run(tallyd, "peer", "add", f"{peer}.peer", "--home", name, "--quiet")

    key = ["--key", "document=document,state"]
    table = ["--input", "data/theirs.csv", *key]
    said, used = watched(tallyd, "collection", "publish", "list", "--home", "holder", *table, "--json", "--quiet")
    show("publish", elements=said["distinct"], tags=said["padded"], tag_bytes=said["tag_bytes"],
         snapshot_bytes=said["snapshot_bytes"], **used)

    with open(folder / "serve.log", "wb") as log:
        node = Watched([tallyd, "serve", "--home", "holder"], cwd=folder, env=env, stderr=log)
    try:
        host, port = address.split(":")
        for _ in range(500):
            with socket.socket() as probe:
                if probe.connect_ex((host, int(port))) == 0:
                    break
            time.sleep(0.02)
        for number in range(3):
            before = node.cpu()
            said, used = watched(
                tally, "match", "--home", "asker", "--peer", "holder", "--address", address,
                "--collection", "list", "--input", "data/ours.csv", *key, "--purpose", "measuring",
                "--out", f"hits-{number}.csv", "--json", "--quiet")
            if said["elements_matched"] != overlap:
                sys.exit("the match found something else")
            show("match", snapshot_from=said["theirs"].get("snapshot_from"),
                 elements=said["ours"]["elements_padded"], sent=said["bytes"]["sent"],
                 received=said["bytes"]["received"], session_seconds=round(said["seconds"]["session"], 3),
                 sender_cpu_seconds=round(node.cpu() - before, 2), **used)
        show("sender", peak_rss_mib=node.status("VmHWM") >> 20, peak_anonymous_mib=node.anonymous >> 20)
    finally:
        node.child.send_signal(signal.SIGTERM)
        node.end()


if __name__ == "__main__":
    main()
