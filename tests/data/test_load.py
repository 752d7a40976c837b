"""Loading: the digits as they are, tiny files in the real formats, and everything that can go wrong with a file."""

from __future__ import annotations

import gzip
import hashlib
import importlib
import io
import lzma
import os
import socket
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from robustcourse import load

loading = importlib.import_module("robustcourse.data.load")  # the package has a function of the same name


def sha256(content):
    return hashlib.sha256(content).hexdigest()


# --- digits ---


def test_digits_are_the_published_ones_split_into_two_parts_without_overlap():
    data = load("digits")
    assert (len(data.train), len(data.test), data.shape, data.classes) == (1437, 360, (1, 8, 8), 10)
    assert (data.train.x.dtype, data.train.y.dtype) == (torch.float32, torch.int64)
    assert data.train.x.min() == 0
    assert data.train.x.max() == 1
    x, y = load_digits(return_X_y=True)
    published = sorted(zip((x / 16).tolist(), y.tolist(), strict=True))  # all 1,797 images differ
    ours = [
        (image, label)
        for split in (data.train, data.test)
        for image, label in zip(split.x.flatten(1).tolist(), split.y.tolist(), strict=True)
    ]
    assert sorted(ours) == published


def test_each_digit_has_its_share_of_the_test_part():
    data = load("digits")
    train, test = data.train.y.bincount(), data.test.y.bincount()
    assert ((train + test) * 360 / 1797 - test).abs().max() < 1


def test_digits_are_the_same_every_time():
    first, again = load("digits"), load("digits")
    assert torch.equal(first.train.x, again.train.x)
    assert torch.equal(first.test.y, again.test.y)


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="name must be one of digits, fashion_mnist, mnist, cifar10, got 'imagenet'"):
        load("imagenet")


# --- tiny files in the real formats ---

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 784), dtype=np.uint8)
COLOURS = np.random.default_rng(1).integers(0, 256, (2, 3072), dtype=np.uint8)
LABELS = np.array([7, 0, 9], dtype=np.uint8)

IDX = {
    f"mnist/{part}-{kind}-ubyte.gz": gzip.compress(content)
    for part in ("train", "t10k")
    for kind, content in (("images-idx3", bytes(16) + PIXELS.tobytes()), ("labels-idx1", bytes(8) + LABELS.tobytes()))
}
BATCH = b"".join(bytes([label]) + image.tobytes() for label, image in zip(LABELS, COLOURS, strict=False))
BATCHES = dict.fromkeys(loading.CIFAR_BATCHES, BATCH)


def archive():
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name, batch in BATCHES.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(batch)
            tar.addfile(member, io.BytesIO(batch))
    return content.getvalue()


ARCHIVE = archive()


