"""`load("digits")` and its larger siblings, one word each.

The digits come with scikit-learn. The others are read from the folder ROBUSTCOURSE_DATA where it holds them, else
downloaded once by pooch; either way every file must match its published checksum. Nothing is ever unpickled: the
formats are plain bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import tarfile
from pathlib import Path

import numpy as np
import pooch
import requests
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from robustcourse.data.dataset import Dataset, Split
from robustcourse.runtime import device

NAMES = ("digits", "fashion_mnist", "mnist", "cifar10")

# Fashion-MNIST (Xiao, Rasul & Vollgraf 2017, arXiv:1708.07747) and MNIST (LeCun et al. 1998): gzipped IDX files.
IDX_URL = {
    "fashion-mnist": "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "mnist": "https://ossci-datasets.s3.amazonaws.com/mnist/",
}
IDX_SHA256 = {
    "fashion-mnist/train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "fashion-mnist/train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "fashion-mnist/t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "fashion-mnist/t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    "mnist/train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "mnist/train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "mnist/t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "mnist/t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}

# CIFAR-10 (Krizhevsky 2009): the archive of binary batches, and the batches in it.
CIFAR_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
CIFAR_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
CIFAR_BATCHES = {
    "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
}


def load(name: str) -> Dataset:
    """A data set by name, in memory, on the device of the course.

    Args:
        name: "digits" (1,437 + 360 images of 8×8, nothing to download), "mnist" or "fashion_mnist" (60,000 + 10,000 of
            28×28), "cifar10" (50,000 + 10,000 in colour, 32×32).

    Returns:
        Images (N, C, H, W) float32 in [0, 1], labels int64. The same call always gives the same split.

    Raises:
        ValueError: the name is unknown, a file does not match its checksum, or ROBUSTCOURSE_DATA is no folder.
        ConnectionError: a download found no network.
    """
    if name == "digits":
        train, test, source = *_digits(), "Alpaydin & Kaynak 1998, UCI optical recognition of handwritten digits"
    elif name == "mnist":
        train, test, source = _idx("mnist", "train"), _idx("mnist", "t10k"), "LeCun et al. 1998, MNIST"
    elif name == "fashion_mnist":
        train, test = _idx("fashion-mnist", "train"), _idx("fashion-mnist", "t10k")
        source = "Xiao, Rasul & Vollgraf 2017, Fashion-MNIST"
    elif name == "cifar10":
        *training, last = (_cifar_batch(batch) for batch in CIFAR_BATCHES)
        train, test = Split(torch.cat([s.x for s in training]), torch.cat([s.y for s in training])), last
        source = "Krizhevsky 2009, CIFAR-10"
    else:
        raise ValueError(f"name must be one of {', '.join(NAMES)}, got {name!r}")
    return Dataset(name, train, test, 10, source).to(device())


def _digits() -> tuple[Split, Split]:
    x, y = load_digits(return_X_y=True)
    parts = train_test_split(x / 16, y, test_size=360, random_state=0, stratify=y)
    x_train, x_test = (torch.from_numpy(part).float().view(-1, 1, 8, 8) for part in parts[:2])
    y_train, y_test = (torch.from_numpy(part).long() for part in parts[2:])
    return Split(x_train, y_train), Split(x_test, y_test)


def _idx(folder: str, part: str) -> Split:
    """IDX: a header of 16 bytes before images, of 8 before labels, then unsigned bytes."""
    images, labels = f"{part}-images-idx3-ubyte.gz", f"{part}-labels-idx1-ubyte.gz"
    x = np.frombuffer(gzip.decompress(_file(folder, images)), np.uint8, offset=16)
    y = np.frombuffer(gzip.decompress(_file(folder, labels)), np.uint8, offset=8)
    return _split(x.reshape(-1, 1, 28, 28), y)


def _file(folder: str, name: str) -> bytes:
    """A checked file: from ROBUSTCOURSE_DATA where that holds it, else downloaded."""
    path, sha256 = _local(folder, name), IDX_SHA256[f"{folder}/{name}"]
    if path is None:
        path = _download(IDX_URL[folder] + name, f"sha256:{sha256}", folder)
    return _checked(path.read_bytes(), sha256, path)


def _cifar_batch(name: str) -> Split:
    """Records of 3,073 bytes: the label, then the red, green and blue planes of 32×32."""
    path = _local("cifar10", name) or _local("cifar10", f"{name}.xz")
    if path is None:
        archive = _download(CIFAR_URL, f"md5:{CIFAR_MD5}", "cifar10")
        with tarfile.open(archive) as tar:
            member = tar.extractfile(f"cifar-10-batches-bin/{name}")
            assert member is not None  # the archive has matched its checksum
            path, content = archive, member.read()
    else:
        content = path.read_bytes()
        if path.suffix == ".xz":
            try:
                content = lzma.decompress(content)
            except lzma.LZMAError:
                content = b""  # which is no batch: the checksum says so
    records = np.frombuffer(_checked(content, CIFAR_BATCHES[name], path), np.uint8).reshape(-1, 3073)
    return _split(records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0])


def _split(x: np.ndarray, y: np.ndarray) -> Split:
    return Split(torch.from_numpy(x.astype(np.float32) / 255), torch.from_numpy(y.astype(np.int64)))


def _local(folder: str, name: str) -> Path | None:
    root = os.environ.get("ROBUSTCOURSE_DATA")
    if not root:
        return None
    if not Path(root).is_dir():
        raise ValueError(f"ROBUSTCOURSE_DATA={root!r} is no folder; unset it to download instead")
    path = Path(root, folder, name)
    return path if path.exists() else None


def _download(url: str, known_hash: str, folder: str) -> Path:
    """pooch keeps the file in the user's cache and moves it there only once it is whole and matches."""
    try:
        return Path(pooch.retrieve(url, known_hash, path=pooch.os_cache("robustcourse") / folder))
    except requests.RequestException as error:
        raise ConnectionError(
            f"could not download {url}; check the network, or set ROBUSTCOURSE_DATA to a folder that holds {folder}/"
        ) from error
    except ValueError as error:
        raise ValueError(f"the download of {url} does not match its checksum: cut off or changed; try again") from error


def _checked(content: bytes, sha256: str, path: Path) -> bytes:
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError(f"{path} does not match its checksum: corrupt or truncated; delete it and load again")
    return content
