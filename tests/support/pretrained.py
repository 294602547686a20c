"""What tests of pretrained networks and the script of their goldens share; it imports no torch.

Every array of a network is redrawn, from the counter-based generator of its name: a golden then
holds a configuration, inputs and outputs, and no weights.
"""

import functools
import hashlib
import json
import pathlib

import numpy as np

# What flax and safetensors are needed for is imported where it is used: the script has neither.

GOLDEN = pathlib.Path(__file__).parents[1] / "pretrained" / "golden"


def normal(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal numbers of this name."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    return np.random.Generator(np.random.Philox(key=seed)).standard_normal(shape)


def redrawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The array of a file with this name and shape, so that activations stay of order 1."""
    if name == "u":  # the levels of an iDDPM network, and the zero behind them
        return np.append(np.geomspace(100, 0.01, shape[0] - 1), 0)
    draw = np.asarray(normal(name, shape))
    if len(shape) == 1:
        return 1 + 0.2 * draw if name.endswith("weight") else 0.2 * draw
    is_table = "class_embedding.weight" in name or "embedding_table" in name
    return draw if is_table else draw / np.sqrt(np.prod(shape[1:]))


@functools.cache
def golden(case: str) -> dict:
    """The configuration, the inputs and the outputs of a case; images are channels first."""
    with np.load(GOLDEN / f"{case}.npz") as file:
        arrays = {name: file[name] for name in file.files}
    return {"config": json.loads(str(arrays.pop("config"))), **arrays}


def cases(kind: str) -> list[str]:
    return sorted(path.stem for path in GOLDEN.glob(f"{kind}*.npz"))


@functools.cache
def _shapes(text: str) -> dict:
    """The shapes of the arrays of a module, by name."""
    from edmjax.pretrained import building

    _, make = building.build(json.loads(text), "config.json")
    return building.shapes_of(make, "config.json")[1]


def arrays_of(config: dict, *, old: bool = False) -> dict[str, np.ndarray]:
    """The redrawn arrays of a network as a file has them, under their older names with `old`."""
    from edmjax.pretrained import names

    found = {}
    for name, leaf in _shapes(json.dumps(config)).items():
        new = names.in_file(name)
        array = redrawn(new, names.shape_in_file(name, leaf.shape))
        found[(names.formerly(new) if old else None) or new] = array
    return found


def save(folder, config, dtype=np.float64, *, variant="", shards=0, old=False):
    """Writes a network: its configuration and its redrawn arrays, in one file or in shards."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    arrays = {k: np.array(v, dtype, order="C") for k, v in arrays_of(config, old=old).items()}
    stem, end = "diffusion_pytorch_model", f".{variant}" if variant else ""
    if not shards:
        save_file(arrays, folder / f"{stem}{end}.safetensors")
        return
    names = list(arrays)
    parts = {
        f"{stem}{end}-{i + 1:05}-of-{shards:05}.safetensors": names[i::shards]
        for i in range(shards)
    }
    for file, held in parts.items():
        save_file({name: arrays[name] for name in held}, folder / file)
    weight_map = {name: file for file, held in parts.items() for name in held}
    index = folder / f"{stem}.safetensors.index{end}.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def save_pipeline(root, config, scheduler, **how):
    """Writes a pipeline of one network, `unet` or `transformer`, and a scheduler."""
    part = "unet" if config["_class_name"].startswith("UNet") else "transformer"
    save(root / part, config, **how)
    index = {"_class_name": "DDIMPipeline", part: ["diffusers", config["_class_name"]]}
    index["scheduler"] = ["diffusers", scheduler["_class_name"]]
    (root / "model_index.json").write_text(json.dumps(index))
    (root / "scheduler").mkdir(exist_ok=True)
    (root / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
