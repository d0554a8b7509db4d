#!/usr/bin/env python3
"""Runs private set intersections side by side on this machine: see README.md beside this file.

    benches/compare/compare.py --size 65536 [--tally target/release/tally] [--only NAME] [--venv DIR]

Prints one line of JSON for each program: processor microseconds of both sides for each element, wall
seconds, bytes on the wire. Both sides of a library run in one process, one after the other, so that
processor time is that of both together.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def spent(who):
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def show(name, size, cpu, wall, sent, note):
    print(json.dumps({
        "program": name,
        "size": size,
        "cpu_us_per_element": round(cpu * 1e6 / size, 2),
        "wall_seconds": round(wall, 2),
        "bytes_per_element": sent if sent is None else round(sent / size, 1),
        "note": note,
    }), flush=True)


def elements(size, side):
    # A tenth of them stands on both sides.
    shared = size // 10
    return [f"shared-{i}" for i in range(shared)] + [f"{side}-{i}" for i in range(size - shared)]


def in_venv(venv, package, task, size):
    """Runs a task of this file with a wheel in a virtual environment of its own."""
    python = venv / package / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(python.parent.parent)], check=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--only-binary", ":all:", package]
    if subprocess.run(pip, stderr=subprocess.DEVNULL).returncode != 0:
        print(f"SKIPPED: no wheel of {package} for this machine and Python", file=sys.stderr)
        return
    subprocess.run([str(python), str(HERE / "compare.py"), "--task", task, "--size", str(size)], check=True)


def openmined(size):
    import private_set_intersection.python as psi
    ours, theirs = elements(size, "ours"), elements(size, "theirs")
    wall, cpu = time.perf_counter(), spent(resource.RUSAGE_SELF)
    client, server = psi.client.CreateWithNewKey(True), psi.server.CreateWithNewKey(True)
    setup = server.CreateSetupMessage(1e-9, size, theirs, psi.DataStructure.GCS)
    request = client.CreateRequest(ours)
    response = server.ProcessRequest(request)
    found = client.GetIntersection(setup, response)
    cpu, wall = spent(resource.RUSAGE_SELF) - cpu, time.perf_counter() - wall
    if len(found) < size // 10:
        sys.exit("openmined-psi found too few")
    sent = sum(m.ByteSize() for m in (setup, request, response))
    show("openmined-psi", size, cpu, wall, sent, f"{psi.__version__}; no proofs")


def spu(size):
    for protocol in ("ECDH", "KKRT", "RR22"):
        spu_protocol(size, protocol)


def spu_protocol(size, protocol):
    import multiprocessing
    folder = Path(tempfile.mkdtemp())
    try:
        for side in ("ours", "theirs"):
            (folder / f"{side}.csv").write_text("id\n" + "\n".join(elements(size, side)) + "\n")
        ports = free_ports(2)
        wall, cpu = time.perf_counter(), spent(resource.RUSAGE_CHILDREN)
        fork = multiprocessing.get_context("fork")
        sides = [fork.Process(target=spu_side, args=(protocol, folder, ports, n)) for n in range(2)]
        for side in sides:
            side.start()
        for side in sides:
            side.join()
        if any(side.exitcode for side in sides):
            print(f"FAILED: spu {protocol}", file=sys.stderr)
            return
        cpu, wall = spent(resource.RUSAGE_CHILDREN) - cpu, time.perf_counter() - wall
        found = len((folder / "ours.out").read_text().split()) - 1
        if found != size // 10:
            sys.exit(f"spu {protocol} found {found}")
        curve = ", curve 25519" if protocol == "ECDH" else ""
        # The wheel does not say what it sent.
        show(f"spu {protocol}", size, cpu, wall, None, f"plain TCP{curve}; no proofs; its start-up included")
    finally:
        shutil.rmtree(folder)


def free_ports(count):
    import socket
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def spu_side(protocol, folder, ports, rank):
    # It logs to both; its exit code says whether it failed.
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    import spu.libspu.link as link
    import spu.psi as psi
    desc = link.Desc()
    for n, port in enumerate(ports):
        desc.add_party(f"id{n}", f"127.0.0.1:{port}")
    context = link.create_brpc(desc, rank)
    side = ("ours", "theirs")[rank]
    psi.psi_execute(psi.PsiExecuteConfig(
        protocol_conf=psi.PsiProtocolConfig(
            protocol=psi.parse_protocol(f"PROTOCOL_{protocol}"),
            receiver_rank=0,
            ecdh_params=psi.EcdhParams(curve=psi.EllipticCurveType.CURVE_25519),
        ),
        input_params=psi.InputParams(path=str(folder / f"{side}.csv"), selected_keys=["id"], keys_unique=True),
        output_params=psi.OutputParams(path=str(folder / f"{side}.out"), disable_alignment=True),
    ), context)
    context.stop_link()


def voprf(size):
    command = ["cargo", "run", "--release", "--quiet", "--manifest-path", str(HERE / "voprf/Cargo.toml"), "--"]
    subprocess.run(command[:1] + ["build"] + command[2:-1], check=True)
    cpu, wall = spent(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command + [str(size)], check=True)
    cpu, wall = spent(resource.RUSAGE_CHILDREN) - cpu, time.perf_counter() - wall
    sent = 64 * size + 64
    show("voprf crate", size, cpu, wall, sent, "evaluations with a batched proof; no snapshot, no look-up")


def tally(program, size):
    with tempfile.TemporaryDirectory() as folder:
        data = ["--dir", f"{folder}/data", "--ours", str(size), "--theirs", str(size)]
        make = [program, "datagen", *data, "--overlap", str(size // 10), "--seed", "1"]
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
        ran = subprocess.run([
            program, "try", "--json", "--quiet", "--dir", f"{folder}/try", "--key", "document=document,state",
            "--ours", f"{folder}/data/ours.csv", "--theirs", f"{folder}/data/theirs.csv",
        ], check=True, capture_output=True, text=True)
    report = json.loads(ran.stdout)
    cpu = report["ours"]["cpu_seconds"] + report["theirs"]["cpu_seconds"]
    wall = report["seconds"]["publish"] + report["seconds"]["session"]
    sent = report["bytes"]["sent"] + report["bytes"]["received"]
    note = f"kernel {report['kernel']}; every evaluation proven and verified, publishing included"
    show("tally", size, cpu, wall, sent, note)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=1 << 16)
    parser.add_argument("--tally", default=str(ROOT / "target/release/tally"))
    parser.add_argument("--only", choices=["openmined", "spu", "voprf", "tally"])
    parser.add_argument("--venv", type=Path, default=Path(tempfile.gettempdir()) / "tally-compare")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.task:
        return {"openmined": openmined, "spu": spu}[args.task](args.size)
    runs = {
        "openmined": lambda: in_venv(args.venv, "openmined-psi", "openmined", args.size),
        "spu": lambda: in_venv(args.venv, "spu", "spu", args.size),
        "voprf": lambda: voprf(args.size),
        "tally": lambda: tally(args.tally, args.size),
    }
    for name, run in runs.items():
        if args.only in (None, name):
            try:
                run()
            except subprocess.CalledProcessError as error:
                print(f"FAILED: {name}: {error}", file=sys.stderr)


os.environ.setdefault("PIP_DISABLE_PIP_VERSION_CHECK", "1")
main()
