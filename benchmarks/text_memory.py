"""Peak memory and speed of `lemon prepare text` on a synthetic JSONL file, in fresh processes.

The promise: peak resident memory < 1 GB, whatever the size of the file.

    python benchmarks/text_memory.py --gigabytes 4 --sequences 40000 --threads 1 2

Words are those of the source's tokenizer, frequent ones more often, one in ten a compound that it
does not know. Documents have 6 kB on average, the longest some hundred times as much. The numbers
of threads are measured one after the other: on a busy machine their ratio says little.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from lemon.data.fetch.archive import AssetFiles
from lemon.data.fetch.assets import LockedAsset, snapshot_digest, write_lock

PROMISE = 1e9
WORD_START = "Ġ"  # of the tokens that begin a word
COMPOUNDS = 0.1  # of the words
LONG_TEXT = 10_000_000  # words
DOCUMENT, SPREAD = 3_000, 1.2  # median characters and sigma of a log-normal distribution
PREPARE = (
    "import sys; from pathlib import Path; "
    "from lemon.configuration.preset import TextSettings; "
    "from lemon.data.fetch.assets import read_lock; "
    "from lemon.data.text.domains import prepare_text; "
    "settings, source, cache, out = sys.argv[1:]; "
    "prepare_text(TextSettings.model_validate_json(settings), source=Path(source), seed=0, "
    "lock=read_lock(Path(cache, 'lock.json')), cache=Path(cache), out=Path(out))"
)


def write_documents(file: Path, size: float, tokenizer: Path) -> None:
    """Random documents, one a line, until the file has so many bytes: parts of one long text."""
    draw = np.random.default_rng(0)
    ids = Tokenizer.from_file(str(tokenizer)).get_vocab()
    known = sorted((id, token[1:]) for token, id in ids.items() if token[0] == WORD_START)
    words = np.array([word for _, word in known if word.isascii() and word.isalpha()], dtype=object)
    frequency = 1 / np.arange(10, len(words) + 10)
    drawn = draw.choice(words, LONG_TEXT, p=frequency / frequency.sum())
    compound = draw.random(LONG_TEXT) < COMPOUNDS
    drawn[compound] += draw.choice(words, compound.sum())
    text = " ".join(drawn)
    with file.open("w", encoding="utf-8") as lines:
        while lines.tell() < size:
            lengths = np.exp(draw.normal(np.log(DOCUMENT), SPREAD, 1000)).astype(int) + 1
            for length, start in zip(lengths, draw.integers(len(text), size=1000), strict=True):
                lines.write(json.dumps({"text": text[start : start + length]}) + "\n")


def measure(folder: Path, source: Path, sequences: int, threads: int) -> dict[str, float]:
    """Prepare the text of `folder` in a process of its own: peak in bytes, time in s, tokens."""
    settings = {
        "sequence_length": 2048,
        "train_sequences": sequences,
        "heldout_sequences": 100,
        "domains": {"synthetic": {"asset": "synthetic", "reader": "jsonl", "weight": 1.0}},
    }
    command = [sys.executable, "-c", PREPARE, json.dumps(settings), source, folder, folder / "out"]
    environment = {**os.environ, "RAYON_NUM_THREADS": str(threads)}
    subprocess.run(list(map(str, command)), check=True, env=environment)
    manifest = json.loads((folder / "out" / "manifest.json").read_text())
    splits = manifest["domains"]["synthetic"]["splits"]
    return {
        "peak": manifest["peak_memory_bytes"],
        "seconds": manifest["wall_s"],
        "tokens": splits["train"]["tokens"],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, default=Path("data/laptop/source"))
    parser.add_argument("--gigabytes", type=float, default=0.1, help="size of the file")
    parser.add_argument("--sequences", type=int, default=1_000_000, help="to train on, at most")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="to measure")
    parser.add_argument("--scratch", type=Path, help="folder with room for three times the size")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as name:
        folder = Path(name)
        (folder / "files").mkdir()
        file = folder / "files" / "synthetic.jsonl"
        write_documents(file, arguments.gigabytes * 1e9, arguments.source / "tokenizer.json")
        digest, size = snapshot_digest(AssetFiles(file.parent)), file.stat().st_size
        entry = LockedAsset("hub", "synthetic/text", "1", digest, size, "files", (), "none")
        write_lock(folder / "lock.json", {"synthetic": entry})
        peaks = []
        for threads in arguments.threads:
            found = measure(folder, arguments.source, arguments.sequences, threads)
            peaks.append(found["peak"])
            print(
                f"{size / 1e9:.2f} GB, {threads} threads: peak {found['peak'] / 1e6:.0f} MB, "
                f"{found['seconds']:.0f} s, {found['tokens'] / 1e6:.1f} million training tokens"
            )
    return max(peaks) >= PROMISE


if __name__ == "__main__":
    sys.exit(main())
