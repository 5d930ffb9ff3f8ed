"""Batches of plain text: padding and statements are out of the loss, every document is used once."""

import random

from sft.pretrain import batches


def test_batches_mask_statements_and_padding_and_use_every_document_once():
    rng = random.Random(0)
    documents = [([i + 10] * rng.randrange(3, 30), 2) for i in range(100)]
    seen = []
    for batch in batches(documents, 128, 0, seed=0):
        ids, mask, labels = (batch[key] for key in ("input_ids", "attention_mask", "labels"))
        assert ids.numel() <= 128
        assert (labels[:, :2] == -100).all() and (labels[mask == 0] == -100).all() and (ids[mask == 0] == 0).all()
        assert (labels[:, 2:][mask[:, 2:] == 1] == ids[:, 2:][mask[:, 2:] == 1]).all()
        seen += [(row[0].item(), int(length)) for row, length in zip(ids, mask.sum(1), strict=True)]
    assert sorted(seen) == [(ids[0], len(ids)) for ids, _ in documents]
