"""Shards of gatlas are WebDataset's, and the other way round."""

import pytest

from gatlas import io
from gatlas.io.sets.captions import captions_beside
from gatlas.io.sets.inputs import list_columns, list_items
from gatlas.io.sets.shards import ShardWriter

webdataset = pytest.importorskip("webdataset")

OBJECTS = {f"set/o{number}": (b"atlas %d" % number, f"a chair, number {number}") for number in range(70)}


def test_webdataset_reads_a_shard_of_gatlas(tmp_path):
    with ShardWriter(tmp_path / "x.tar") as shard:
        for key, (atlas, text) in OBJECTS.items():
            shard.add(key, ".npz", atlas)
            shard.add(key, ".txt", text.encode())
    samples = webdataset.WebDataset(str(tmp_path / "x.tar"), shardshuffle=False)
    assert {each["__key__"]: (each["npz"], each["txt"].decode()) for each in samples} == OBJECTS


def test_gatlas_reads_a_shard_of_webdataset(tmp_path):
    with webdataset.TarWriter(str(tmp_path / "x.tar"), encoder=False) as shard:
        for key, (atlas, text) in OBJECTS.items():
            shard.write({"__key__": key, "npz": atlas, "txt": text.encode()})
    for _ in range(2):  # from its headers, and from the index that is kept then
        items = list_columns([str(tmp_path / "x.tar")])
        texts = captions_beside(items)
        assert {item.key: (io.read_item(item).data, *texts[i]) for i, item in enumerate(items)} == OBJECTS
    assert len(list_items([str(tmp_path / "x.tar")])) == len(OBJECTS)
