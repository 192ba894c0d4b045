"""Stage 2: the terms of each state are those of the equations, and the teachers stay as they are."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from igl_dt.data.loading import Batch
from igl_dt.methods.igl_dt import IglDt, IglDtParameters
from problems import problem
from tiny import build_tiny_method

GLOBAL, LOCAL = 0, 1
"""Steps in either state, where states are swapped at each."""
WEIGHTS = {
    "labeled_pseudo_label_weight": 0.7,
    "unlabeled_pseudo_label_weight": 0.9,
    "global_weight": 0.3,
    "local_weight": 20.0,
    "discrepancy_weight": 0.05,
    "local_regions": 2,
}


@pytest.fixture
def networks(tiny_network) -> dict[str, nn.Module]:
    """The student's features are half as high and wide as the images; one teacher's are larger, one's as large."""
    return {
        "student": tiny_network(1, channels=5, stride=2),
        "global_teacher": tiny_network(2, channels=4, stride=1),
        "local_teacher": tiny_network(3, channels=6, stride=2),
    }


def make(networks: dict[str, nn.Module], **parameters: Any) -> IglDt:
    torch.manual_seed(0)  # for projections
    teachers = {role: network for role, network in networks.items() if role != "student"}
    return build_tiny_method(IglDt, {"student": networks["student"]}, teachers, **WEIGHTS | parameters)


def values(terms: dict[str, Tensor]) -> dict[str, float]:
    assert all(term.shape == () for term in terms.values())
    return {name: term.item() for name, term in terms.items()}


class Seen:
    """What each network says of the batch, mixed as the equations ask."""

    def __init__(self, networks: dict[str, nn.Module], batch: Batch, by_hand: Any) -> None:
        boxes = batch.cutmix[0] if batch.cutmix else None
        strong = by_hand.mix(batch.strong[0], boxes)
        shown = dict.fromkeys(networks, batch.images if batch.images_weak is None else batch.images_weak)
        shown["student"] = batch.images
        with torch.no_grad():
            self.known = {name: network(shown[name]).logits for name, network in networks.items()}
            clean = {name: network(batch.weak) for name, network in networks.items() if name != "student"}
            self.logits = {name: by_hand.mix(output.logits, boxes) for name, output in clean.items()}
            self.features = {name: by_hand.mix(output.features, boxes) for name, output in clean.items()}
            self.logits["student"], self.features["student"] = networks["student"](strong)
        self.ignored = batch.masks == 255
        self.padding = by_hand.mix(batch.padding, boxes)


def labeled_terms(seen: Seen, batch: Batch, by_hand: Any) -> dict[str, float]:
    """L_l = L_sup(S) + λ_pl · [L_P(S, Y_su) + L_P(S, Y_ru)]."""
    student = seen.known["student"]
    pseudo = [
        by_hand.cross_entropy(student, by_hand.labels(seen.known[name], seen.ignored))
        for name in ("global_teacher", "local_teacher")
    ]
    return {
        "supervised": by_hand.cross_entropy(student, batch.masks),
        "labeled_pseudo_label": WEIGHTS["labeled_pseudo_label_weight"] * sum(pseudo),
    }


def unlabeled_pseudo_label(seen: Seen, names: list[str], by_hand: Any, threshold: float = 0.0) -> float:
    losses = [
        by_hand.cross_entropy(
            seen.logits["student"], by_hand.labels(seen.logits[name], seen.padding, threshold), seen.padding
        )
        for name in names
    ]
    return WEIGHTS["unlabeled_pseudo_label_weight"] * sum(losses)


def global_context(student_map: Tensor, teacher_map: Tensor) -> float:
    """(1/N) Σ |GAP(student) − GAP(teacher)|, mean over the images."""
    differences = [
        abs(student_map[b, n].mean().item() - teacher_map[b, n].mean().item())
        for b in range(len(student_map))
        for n in range(student_map.shape[1])
    ]
    return WEIGHTS["global_weight"] * sum(differences) / len(differences)