@pytest.fixture(autouse=True)
def tiny(monkeypatch, tmp_path):
    """The tiny files are the official ones, and nothing is kept outside of this test."""
    monkeypatch.setattr(loading, "IDX_SHA256", {name: sha256(content) for name, content in IDX.items()})
    monkeypatch.setattr(loading, "CIFAR_BATCHES", {name: sha256(content) for name, content in BATCHES.items()})
    monkeypatch.setattr(loading, "CIFAR_MD5", hashlib.md5(ARCHIVE).hexdigest())
    monkeypatch.setattr(loading.pooch, "os_cache", lambda project: tmp_path / "cache")
    monkeypatch.delenv("ROBUSTCOURSE_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """A folder for ROBUSTCOURSE_DATA, and no way to download."""
    monkeypatch.setenv("ROBUSTCOURSE_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(loading.pooch, "retrieve", lambda *_, **__: pytest.fail("read the local file instead"))
    return tmp_path / "data"


def write(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def is_mnist(data):
    assert data.shape == (1, 28, 28)
    for split in (data.train, data.test):
        assert split.y.tolist() == [7, 0, 9]
        assert torch.equal((split.x.flatten(1) * 255).round().byte().cpu(), torch.from_numpy(PIXELS))


def is_cifar(data):
    assert data.shape == (3, 32, 32)
    assert data.train.y.tolist() == [7, 0] * 5
    assert data.test.y.tolist() == [7, 0]
    for split in (data.train[:2], data.train[8:], data.test):
        assert torch.equal((split.x.flatten(1) * 255).round().byte().cpu(), torch.from_numpy(COLOURS))


def test_idx_files_are_read_from_a_local_folder(folder):
    write(folder, IDX)
    is_mnist(load("mnist"))


def test_fashion_mnist_has_a_folder_of_its_own(folder, monkeypatch):
    files = {name.replace("mnist/", "fashion-mnist/"): content for name, content in IDX.items()}
    monkeypatch.setattr(loading, "IDX_SHA256", {name: sha256(content) for name, content in files.items()})
    write(folder, files)
    is_mnist(load("fashion_mnist"))


@pytest.mark.parametrize(("ending", "pack"), [("", bytes), (".xz", lzma.compress)])
def test_cifar_batches_are_read_from_a_local_folder(folder, ending, pack):
    write(folder, {f"cifar10/{name}{ending}": pack(content) for name, content in BATCHES.items()})
    is_cifar(load("cifar10"))


def flipped(content):
    return content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]


DAMAGE = pytest.mark.parametrize(
    "damage", [flipped, lambda c: c[: len(c) // 2], lambda c: b""], ids=["bit", "cut", "empty"]
)


@DAMAGE
def test_a_damaged_local_idx_file_is_named(folder, damage):
    name = "mnist/t10k-labels-idx1-ubyte.gz"
    write(folder, IDX | {name: damage(IDX[name])})
    with pytest.raises(
        ValueError, match=r"t10k-labels-idx1-ubyte\.gz does not match its checksum: corrupt or truncated"
    ):
        load("mnist")


@DAMAGE
@pytest.mark.parametrize(("ending", "pack"), [("", bytes), (".xz", lzma.compress)])
def test_a_damaged_local_cifar_batch_is_named(folder, damage, ending, pack):
    files = {f"cifar10/{name}{ending}": pack(content) for name, content in BATCHES.items()}
    name = f"cifar10/data_batch_3.bin{ending}"
    write(folder, files | {name: damage(files[name])})
    with pytest.raises(
        ValueError, match=rf"data_batch_3\.bin{ending} does not match its checksum: corrupt or truncated"
    ):
        load("cifar10")


# --- downloads, from a server on this machine ---


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def send_response(self, code, message=None):
        self.server.answers.append(code)
        super().send_response(code, message)


class CutsOff(Quiet):
    """Promises a whole file and hangs up half way."""

    def copyfile(self, source, outputfile):
        content = source.read()
        outputfile.write(content[: len(content) // 2])


@pytest.fixture
def serve(monkeypatch, tmp_path):
    """serve(files): a server that has these files, and is the place they are downloaded from."""
    started = []

    def start(files, handler=Quiet):
        write(tmp_path / "server", files)
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=tmp_path / "server"))
        server.answers = []
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        started.append(server)
        base = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(loading, "IDX_URL", {"mnist": f"{base}/mnist/"})
        monkeypatch.setattr(loading, "CIFAR_URL", f"{base}/cifar.tar.gz")
        return server

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


def test_files_are_downloaded_once_and_kept(serve):
    server = serve(IDX)
    is_mnist(load("mnist"))
    assert server.answers == [200] * 4
    is_mnist(load("mnist"))
    assert len(server.answers) == 4


def test_the_cifar_archive_is_downloaded_and_read_without_unpacking(serve, tmp_path):
    serve({"cifar.tar.gz": ARCHIVE})
    is_cifar(load("cifar10"))
    assert len([path for path in (tmp_path / "cache").rglob("*") if path.is_file()]) == 1


def test_a_local_folder_that_lacks_the_files_is_filled_up_by_a_download(serve, monkeypatch, tmp_path):
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("ROBUSTCOURSE_DATA", str(tmp_path / "empty"))
    serve(IDX)
    is_mnist(load("mnist"))


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
@pytest.mark.parametrize("what", ["nothing", "a file"])
def test_a_local_folder_that_is_none_is_named_and_nothing_is_downloaded(name, what, monkeypatch, tmp_path):
    (tmp_path / "a file").touch()
    monkeypatch.setenv("ROBUSTCOURSE_DATA", str(tmp_path / what))
    monkeypatch.setattr(loading.pooch, "retrieve", lambda *_, **__: pytest.fail("complain instead"))
    with pytest.raises(ValueError, match=rf"ROBUSTCOURSE_DATA='.*{what}' is no folder; unset it to download instead"):
        load(name)


def test_a_download_with_other_content_is_refused_and_not_kept(serve, tmp_path):
    serve({name: flipped(content) for name, content in IDX.items()})
    with pytest.raises(ValueError, match=r"the download of http.*train-images.* does not match its checksum: cut off"):
        load("mnist")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    serve(IDX)
    is_mnist(load("mnist"))


def test_a_download_that_is_cut_off_is_refused_and_the_next_one_works(serve, tmp_path):
    serve(IDX, CutsOff)
    with pytest.raises((ValueError, ConnectionError), match=r"download.*train-images"):
        load("mnist")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    serve(IDX)
    is_mnist(load("mnist"))


def test_a_kept_file_that_went_bad_is_downloaded_again(serve, tmp_path):
    server = serve(IDX)
    load("mnist")
    for path in (tmp_path / "cache").rglob("*.gz"):
        path.write_bytes(b"rotten")
    is_mnist(load("mnist"))
    assert len(server.answers) == 8


def test_a_server_without_the_file_is_named(serve):
    serve({})
    with pytest.raises(ConnectionError, match=r"could not download http.*train-images.*; check the network"):
        load("mnist")


def test_without_a_network_the_error_says_what_to_do(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]  # nobody listens there once it is closed
    monkeypatch.setattr(loading, "CIFAR_URL", f"http://127.0.0.1:{port}/cifar.tar.gz")
    message = r"could not download http.*; check the network, or set ROBUSTCOURSE_DATA to a folder that holds cifar10/"
    with pytest.raises(ConnectionError, match=message):
        load("cifar10")


# --- the real files ---

REAL = os.environ.get("ROBUSTCOURSE_DATA")


@pytest.mark.skipif(not REAL, reason="set ROBUSTCOURSE_DATA to a folder with mnist/, fashion-mnist/ and cifar10/")
@pytest.mark.parametrize(
    ("name", "sizes", "shape", "mean"),
    [
        # The means of all training pixels, as they are quoted everywhere.
        ("mnist", (60_000, 10_000), (1, 28, 28), [0.1307]),
        ("fashion_mnist", (60_000, 10_000), (1, 28, 28), [0.2860]),
        ("cifar10", (50_000, 10_000), (3, 32, 32), [0.4914, 0.4822, 0.4465]),
    ],
)
def test_the_real_files_are_what_they_are_known_to_be(name, sizes, shape, mean, monkeypatch):
    monkeypatch.undo()  # the tiny files' checksums
    data = load(name)
    assert ((len(data.train), len(data.test)), data.shape, data.classes) == (sizes, shape, 10)
    assert data.train.x.mean((0, 2, 3)).tolist() == pytest.approx(mean, abs=1e-4)
    assert set(data.test.y.bincount().tolist()) == {1000} or name == "mnist"
