"""Networks that others trained, for samplers: a directory in, a denoiser out.

`load` reads what diffusers writes, and networks of NVlabs' EDM and EDM2 that were converted. It
returns a denoiser in Flax NNX with the process, the levels and the grid that its scheduler or its
preconditioning had.
"""

from edmjax._common.extras import missing

try:
    from edmjax.pretrained.autoencoder import Autoencoder, load_autoencoder
    from edmjax.pretrained.denoiser import Pretrained
    from edmjax.pretrained.loading import load
except ModuleNotFoundError as _err:
    raise missing(_err, "edmjax.pretrained", "train") from _err

__all__ = ["Autoencoder", "Pretrained", "load", "load_autoencoder"]


def __dir__() -> list[str]:
    return __all__