def local_regional(student: Tensor, teacher: Tensor) -> float:
    """Mean squared difference of the cosines between all pairs of 2×2 regions."""
    total = []
    for b in range(len(student)):
        ours, theirs = (F.adaptive_avg_pool2d(x[b], 2).flatten(1) for x in (student, teacher))
        for i in range(4):
            for j in range(4):
                one = F.cosine_similarity(ours[:, i], ours[:, j], dim=0)
                other = F.cosine_similarity(theirs[:, i], theirs[:, j], dim=0)
                total.append((one - other).item() ** 2)
    return WEIGHTS["local_weight"] * sum(total) / len(total)


def discrepancy(student: Tensor, teacher: Tensor) -> float:
    """Mean over the positions of 1 + cos."""
    return WEIGHTS["discrepancy_weight"] * (1 + F.cosine_similarity(student, teacher, dim=1).mean().item())


class TestTermsAreThoseOfTheEquations:
    @pytest.mark.parametrize("strong", [False, True])
    @pytest.mark.parametrize("cutmix", [False, True])
    @pytest.mark.parametrize("state", [GLOBAL, LOCAL])
    def test_by_default(self, networks, make_batch, by_hand, state: int, cutmix: bool, strong: bool) -> None:
        batch = make_batch(cutmix, strong)
        seen = Seen(networks, batch, by_hand)
        guide, other = ("global_teacher", "local_teacher") if state == GLOBAL else ("local_teacher", "global_teacher")
        wanted = labeled_terms(seen, batch, by_hand)
        wanted["unlabeled_pseudo_label"] = unlabeled_pseudo_label(seen, [guide], by_hand)
        if state == GLOBAL:
            wanted["global_context"] = global_context(seen.logits["student"], seen.logits["global_teacher"])
        else:
            wanted["local_regional"] = local_regional(seen.features["student"], seen.features["local_teacher"])
        wanted["discrepancy"] = discrepancy(seen.logits["student"].softmax(1), seen.logits[other].softmax(1))
        assert values(make(networks)(batch, state)) == pytest.approx(wanted, rel=1e-4)

    def test_both_teachers_may_label_in_either_state(self, networks, make_batch, by_hand) -> None:
        batch = make_batch()
        wanted = unlabeled_pseudo_label(Seen(networks, batch, by_hand), ["global_teacher", "local_teacher"], by_hand)
        method = make(networks, pseudo_label_source="both")
        for state in (GLOBAL, LOCAL):
            assert values(method(batch, state))["unlabeled_pseudo_label"] == pytest.approx(wanted, rel=1e-5)

    def test_labels_below_the_confidence_threshold_count_as_losses_of_zero(self, networks, make_batch, by_hand) -> None:
        batch, threshold = make_batch(), 0.8
        seen = Seen(networks, batch, by_hand)
        confident = seen.logits["global_teacher"].softmax(1).amax(1) >= threshold
        assert 0.1 < confident.float().mean() < 0.9
        terms = values(make(networks, confidence_threshold=threshold)(batch, GLOBAL))
        wanted = unlabeled_pseudo_label(seen, ["global_teacher"], by_hand, threshold)
        assert terms["unlabeled_pseudo_label"] == pytest.approx(wanted, rel=1e-5)
        assert terms["unlabeled_pseudo_label"] != pytest.approx(
            unlabeled_pseudo_label(seen, ["global_teacher"], by_hand), rel=1e-3
        )

    def test_global_context_of_probabilities(self, networks, make_batch, by_hand) -> None:
        batch = make_batch()
        seen = Seen(networks, batch, by_hand)
        wanted = global_context(seen.logits["student"].softmax(1), seen.logits["global_teacher"].softmax(1))
        terms = values(make(networks, global_map="probabilities")(batch, GLOBAL))
        assert terms["global_context"] == pytest.approx(wanted, rel=1e-4)

    def test_global_context_of_features(self, networks, make_batch, by_hand) -> None:
        batch = make_batch()
        seen = Seen(networks, batch, by_hand)
        method = make(networks, global_map="features")
        with torch.no_grad():
            projected = method.projections["global_teacher"](seen.features["student"])
        pooled = F.avg_pool2d(seen.features["global_teacher"], 2)
        terms = values(method(batch, GLOBAL))
        assert terms["global_context"] == pytest.approx(global_context(projected, pooled), rel=1e-4)

    def test_teachers_see_weak_views_of_labelled_images_too(self, networks, make_batch, by_hand) -> None:
        """Where the student sees strong ones."""
        batch = make_batch(strong_labeled=True)
        assert batch.images_weak is not None
        assert not torch.equal(batch.images, batch.images_weak)
        wanted = labeled_terms(Seen(networks, batch, by_hand), batch, by_hand)
        jittered = labeled_terms(Seen(networks, batch._replace(images_weak=None), by_hand), batch, by_hand)
        assert jittered["labeled_pseudo_label"] != pytest.approx(wanted["labeled_pseudo_label"], rel=1e-2)
        terms = values(make(networks)(batch, GLOBAL))
        assert {name: terms[name] for name in wanted} == pytest.approx(wanted, rel=1e-5)

    def test_labels_from_the_weighted_mean_of_probabilities(self, networks, make_batch, by_hand) -> None:
        batch = make_batch()
        seen = Seen(networks, batch, by_hand)
        of_global, of_local = (seen.logits[role].softmax(1) for role in ("global_teacher", "local_teacher"))
        mean = 0.3 * of_global + 0.7 * of_local
        confidence, labels = mean.max(dim=1)
        labels[seen.padding | (confidence < 0.6)] = 255
        assert not torch.equal(of_global.argmax(1), mean.argmax(1))
        assert not torch.equal(of_local.argmax(1), mean.argmax(1))
        wanted = 0.9 * by_hand.cross_entropy(seen.logits["student"], labels, seen.padding)
        options = {"pseudo_label_source": "weighted", "global_label_weight": 0.3, "confidence_threshold": 0.6}
        for state in (GLOBAL, LOCAL):
            terms = values(make(networks, **options)(batch, state))
            assert terms["unlabeled_pseudo_label"] == pytest.approx(wanted, rel=1e-5)

    def test_centred_logits_do_not_notice_a_shift(self, networks, make_batch, by_hand) -> None:
        batch = make_batch()
        seen = Seen(networks, batch, by_hand)
        centred = {role: logits - logits.mean(dim=1, keepdim=True) for role, logits in seen.logits.items()}
        wanted = global_context(centred["student"], centred["global_teacher"])
        method = make(networks, global_map="centered_logits")
        assert values(method(batch, GLOBAL))["global_context"] == pytest.approx(wanted, rel=1e-4)
        with torch.no_grad():
            networks["student"].classifier.bias += 3
        assert values(method(batch, GLOBAL))["global_context"] == pytest.approx(wanted, rel=1e-4)


