"""Writes a network of NVlabs' EDM or EDM2 as a directory that `ej.pretrained.load` reads.

    python convert_edm.py NETWORK.pkl DIRECTORY --code EDM

It runs in an environment of your own, with torch and safetensors; edmjax is not needed. EDM is a
checkout of github.com/NVlabs/edm or github.com/NVlabs/edm2. Reading a pickle runs whatever code is
in it: convert only files that you trust. The authors' code and weights are under CC BY-NC-SA 4.0,
and so is what this makes of them: not for commercial use.

The directory gets `config.json`, with the arguments of the preconditioning and of the network, and
`diffusion_pytorch_model.safetensors`. A network of another file is converted by

    convert_edm.convert(net, "directory")

where `net` is an instance of EDMPrecond, VPPrecond, VEPrecond or iDDPMPrecond, or of EDM2's Precond
(take the average, `ema`). Its dtype is kept.
"""

import argparse
import inspect
import json
import math
import pathlib
import pickle
import sys

from safetensors.torch import save_file

KINDS = ("EDMPrecond", "VPPrecond", "VEPrecond", "iDDPMPrecond", "Precond")
# A network is given these by its preconditioning.
GIVEN = ("img_resolution", "img_channels", "in_channels", "out_channels", "label_dim")


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("network", help="pickle of a network")
    parser.add_argument("directory", help="directory to write")
    parser.add_argument("--code", help="checkout of the authors' code")
    parser.add_argument("--key", default="ema", help="the network's name in the pickle")
    args = parser.parse_args()
    if args.code:
        sys.path.insert(0, args.code)
    with open(args.network, "rb") as file:
        found = pickle.load(file)
    if args.key not in found:
        sys.exit(f"{args.network} has no {args.key!r}: it has {', '.join(map(str, found))}.")
    convert(found[args.key], args.directory, found.get("encoder"))


def convert(net, directory, encoder=None):
    """Writes the configuration and the arrays of `net`; `encoder` is the one of EDM2's pickles."""
    config = configuration(net, encoder)
    folder = pathlib.Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {name: array.detach().cpu().contiguous() for name, array in net.state_dict().items()}
    save_file(arrays, folder / "diffusion_pytorch_model.safetensors")
    text = json.dumps(plain(config), indent=2, allow_nan=False)
    (folder / "config.json").write_text(text + "\n")
    print(f"{folder}: {config['_class_name']} with {len(arrays)} arrays")


def configuration(net, encoder=None):
    """The class of a preconditioning, its arguments, and those of the network that it holds."""
    name = own_class(net).__name__
    if name not in KINDS:
        raise ValueError(f"This converts {', '.join(KINDS)}, got a {name}.")
    config: dict = {"_class_name": name}
    inner = net.unet if name == "Precond" else net.model
    if name != "Precond":
        config["model_type"] = own_class(inner).__name__
    # Blocks have defaults of their own, which the network does not repeat.
    blocks = [m for m in inner.modules() if own_class(m).__name__ == "Block"]
    options = [key for key in ("resample_filter", "channels_per_head", "dropout") if blocks]
    options += ["res_balance", "attn_balance", "clip_act"] if blocks else []
    config |= {key: arguments(blocks[0])[key] for key in options}
    config |= {key: value for key, value in arguments(inner).items() if key not in GIVEN}
    config |= arguments(net)
    if encoder is not None and hasattr(encoder, "scale"):  # of latents, StabilityVAEEncoder
        config["latents"] = {
            "vae_name": encoder.vae_name,
            "scale": [float(value) for value in encoder.scale],
            "bias": [float(value) for value in encoder.bias],
        }
    return config


def own_class(module):
    """The class as its author wrote it: pickled modules are of one that is derived from it."""
    name = getattr(type(module), "_orig_class_name", type(module).__name__)
    return next(kind for kind in type(module).__mro__[::-1] if kind.__name__ == name)


def arguments(module):
    """All arguments that a module was made with, the defaults among them."""
    if not hasattr(module, "init_kwargs"):
        raise ValueError(
            f"A {type(module).__name__} does not know the arguments that it was made with: make it "
            "with the authors' classes, which keep them."
        )
    signature = inspect.signature(own_class(module).__init__)
    bound = signature.bind(None, *module.init_args, **module.init_kwargs)
    bound.apply_defaults()
    found = dict(bound.arguments)
    del found["self"]
    for parameter in signature.parameters.values():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            found |= found.pop(parameter.name)
    return found


def plain(value):
    """`value` as JSON has it; an infinite number, no bound, is null."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if value is None or isinstance(value, (bool, str)):
        return value
    number = float(value)
    if math.isinf(number):
        return None
    return int(number) if isinstance(value, int) or hasattr(value, "__index__") else number


if __name__ == "__main__":
    main()
