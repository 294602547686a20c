"""Data: where they come from, what a network sees of them, and the batch of a step.

sources        data by name: built in, a file, a directory, a function of the user's
arrays         files .npy and .npz
folder         directories of images
tables         data of the library `datasets`
own            what a function of the user's returns
streams        batches that it returns, in place of data
mnist, cifar   public data sets from their files, which `download` fetches
rows, pictures samples that are read when they are asked for, and images among them
dataset        the samples, checked
images         what images with labels must be
units          between the data's units and what a network sees
widths         how wide the data are, for `ej.recommend`
batches        which samples a step reads
"""

from edmjax.training.data.batches import batch_indices, drop_labels
from edmjax.training.data.dataset import Dataset, Examples
from edmjax.training.data.mnist import load_mnist
from edmjax.training.data.sources import load_dataset
from edmjax.training.data.units import Units

__all__ = [
    "Dataset",
    "Examples",
    "Units",
    "batch_indices",
    "drop_labels",
    "load_dataset",
    "load_mnist",
]
