"""Decompression bombs: small files that declare or decompress to large data.

As a script, reads every file under a memory limit and prints messages, memory and time as JSON.
"""

import gzip
import json
import resource
import struct
import sys
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np

ROOM = 3 * 2**29  # bytes of address space in addition to those of the imports
MB = 2**20


def zeros(megabytes: int, header: bytes = b"", byte: bytes = b"\0") -> bytes:
    """A gzip file of a header and a repeated byte."""
    packed = zlib.compressobj(1, zlib.DEFLATED, 31)
    block = byte * MB
    return b"".join([packed.compress(header), *(packed.compress(block) for _ in range(megabytes)), packed.flush()])


def idx_head(*shape: int) -> bytes:
    return b"\0\0\x08" + bytes([len(shape)]) + struct.pack(f">{len(shape)}I", *shape)


def npy_head(dtype: str, shape: tuple[int, ...], padding: int = 0, version: bytes = b"\2\0") -> bytes:
    text = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode() + b" " * padding + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<I" if version == b"\2\0" else "<H", len(text)) + text


def npz(path: Path, head: bytes, megabytes: int = 0, name: str = "x_train.npy", **options: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        info = zipfile.ZipInfo(name)
        info.compress_type = options.get("kind", zipfile.ZIP_DEFLATED)
        with archive.open(info, "w", force_zip64=True) as member:
            member.write(head)
            for _ in range(megabytes):
                member.write(bytes(MB))
        for rest in ("y_train", "x_test", "y_test"):
            archive.writestr(f"{rest}.npy", npy_head("|u1", (0,)))
    return path


def sparse(path: Path, size: int, head: bytes = b"") -> Path:
    with path.open("wb") as file:
        file.write(head)
        file.truncate(size)
    return path


def saved(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def header(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def many_names(path: Path, count: int) -> Path:
    """An archive with ``count`` members in its central directory, all at one offset."""
    entry = struct.pack("<4s6H3I5H2I", b"PK\1\2", *[20] * 2, *[0] * 4, *[0] * 3, 1, *[0] * 4, 0, 0) + b"a"
    size = count * len(entry)
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count % 2**16, count % 2**16, size, 0, 0)
    return saved(path, entry * count + end)


def tensors(count: int) -> bytes:
    entry = '"a{}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'
    return header(("{" + ",".join(entry.format(i) for i in range(count)) + "}").encode())


def bombs(folder: Path) -> dict:
    """Returns the reader and the path of each bomb. Readers are imported before the memory limit is set."""
    from jaxnets import data, weights

    at = lambda name: folder / name
    labels = np.array(["a" * 100_000] * 20)
    one = {"x_train": np.zeros((20, 2), np.float32), "x_test": np.zeros((2, 2), np.float32)}
    np.savez_compressed(at("labels"), **one, y_train=labels, y_test=labels[:2])
    np.savez_compressed(at("name"), **{k: v.astype("u1")[..., None] for k, v in one.items()}, y_train=np.arange(20) % 2,
                        y_test=np.arange(2), classes=np.array(["b", "c" * (MB * 25)]))  # fmt: skip
    terabyte = f'{{"a":{{"dtype":"U8","shape":[{2**40}],"data_offsets":[0,{2**40}]}}}}'.encode()
    files = {
        "IDX, 256 MB in 256 KB": (data.read_idx, saved(at("a.gz"), zeros(256, idx_head(3)))),
        "IDX, zeros after its end": (data.read_idx, sparse(at("b.gz"), 2**40, gzip.compress(idx_head(3) + b"abc"))),
        "IDX of 2^64 bytes": (data.read_idx, saved(at("c"), idx_head(2**32 - 1, 2**32 - 1))),
        "IDX of 1 TB, sparse": (data.read_idx, sparse(at("d"), 2**40 + 12, idx_head(2**20, 2**20))),
        "pairs, 64 MB in 64 KB": (data.read_pairs, saved(at("e.gz"), zeros(64, byte=b"a"))),
        "pairs, one line of 20 MB": (data.read_pairs, saved(at("f"), b"a\tb\n" + b"a" * 20 * MB)),
        "pairs of 1 TB, sparse": (data.read_pairs, sparse(at("g"), 2**40)),
        "a table, 64 MB in 64 KB": (data.table, saved(at("ta.gz"), zeros(64, byte=b"a"))),
        "a table of 1 TB, sparse": (data.table, sparse(at("tb"), 2**40)),
        "a table, one line of 20 MB": (data.table, saved(at("tc"), b"," * 20 * MB)),
        "a table, one row of lines": (data.table, saved(at("td"), b"a,b\n" + b'"\n",' * 5 * MB)),
        "npz, 64 MB in 64 KB": (data.series, npz(at("h"), npy_head("<f4", (3, 2)), 64)),
        "npz of 10^12": (data.series, npz(at("i"), npy_head("<f4", (10**6, 10**6)))),
        "npz, head of 4 GB": (data.series, npz(at("j"), b"\x93NUMPY\2\0\xff\xff\xff\xff", 64)),
        "npz, head of 64 KB": (data.series, npz(at("k"), npy_head("<f4", (3, 2), 60_000))),
        "npz of a million names": (data.series, many_names(at("l"), 10**6)),
        "npz in LZMA": (data.series, npz(at("m"), npy_head("<f4", (3, 2)), 1, kind=zipfile.ZIP_LZMA)),
        "npz, labels of 100,000 characters": (data.series, at("labels.npz")),
        "npz, a class name of 25 MB": (data.image_arrays, at("name.npz")),
        "text of 1 TB, sparse": (data.text, sparse(at("n"), 2**40)),
        "safetensors, header of 2^60": (weights.read, saved(at("o"), struct.pack("<Q", 2**60) + b"{}")),
        "safetensors, header of 100 MB": (weights.read, saved(at("p"), header(b"[" * 100_000_000))),
        "safetensors, 10^6 arrays": (weights.read, saved(at("q"), tensors(10**6))),
        "safetensors of 1 TB, sparse": (weights.read, sparse(at("r"), 2**40 + 8 + len(terabyte), header(terabyte))),
        "a name of 10^6 dots": (weights.read, saved(at("s"), header(
            b'{"' + b"." * 10**6 + b'":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'))),
        "zip of a million names as weights": (weights.read, many_names(at("t"), 10**6)),
    }  # fmt: skip
    return files


def long_texts(folder: Path) -> dict:
    """Readers and long files that must need time and memory linear in their length."""
    from jaxnets import data

    at = lambda name: folder / name
    noise = np.random.default_rng(0).integers(97, 123, 2 * MB, np.uint8).tobytes()
    code_points = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))
    labels = np.arange(10**6)
    np.savez(at("labels"), x_train=np.zeros((10**6, 1), np.float32), y_train=labels.astype(str),
             x_test=np.zeros((2, 1), np.float32), y_test=labels[:2].astype(str))  # fmt: skip
    pieces = lambda path: data.read(path, "piece", 512)
    return {
        "pieces of a word of 2 MB": (pieces, saved(at("word"), noise)),
        "pieces of one letter, 2 MB": (pieces, saved(at("letter"), b"a" * 2 * MB)),
        "pieces of a line of 3 MB": (pieces, saved(at("line"), b"some words " * (MB // 4))),
        "pieces of 256 KB of new lines": (pieces, saved(at("lines"), b"\n" * (MB // 4))),
        "1,112,064 characters": (lambda path: data.read(path, "character"), saved(at("all"), code_points.encode())),
        "30 MB of characters": (lambda path: data.read(path, "character"), saved(at("z"), b"a" * 30 * MB)),
        "a million classes": (data.series, at("labels.npz")),
    }


def memory_now() -> int:
    """Returns the resident memory in MB; also resets the peak that the kernel records."""
    Path("/proc/self/clear_refs").write_text("5")
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // MB


def memory_peak() -> int:
    """Returns the highest resident memory in MB since ``memory_now``."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) // 1024


def main(kind: str, folder: Path) -> None:
    from jaxnets import data

    data.learn_pieces(["a"], 256).encode("a")  # modules are imported at the first use
    files = {"bombs": bombs, "long_texts": long_texts}[kind](folder)
    if kind == "bombs":
        sys.modules["jaxnets.data.sources.pairs"].MAX_BYTES = 32 * MB  # a smaller bomb is sufficient
        sys.modules["jaxnets.data.formats.csv_records"].MAX_BYTES = 32 * MB
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + ROOM, size + ROOM))
    results = {}
    for name, (read, path) in files.items():
        before, begin = memory_now(), time.process_time()
        try:
            read(str(path))
            message = "read"
        except BaseException as error:
            message = str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
        seconds = round(time.process_time() - begin, 2)
        results[name] = {"message": message, "MB": memory_peak() - before, "seconds": seconds}
    print(json.dumps(results))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