class TestTeachersOnValidation:
    """Scores are given by hand: the global teacher knows class b alone, neither knows class c."""

    SCORES = (
        {"miou": 0.3, "per_class": {"a": 0.1, "b": 0.8, "c": None}},
        {"miou": 0.5, "per_class": {"a": 0.9, "b": 0.0, "c": 0.0}},
    )

    def measured(self, networks, **options: Any) -> IglDt:
        method = make(networks, **options)
        scores = dict(zip(("global_teacher", "local_teacher"), self.SCORES, strict=True))
        method.before_training(5, lambda network: scores[next(r for r in scores if networks[r] is network)])
        return method

    def test_reliability_is_per_class(self, networks, make_batch, by_hand) -> None:
        batch = make_batch()
        seen = Seen(networks, batch, by_hand)
        of_global, of_local = (seen.logits[role].softmax(1) for role in ("global_teacher", "local_teacher"))
        mean = torch.stack(
            [0.1 * of_global[:, 0] + 0.9 * of_local[:, 0], of_global[:, 1], (of_global[:, 2] + of_local[:, 2]) / 2], 1
        )
        labels = by_hand.labels(mean.log(), seen.padding)
        assert not torch.equal(labels, by_hand.labels((of_global + of_local).log(), seen.padding))
        wanted = 0.9 * by_hand.cross_entropy(seen.logits["student"], labels, seen.padding)
        method = self.measured(networks, pseudo_label_source="reliability")
        for state in (GLOBAL, LOCAL):
            assert values(method(batch, state))["unlabeled_pseudo_label"] == pytest.approx(wanted, rel=1e-5)

    @pytest.mark.parametrize("source", ["state", "both", "weighted", "reliability"])
    def test_a_teacher_below_the_student_labels_nothing_and_keeps_its_other_losses(
        self, networks, make_batch, by_hand, source: str
    ) -> None:
        batch = make_batch()
        seen = Seen(networks, batch, by_hand)
        method = self.measured(networks, pseudo_label_source=source, teacher_gate=True)
        plain = self.measured(networks, pseudo_label_source=source)
        for state in (GLOBAL, LOCAL):
            assert values(method(batch, state)) == values(plain(batch, state)), "before the first validation"
        method.after_validation(3, {"student": 0.4})
        resumed = self.measured(networks, pseudo_label_source=source, teacher_gate=True)
        resumed.load_state_dict(method.state_dict())
        local = unlabeled_pseudo_label(seen, ["local_teacher"], by_hand)
        for state in (GLOBAL, LOCAL):
            terms, before = values(resumed(batch, state)), values(plain(batch, state))
            if source == "state" and state == GLOBAL:
                assert "unlabeled_pseudo_label" not in terms
            else:
                assert terms["unlabeled_pseudo_label"] == pytest.approx(local, rel=1e-5)
            labels = by_hand.labels(seen.known["local_teacher"], seen.ignored)
            wanted = 0.7 * by_hand.cross_entropy(seen.known["student"], labels)
            assert terms["labeled_pseudo_label"] == pytest.approx(wanted, rel=1e-5)
            others = before.keys() - {"unlabeled_pseudo_label", "labeled_pseudo_label"}
            assert {name: terms[name] for name in others} == {name: before[name] for name in others}
        method.after_validation(6, {"student": 0.6})
        assert not {name for name in method(batch, GLOBAL) if "pseudo_label" in name}


