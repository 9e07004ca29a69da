"""Kill the smoke workflow at random times, go on, and compare what it ends with.

    python tests/attacks/kills.py --kills 30 --scratch DIR

One copy of the checkout builds Table 3 undisturbed. Another is killed again and again, half of the
times as a whole (SIGKILL to every process) and half of the times one job alone, and started anew;
once it is complete and kills are left, it begins from nothing. At the end both must hold the same
bytes, no finished run may have learned again, and nothing temporary may be left.

One thing may be left: Snakemake puts back a complete evaluation when a job that repeats it is
killed, and then sees no reason to call the evaluation again, which would remove its task folder.
Such folders are counted apart.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil

CHECKOUT = Path(__file__).parents[2]
COMMAND = ["snakemake", "table3", "--cores", "2", "--config", "preset=smoke"]
# Not compared, since they hold times or the machine: manifests, logs, what tracking recorded; nor
# the durations in rendered tables and their ratios.
RENDERED = (".md", ".html", ".tex")
TIMED = ("manifest.json", ".facts.json", ".log", ".tsv")
DURATION = re.compile(rb"\d+(?:\.\d+)? s\b|\xc3\x97\d+\.\d+|(?:\$\\times\$|&times;)\d+\.\d+")
PUT_BACK = ".lemon-tasks-*"
LEFT = ("*.partial", "*.unfinished.jsonl", "checkpoints", "*.gguf-*")
MADE = ("data", "runs", "results/smoke", "logs", ".snakemake", "mlartifacts", "mlflow.db")


def copied_checkout(folder: Path) -> Path:
    """A copy of every tracked file, without what was made."""
    listed = subprocess.run(
        ["git", "-C", str(CHECKOUT), "ls-files", "-z"], capture_output=True, check=True
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(CHECKOUT / name, target)
    return folder


def start(folder: Path, log: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(folder / "src"), "TMPDIR": str(folder / "tmp")}
    (folder / "tmp").mkdir(exist_ok=True)
    with log.open("ab") as file:
        return subprocess.Popen(
            COMMAND, cwd=folder, env=environment, stdout=file, stderr=file, start_new_session=True
        )


def kill_all(workflow: subprocess.Popen[bytes]) -> None:
    """End a workflow and every process that it started, as a power cut would."""
    try:
        root = psutil.Process(workflow.pid)
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        family = []
    for process in family:
        try:
            process.send_signal(signal.SIGSTOP)  # nobody reacts to the death of another
        except psutil.NoSuchProcess:
            continue
    for process in family:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    workflow.wait()


def kill_one_job(workflow: subprocess.Popen[bytes], draw: random.Random) -> bool:
    """End one `lemon` process of a workflow, if any runs."""
    try:
        family = psutil.Process(workflow.pid).children(recursive=True)
        jobs = [p for p in family if any(part.endswith("/lemon") for part in p.cmdline()[:3])]
        if jobs:
            draw.choice(jobs).kill()
        return bool(jobs)
    except psutil.NoSuchProcess:
        return False


def finished_runs(folder: Path) -> dict[str, str]:
    """By run that learned to its end: the digest of its events, times included."""
    return {
        manifest.parent.name: hashlib.sha256(
            manifest.with_name("metrics.jsonl").read_bytes()
        ).hexdigest()
        for manifest in folder.glob("runs/smoke/*/manifest.json")
        if json.loads(manifest.read_text())["stage"] == "learn"
    }


def results(folder: Path) -> dict[str, str]:
    """The sha256 of everything that a build ends with, but for what tells of time."""
    found = {}
    for top in ("data/smoke", "runs/smoke", "results/smoke"):
        for path in sorted((folder / top).rglob("*")):
            name = path.relative_to(folder).as_posix()
            if not path.is_file() or "/tracking/" in name or name.endswith((*TIMED, ".in-use")):
                continue
            if any(part.match(PUT_BACK) for part in path.parents):
                continue
            content = path.read_bytes()
            if name.endswith("metrics.jsonl"):
                events = [json.loads(line) for line in content.splitlines()]
                kept = [(e["step"], e["name"], e["value"]) for e in events]
                content = repr([e for e in kept if e[1] != "train/tokens_per_s"]).encode()
            if name.endswith(RENDERED):
                content = DURATION.sub(b"", content)
            found[name] = hashlib.sha256(content).hexdigest()
    return found


def left_over(folder: Path) -> list[str]:
    paths = [path for pattern in LEFT for top in MADE for path in (folder / top).rglob(pattern)]
    paths += [path for path in folder.glob(".*.partial")] + [
        path
        for path in (folder / "tmp").iterdir()
        if not path.name.startswith(("snakemake", "torchinductor"))
    ]
    return sorted({path.relative_to(folder).as_posix() for path in paths})


def attack(folder: Path, kills: int, draw: random.Random, log: Path) -> Counter[str]:
    """Build until `kills` have been dealt and the last build is complete."""
    counts: Counter[str] = Counter()
    finished: dict[str, str] = {}
    dealt = 0
    while True:
        workflow = start(folder, log)
        if dealt < kills:
            try:
                workflow.wait(draw.uniform(1, 25))
            except subprocess.TimeoutExpired:
                whole = dealt % 2 == 0 or not kill_one_job(workflow, draw)
                if whole:
                    kill_all(workflow)
                else:
                    time.sleep(draw.uniform(0, 2))
                    kill_all(workflow)
                dealt += 1
                counts["whole workflow" if whole else "one job, then the workflow"] += 1
                now = finished_runs(folder)
                counts["learned twice"] += sum(
                    now.get(run, state) != state for run, state in finished.items()
                )
                finished |= now
                print(f"kill {dealt} of {kills}, {len(finished)} runs learned", flush=True)
                continue
        code = workflow.wait()
        if code:
            sys.exit(f"the workflow failed with exit code {code}; its log is {log}")
        counts["builds"] += 1
        if dealt >= kills:
            now = finished_runs(folder)
            counts["learned twice"] += sum(now[run] != state for run, state in finished.items())
            return counts
        for name in MADE:
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        finished = {}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scratch", type=Path, required=True, help="new folder for both copies")
    arguments = parser.parse_args()
    scratch = arguments.scratch.resolve()
    scratch.mkdir(parents=True)
    undisturbed = copied_checkout(scratch / "undisturbed")
    if start(undisturbed, scratch / "undisturbed.log").wait():
        sys.exit(f"the undisturbed build failed; its log is {scratch / 'undisturbed.log'}")
    killed = copied_checkout(scratch / "killed")
    counts = attack(killed, arguments.kills, random.Random(arguments.seed), scratch / "killed.log")
    expected, found = results(undisturbed), results(killed)
    different = sorted(
        name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)
    )
    left = left_over(killed)
    put_back = sum(1 for _ in (killed / "runs").rglob(PUT_BACK))
    print(dict(counts))
    print(f"{put_back} task folders of evaluations that Snakemake put back")
    print(f"{len(expected)} files compared, {len(different)} differ: {different[:20]}")
    print(f"{len(left)} left over: {left[:20]}")
    return int(bool(different or left or counts["learned twice"]))


if __name__ == "__main__":
    sys.exit(main())
