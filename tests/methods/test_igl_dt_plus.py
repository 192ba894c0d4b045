"""IGL-DT+: without its teachers it is UniMatch, without its views IGL-DT's terms; and its schedule."""

import copy

import pytest
import torch

from igl_dt.methods.igl_dt_plus import IglDtPlus, IglDtPlusParameters
from igl_dt.methods.unimatch import UniMatch

NO_TEACHERS = {
    "labeled_pseudo_label_weight": 0,
    "unlabeled_pseudo_label_weight": 0,
    "global_weight": 0,
    "local_weight": 0,
    "discrepancy_weight": 0,
}
AT_ONCE = {"views_start": 0, "views_ramp": 0}


@pytest.fixture
def teachers(normed_network):
    return {"global_teacher": normed_network(7), "local_teacher": normed_network(8)}


def test_without_the_teachers_weights_it_is_unimatch(normed_network, make_batch, make_method, teachers) -> None:
    batch, network = make_batch(views=2, count=3), normed_network(1)
    options = {"confidence_threshold": 0.7, "feature_dropout": 0.4}
    plain = make_method(UniMatch, {"student": copy.deepcopy(network)}, **options).train()
    plus = make_method(
        IglDtPlus, {"student": network}, teachers, views=options, labeler="student", **AT_ONCE, **NO_TEACHERS
    ).train()
    terms = []
    for method in (plain, plus):
        torch.manual_seed(2)
        terms.append({name: term.item() for name, term in method(batch, 3).items()})
    assert terms[0] == terms[1]
    state = plain.network.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    assert set(plus.evaluated()) == {"student"}


def test_the_average_labels_in_evaluation_mode(normed_network, make_batch, make_method, teachers, by_hand) -> None:
    batch, network = make_batch(views=2, count=3), normed_network(1)
    method = make_method(IglDtPlus, {"student": network}, teachers, views={"confidence_threshold": 0.7}, **AT_ONCE)
    method.train()
    average = method.evaluated()["student_ema"]
    average.load_state_dict(normed_network(2).state_dict())
    own, reference = copy.deepcopy(network), copy.deepcopy(average).eval()
    with torch.no_grad():
        confidence, labels = reference(batch.weak).logits.softmax(1).max(1)
        own(torch.cat([batch.images, batch.weak]))
        views = [by_hand.mix(view, boxes) for view, boxes in zip(batch.strong, batch.cutmix, strict=True)]
        strong = own(torch.cat(views)).logits
    terms = method(batch, 0)
    for view, boxes in enumerate(batch.cutmix):
        mixed = [by_hand.mix(x, boxes) for x in (labels, confidence, batch.padding)]
        wanted = by_hand.confident_loss(strong[3 * view : 3 * view + 3], *mixed, 0.7)
        assert terms[f"strong_view_{view + 1}"].item() == pytest.approx(0.25 * wanted / 2, rel=1e-9)
    method.after_step(0)
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in average.state_dict().items())


def test_views_rise_while_teachers_fade(normed_network, make_batch, make_method, teachers) -> None:
    batch = make_batch(views=2, count=3)
    options = {"views_start": 0.5, "views_ramp": 0.25, "teachers_final_weight": 0.2, "states": "both"}
    seen = {}
    for step in (0, 50, 60, 75, 99):
        method = make_method(
            IglDtPlus, {"student": normed_network(1)}, teachers, views={"confidence_threshold": 0.0}, **options
        ).train()
        torch.manual_seed(0)
        seen[step] = {name: term.item() for name, term in method(batch, step).items()}
    last = seen[99]
    views = {name for name in last if "view" in name}
    of_teachers = last.keys() - views - {"supervised"}
    assert len(views) == 3
    assert len(of_teachers) == 5
    for step, rise in ((0, 0.0), (50, 0.0), (60, 0.4), (75, 1.0)):
        for name in views:
            assert seen[step][name] == pytest.approx(rise * last[name], rel=1e-9)
        for name in of_teachers:
            assert seen[step][name] == pytest.approx((1 - 0.8 * rise) / 0.2 * last[name], rel=1e-6)
        assert seen[step]["supervised"] == last["supervised"]


def test_its_choices_are_not_those_of_the_paper() -> None:
    parameters = IglDtPlusParameters()
    assert parameters.labeled_pseudo_label_weight < 0.5
    assert parameters.labeler == "ema"
    changed = IglDtPlusParameters(views={"feature_dropout": 0.3})  # type: ignore[arg-type]
    assert changed.views.confidence_threshold == parameters.views.confidence_threshold == 0.8