class TestStates:
    def test_both_at_once_are_the_mean_of_the_two(self, networks, make_batch) -> None:
        batch = make_batch()
        each = [values(make(networks)(batch, state)) for state in (GLOBAL, LOCAL)]
        both = values(make(networks, states="both")(batch, GLOBAL))
        assert both.keys() == each[0].keys() | each[1].keys()
        for name, value in both.items():
            parts = [terms.get(name, 0.0) for terms in each]
            alone = name in ("supervised", "labeled_pseudo_label")
            assert value == pytest.approx(parts[0] if alone else sum(parts) / 2, rel=1e-5)

    @pytest.mark.parametrize("swap_every", [1, 3])
    def test_take_turns(self, networks, make_batch, swap_every: int) -> None:
        method, batch = make(networks, swap_every=swap_every), make_batch()
        for step in range(12):
            in_global_state = step // swap_every % 2 == 0
            terms = method(batch, step)
            assert ("global_context" in terms) == in_global_state
            assert ("local_regional" in terms) == (not in_global_state)

    def test_take_turns_by_epoch(self, networks, make_batch) -> None:
        method, batch = make(networks, swap_unit="epoch", swap_every=2), make_batch()
        method.before_training(3, lambda network: pytest.fail("no score is needed"))
        for step in (0, 5, 6, 11, 12):
            assert ("global_context" in method(batch, step)) == (step // 6 % 2 == 0)

    def test_the_unlabelled_weights_ramp_up(self, networks, make_batch) -> None:
        batch = make_batch()
        full = [values(make(networks)(batch, state)) for state in (GLOBAL, LOCAL)]
        ramping = make(networks, ramp_up_steps=8)
        for step in (0, 3, 4, 7, 8, 9):
            share = math.exp(-5 * max(0, 1 - step / 8) ** 2)
            wanted = {
                name: value * (1 if name in ("supervised", "labeled_pseudo_label") else share)
                for name, value in full[step % 2].items()
            }
            assert values(ramping(batch, step)) == pytest.approx(wanted, rel=1e-5)

    @pytest.mark.parametrize(
        ("weight", "term", "state"),
        [
            ("labeled_pseudo_label_weight", "labeled_pseudo_label", GLOBAL),
            ("global_weight", "global_context", GLOBAL),
            ("local_weight", "local_regional", LOCAL),
            ("discrepancy_weight", "discrepancy", LOCAL),
        ],
    )
    def test_a_term_without_weight_is_not_computed(self, networks, make_batch, weight, term, state) -> None:
        batch = make_batch()
        with_it, without_it = make(networks)(batch, state), make(networks, **{weight: 0})(batch, state)
        assert values(without_it) == {name: value for name, value in values(with_it).items() if name != term}


class TestGradients:
    @pytest.mark.parametrize("state", [GLOBAL, LOCAL])
    def test_reach_the_student_from_every_term_and_no_teacher(self, networks, make_batch, state: int) -> None:
        method = make(networks)
        for name, term in method(make_batch(), state).items():
            gradients = torch.autograd.grad(
                term, list(networks["student"].encoder.parameters()), retain_graph=True, allow_unused=True
            )
            assert all(gradient is not None and gradient.any() for gradient in gradients), name
            assert not any(parameter.requires_grad for parameter in method.teachers.parameters())

    def test_train_the_projection(self, networks, make_batch) -> None:
        method = make(networks, global_map="features")
        for state, is_reached in ((LOCAL, False), (GLOBAL, True)):
            sum(method(make_batch(), state).values()).backward()
            assert (method.projections["global_teacher"].weight.grad is not None) == is_reached


class TestProjections:
    @pytest.mark.parametrize(("parameters", "names"), [({}, set()), ({"global_map": "features"}, {"global_teacher"})])
    def test_are_made_where_needed_and_are_no_part_of_the_student(self, networks, parameters, names) -> None:
        before = set(networks["student"].state_dict())
        method = make(networks, **parameters)
        assert set(method.projections) == names
        for name in names:
            assert method.projections[name].in_channels == networks["student"].feature_channels
            assert method.projections[name].out_channels == networks[name].feature_channels
        assert set(networks["student"].state_dict()) == before
        trained = {id(parameter) for parameter in method.trained()["student"].parameters()}
        of_projections = {id(parameter) for parameter in method.projections.parameters()}
        assert len(of_projections) == 2 * len(names)
        assert trained == {id(parameter) for parameter in networks["student"].parameters()} | of_projections


def test_the_student_alone_is_trained_and_evaluated(networks) -> None:
    method = make(networks)
    assert method.trained().keys() == {"student"}
    assert method.evaluated() == {"student": networks["student"]}


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({"swap_every": 0}, "swap_every"),
        ({"confidence_threshold": -0.1}, "confidence_threshold"),
        ({"local_regions": 0}, "local_regions"),
        ({"global_weight": float("nan")}, "global_weight"),
        ({"discrepancy_space": "features"}, "discrepancy_space"),  # always probabilities
    ],
)
def test_wrong_parameters_are_refused(values: dict[str, Any], where: str) -> None:
    assert problem(IglDtParameters, **values)[0] == where


