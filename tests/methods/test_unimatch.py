"""UniMatch V1: two strong views and perturbed features against the specification."""

import copy

import pytest
import torch
from torch.nn import functional as F

from igl_dt.methods.unimatch import UniMatch, UniMatchParameters, decode_with_dropout

THRESHOLD = 0.7


def expected(network, batch, by_hand):
    network, seed = copy.deepcopy(network), 5
    with torch.no_grad():
        partner = network.eval()(batch.weak).logits.softmax(1).max(1)
        network.train()
        encoded = network.encode(torch.cat([batch.images, batch.weak]))
        torch.manual_seed(seed)
        dropped = [x * F.dropout2d(torch.ones_like(x), 0.5) for x in encoded.features]
        stacked = [torch.cat(pair) for pair in zip(encoded.features, dropped, strict=True)]
        logits = network.decode(encoded._replace(features=stacked)).logits
        views = [by_hand.mix(view, boxes) for view, boxes in zip(batch.strong, batch.cutmix, strict=True)]
        strong = network(torch.cat(views)).logits
    confidence, labels = logits[3:6].softmax(1).max(1)
    partners = [torch.stack([part[index - 1] for index in range(3)]) for part in partner]
    terms = {"supervised": by_hand.cross_entropy(logits[:3], batch.masks) / 2}
    for view, boxes in enumerate(batch.cutmix):
        loss = by_hand.confident_loss(
            strong[3 * view : 3 * view + 3],
            by_hand.paste(labels, boxes, partners[1]),
            by_hand.paste(confidence, boxes, partners[0]),
            by_hand.mix(batch.padding, boxes),
            THRESHOLD,
        )
        terms[f"strong_view_{view + 1}"] = 0.25 * loss / 2
    perturbed = by_hand.confident_loss(logits[9:], labels, confidence, batch.padding, THRESHOLD)
    terms["feature_view"] = 0.5 * perturbed / 2
    return terms, network.state_dict()


def test_losses_are_those_of_the_specification(normed_network, make_batch, make_method, by_hand) -> None:
    network, batch = normed_network(1), make_batch(views=2, count=3)
    wanted, statistics = expected(network, batch, by_hand)
    method = make_method(UniMatch, {"student": network}, confidence_threshold=THRESHOLD).train()
    torch.manual_seed(5)
    terms = {name: term.item() for name, term in method(batch, 0).items()}
    assert terms == pytest.approx(wanted, rel=1e-9)
    assert terms["strong_view_1"] != terms["strong_view_2"]
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, statistics[name], rtol=1e-12, atol=1e-12)


def test_clean_features_stay_as_they_are_and_only_the_outer_ones_are_perturbed(normed_network) -> None:
    torch.manual_seed(0)  # of a few channels, dropout may else take all
    network = normed_network(1).eval()
    seen = []
    decode = network.decode
    network.decode = lambda encoded: seen.append(encoded) or decode(encoded._replace(features=encoded.features[::2]))
    network.encode = lambda images: (
        type(network)
        .encode(network, images)
        ._replace(features=[(f := type(network).encode(network, images).features)[0], f[0], f[1]])
    )
    images = torch.randint(0, 256, (2, 3, 6, 8), dtype=torch.uint8)
    decode_with_dropout(network, images, 0.5)
    shallow, middle, deep = (x.chunk(2) for x in seen[0].features)
    assert torch.equal(*middle)
    for clean, perturbed in (shallow, deep):
        ratio = (perturbed / clean)[clean > 0]
        assert set(ratio.unique().tolist()) == {0.0, 2.0}


def test_published_values() -> None:
    assert UniMatch.strong_views == 2
    assert UniMatchParameters().model_dump() == {
        "confidence_threshold": 0.95,
        "strong_weight": 0.25,
        "feature_weight": 0.5,
        "feature_dropout": 0.5,
    }