def test_teachers_stay_in_evaluation_mode(networks) -> None:
    method = make({name: network.train() for name, network in networks.items()})
    assert not networks["global_teacher"].training
    assert not networks["local_teacher"].training
    assert method.train() is method
    assert networks["student"].training
    assert not any(module.training for module in method.teachers.modules())
    method.eval()
    assert not networks["student"].training


def test_a_teacher_that_no_loss_needs_predicts_nothing(networks, make_batch) -> None:
    """And none predicts labelled images where its labels have no weight there."""
    seen: dict[str, list[int]] = {"global_teacher": [], "local_teacher": []}
    for role, sizes in seen.items():
        networks[role].register_forward_pre_hook(lambda _, given, sizes=sizes: sizes.append(len(given[0])))
    batch = make_batch()
    assert batch.weak is not None
    labeled, unlabeled = len(batch.images), len(batch.weak)
    for step in (GLOBAL, LOCAL):
        make(networks)(batch, step)
    assert seen == dict.fromkeys(seen, 2 * [labeled + unlabeled])
    for role, step in (("global_teacher", GLOBAL), ("local_teacher", LOCAL)):
        for sizes in seen.values():
            sizes.clear()
        make(networks, labeled_pseudo_label_weight=0, discrepancy_weight=0)(batch, step)
        assert seen.pop(role) == [unlabeled]
        assert [*seen.values()] == [[]]
        seen[role] = []
