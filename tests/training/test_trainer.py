"""The training loop: what it computes, what it depends on, what it leaves and what it says."""

import logging
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from devices import DEVICES
from igl_dt.data.loading import Batch, TrainingBatches
from igl_dt.methods.base import Method
from igl_dt.methods.cps import CrossPseudoSupervision
from igl_dt.methods.igl_dt import IglDt
from igl_dt.methods.supervised import Supervised
from igl_dt.runtime.parameters import RuntimeParameters
from igl_dt.training.optimizer import rate_factor
from igl_dt.training.parameters import OptimizerParameters
from igl_dt.training.trainer import TrainingError, TrainingResult, fit
from igl_dt.utils import progress
from igl_dt.utils.parameters import Parameters
from mean_teacher import MeanTeacher
from tiny import build_tiny_method

pytestmark = pytest.mark.usefixtures("count_one_step")

SGD = OptimizerParameters(learning_rate=0.1, momentum=0.9)
SMALL = OptimizerParameters(learning_rate=0.003, momentum=0.9)
ADAMW = OptimizerParameters(name="adamw", learning_rate=0.001)

Weights = dict[str, Tensor]


def weights(network: nn.Module) -> Weights:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def same(one: Weights, other: Weights) -> bool:
    assert one.keys() == other.keys()
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Give the lines of progress, without what else is logged."""
    return [record.getMessage() for record in caplog.records if record.name == progress.__name__]


class Scripted(Method):
    """Returns losses of a script, with gradients of their own size for each of the network's parameters."""

    name = "scripted"
    parameters_type = Parameters
    script: Callable[[int], dict[str, float]]

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        zero = sum(parameter.sum() - parameter.sum().detach() for parameter in self.networks["network"].parameters())
        return {name: value * (1 + zero) for name, value in self.script(step).items()}


def scripted(network: nn.Module, script: Callable[[int], dict[str, float]]) -> Scripted:
    method = build_tiny_method(Scripted, {"network": network})
    method.script = script
    return method


def supervised(network: nn.Module, kind: type[Method] = Supervised) -> Method:
    return build_tiny_method(kind, {"network": network})


def train(
    method: Method,
    batches: TrainingBatches,
    optimizer: OptimizerParameters,
    runtime: RuntimeParameters,
    validate: Callable[[nn.Module], float] = lambda network: 0.0,
    **options: Any,
) -> TrainingResult:
    """Train, with the same optimiser for each role."""
    optimizers = dict.fromkeys(method.trained(), optimizer)
    return fit(method, batches, optimizers, runtime, validate, name="some_stage", **options)


class TestSameBits:
    """Real networks, with batch norm, dropout, CutMix and strong views."""

    @pytest.fixture(params=DEVICES)
    def runtime(self, request: pytest.FixtureRequest) -> RuntimeParameters:
        return RuntimeParameters(device=request.param, threads=1, workers=0)

    @pytest.fixture
    def learn(self, make_batches, real_network, runtime) -> Callable[..., tuple[Weights, TrainingResult]]:
        def learn(seed: int = 0, **changes: object) -> tuple[Weights, TrainingResult]:
            student = real_network("student")
            teachers = {role: real_network(role) for role in ("global_teacher", "local_teacher")}
            method = build_tiny_method(IglDt, {"student": student}, teachers)
            batches = make_batches(steps=4, batch_size=2, seed=seed, alone=False)
            trained = train(method, batches, ADAMW, runtime.model_copy(update=changes))
            return weights(student), trained

        return learn

    @pytest.mark.filterwarnings("default::UserWarning")  # torch's, where a machine has fewer cores than workers
    def test_workers_change_nothing_and_neither_does_the_global_generator(self, learn) -> None:
        torch.manual_seed(0)
        first, trained = learn()
        for workers in (0, 1, 2):
            torch.manual_seed(workers + 1)
            again, trained_again = learn(workers=workers)
            assert same(first, again), workers
            pd.testing.assert_frame_equal(trained.history, trained_again.history, check_exact=True)

    def test_another_seed_gives_other_weights(self, learn) -> None:
        assert not same(learn(seed=0)[0], learn(seed=1)[0])

    def test_frozen_teachers_keep_every_bit_also_of_their_statistics(self, make_batches, real_network, runtime) -> None:
        teachers = {name: real_network(name).train() for name in ("global_teacher", "local_teacher")}
        before = {name: weights(network) for name, network in teachers.items()}
        assert any(name.endswith("running_mean") for name in before["local_teacher"])
        student = real_network("student")
        initial = weights(student)
        method = build_tiny_method(IglDt, {"student": student}, teachers, global_map="features")
        train(method, make_batches(steps=3, alone=False), ADAMW, runtime, validate_every=2)
        for name, network in teachers.items():
            assert same(before[name], weights(network)), name
        after = weights(student)
        assert initial.keys() == after.keys()
        assert not any(torch.equal(initial[name], after[name]) for name in initial if name.endswith("running_mean"))

    def test_weights_are_contiguous_and_in_float32_again(self, learn) -> None:
        last, trained = learn(precision="bfloat16")
        for tensor in (*last.values(), *trained.best_weights["student"].values()):
            assert tensor.is_contiguous()
            assert tensor.dtype in (torch.float32, torch.int64)
            assert tensor.isfinite().all()
        assert not same(last, learn()[0])

    @pytest.mark.slow
    @pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")  # the compiler's own
    def test_compiled_trainings_agree(self, learn) -> None:
        first, trained = learn(compile=True)
        again, trained_again = learn(compile=True)
        assert same(first, again)
        pd.testing.assert_frame_equal(trained.history, trained_again.history, check_exact=True)
        plain = learn()[0]
        for name, tensor in plain.items():
            torch.testing.assert_close(tensor, first[name], rtol=0.1, atol=0.02)


class TestSteps:
    def test_parts_add_up_to_the_whole_batch(self, make_batches, tiny_network, runtime) -> None:
        def learn(parts: int) -> tuple[Weights, TrainingResult]:
            network = tiny_network()
            whole_images = {"crop_size": (32, 40), "scale": (1, 1)}  # so that each part has as many pixels
            batches = make_batches(
                steps=3,
                batch_size=4,
                augmentation=whole_images,
            )
            method = supervised(network)
            trained = train(method, batches, SGD, runtime)
            return weights(network), trained

        initial = weights(tiny_network())
        (whole, trained), (parts, trained_in_parts) = learn(1), learn(2)
        for name in initial:
            assert (whole[name] - initial[name]).abs().max() > 1e-3
            torch.testing.assert_close(whole[name], parts[name], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(trained.history["supervised"], trained_in_parts.history["supervised"], rtol=1e-5)

    def test_a_batch_that_cannot_be_cut_into_its_parts_is_refused(self, make_batches, tiny_network, runtime) -> None:
        batches = make_batches(steps=1, batch_size=5)
        for changes, parts in (({}, 2), ({"shards": 2}, 1)):
            with pytest.raises(ValueError, match=r"batch_size \(5\) must be a multiple of 2: of runtime\.shards"):
                train(supervised(tiny_network()), batches, SGD, runtime.model_copy(update=changes), parts=parts)

    def test_dropout_is_drawn_anew_for_each_step_and_part(self, make_batches, tiny_network, runtime) -> None:
        drawn = []

        class Drawing(Supervised):
            def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
                drawn.append(torch.rand(()).item())
                return super().forward(batch, step)

        for _ in range(2):
            method = supervised(tiny_network(), Drawing)
            train(method, make_batches(steps=3), SGD, runtime, parts=2)
        assert len(set(drawn[:6])) == 6
        assert drawn[:6] == drawn[6:]

    def test_training_learns(self, make_batches, tiny_network, runtime) -> None:
        method = supervised(tiny_network())
        losses = train(method, make_batches(steps=40), SMALL, runtime).history["supervised"]
        assert losses.tail(5).mean() < 0.5 * losses.head(5).mean()

    def test_gradients_are_clipped_to_the_norm(self, make_batches, tiny_network, runtime) -> None:
        def moved(max_grad_norm: float | None) -> float:
            network = tiny_network()
            optimizer = OptimizerParameters(learning_rate=1, momentum=0, weight_decay=0, max_grad_norm=max_grad_norm)
            initial = weights(network)
            method = scripted(network, lambda step: {"loss": 100.0})
            train(method, make_batches(steps=1), optimizer, runtime)
            return sum((network.state_dict()[name] - initial[name]).square().sum().item() for name in initial) ** 0.5

        assert moved(0.5) == pytest.approx(0.5, rel=1e-4)
        assert moved(1e6) == moved(None) > 100

    def test_bfloat16_trains_every_parameter_of_both_teachers(self, make_batches, real_network, runtime) -> None:
        networks = {name: real_network(name) for name in ("global_teacher", "local_teacher")}
        initial = {name: weights(network) for name, network in networks.items()}
        method = build_tiny_method(CrossPseudoSupervision, networks)
        in_bfloat16 = runtime.model_copy(update={"precision": "bfloat16"})
        no_decay = ADAMW.model_copy(update={"weight_decay": 0.0})
        train(method, make_batches(steps=3, alone=False), no_decay, in_bfloat16)
        for name, network in networks.items():
            for path, parameter in network.named_parameters():
                assert parameter.dtype == torch.float32
                assert not torch.equal(parameter, initial[name][path]), f"{name}.{path}"

    def test_bfloat16_trains_what_was_used_without_gradients_first(self, make_batches, real_network, runtime) -> None:
        """Autocast must not hand out weights that were cast within ``no_grad``, for the pseudo-labels."""

        class LabelsFirst(Supervised):
            def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
                with torch.no_grad():
                    self.networks["network"](batch.images)
                return super().forward(batch, step)

        network = real_network("student")
        initial = weights(network)
        in_bfloat16 = runtime.model_copy(update={"precision": "bfloat16"})
        no_decay = ADAMW.model_copy(update={"weight_decay": 0.0})
        train(supervised(network, LabelsFirst), make_batches(steps=2, batch_size=4), no_decay, in_bfloat16)
        for path, parameter in network.named_parameters():
            assert not torch.equal(parameter, initial[path]), path


class TestLifeCycle:
    def test_a_method_is_called_once_per_step_after_the_optimiser(self, make_batches, tiny_network, runtime) -> None:
        events: list[tuple] = []

        class Recording(Supervised):
            def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
                events.append(("forward", step, len(batch.images)))
                self.before = weights(self.networks["network"])
                return super().forward(batch, step)

            def after_step(self, step: int) -> None:
                network = self.networks["network"]
                assert not any(torch.equal(tensor, self.before[name]) for name, tensor in network.state_dict().items())
                assert all(parameter.grad is None for parameter in network.parameters())
                events.append(("after_step", step))

            def after_validation(self, step: int, scores: dict[str, float]) -> None:
                events.append(("after_validation", step, scores))

        method = supervised(tiny_network(), Recording)
        batches = make_batches(steps=3, batch_size=4)
        train(method, batches, SMALL, runtime, lambda network: 0.25, parts=2, validate_every=2)
        forward = [[("forward", step, 2)] * 2 for step in range(3)]
        assert events == [
            *(*forward[0], ("after_step", 0)),
            *(*forward[1], ("after_step", 1), ("after_validation", 2, {"network": 0.25})),
            *(*forward[2], ("after_step", 2), ("after_validation", 3, {"network": 0.25})),
        ]

    def test_whatever_is_evaluated_is_validated_and_kept(self, make_batches, tiny_network, runtime) -> None:
        method = build_tiny_method(MeanTeacher, {"student": tiny_network()})
        scores = {id(network): score for network, score in zip(method.evaluated().values(), (0.2, 0.3), strict=True)}
        result = train(
            *(method, make_batches(steps=4, alone=False), SMALL, runtime, lambda network: scores[id(network)]),
            validate_every=2,
        )
        assert result.best_miou == {"student": 0.2, "student_ema": 0.3}
        assert method.scores == [0.3, 0.3]
        assert method.updates == 4
        assert set(result.history) >= {"val_miou.student", "val_miou.student_ema", "learning_rate.student"}
        assert "learning_rate.student_ema" not in result.history
        assert result.networks.keys() == result.best_weights.keys() == {"student", "student_ema"}
        assert same(weights(result.best("student_ema")), result.best_weights["student_ema"])
        assert not same(weights(result.best("student_ema")), weights(result.networks["student_ema"]))


class TestLossesThatAreNotFinite:
    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_they_end_the_training(self, make_batches, tiny_network, runtime, value: float) -> None:
        method = scripted(tiny_network(), lambda step: {"good": 1.5, "bad": value if step == 2 else 1.0})
        pattern = rf"some_stage: a loss is not finite at step 2: good 1\.5, bad {value}\. Lower the learning rate"
        with pytest.raises(TrainingError, match=pattern):
            train(method, make_batches(steps=4), SGD, runtime)

    def test_the_step_is_named_also_where_rows_are_rare(self, make_batches, tiny_network, runtime) -> None:
        seen = []

        def script(step: int) -> dict[str, float]:
            seen.append(step)
            return {"loss": float("nan") if step >= 5 else 1.0}

        with pytest.raises(TrainingError, match="not finite at step 5: loss nan"):
            train(scripted(tiny_network(), script), make_batches(steps=400), SGD, runtime)
        assert seen[-1] == 7  # the row of steps 4 to 7

    def test_no_weights_are_validated_that_such_a_loss_made(self, make_batches, tiny_network, runtime) -> None:
        validated = []
        method = scripted(tiny_network(), lambda step: {"loss": float("nan") if step == 2 else 1.0})
        with pytest.raises(TrainingError):
            train(method, make_batches(), SGD, runtime, validated.append, validate_every=3)
        assert not validated

    def test_a_gradient_that_is_not_finite_in_the_last_step_is_noticed(
        self, make_batches, tiny_network, runtime
    ) -> None:
        validated = []
        network = tiny_network()
        network.classifier.weight.register_hook(lambda gradient: gradient * float("nan"))
        method = scripted(network, lambda step: {"loss": 1.0})
        with pytest.raises(
            TrainingError, match=r"some_stage: after 1 steps, weights of network are not finite\. Lower"
        ):
            train(method, make_batches(steps=1), SGD, runtime, validated.append)
        assert not validated


class TestBestWeights:
    @pytest.mark.parametrize(("script", "best"), [((0.2, 0.5, 0.5, 0.1), 1), ((0.0, 0.0, 0.0, 0.0), 0)])
    def test_are_those_of_the_first_best_validation(
        self, make_batches, tiny_network, runtime, script: tuple[float, ...], best: int
    ) -> None:
        network, snapshots = tiny_network(), []

        def validate(validated: nn.Module) -> float:
            assert validated is network
            snapshots.append(weights(validated))
            return script[len(snapshots) - 1]

        method = supervised(network)
        trained = train(method, make_batches(steps=4), SGD, runtime, validate, validate_every=1)
        assert len(snapshots) == 4
        assert trained.best_miou == {"network": script[best]}
        assert same(trained.best_weights["network"], snapshots[best])
        assert same(weights(network), snapshots[3])
        assert not same(snapshots[best], snapshots[3])

    def test_are_kept_per_network(self, make_batches, tiny_network, runtime) -> None:
        networks = {"global_teacher": tiny_network(1), "local_teacher": tiny_network(2)}
        scores = {"global_teacher": [0.3, 0.1], "local_teacher": [0.2, 0.4]}
        snapshots: dict[str, list[Weights]] = {"global_teacher": [], "local_teacher": []}

        def validate(network: nn.Module) -> float:
            name = next(name for name, other in networks.items() if other is network)
            snapshots[name].append(weights(network))
            return scores[name][len(snapshots[name]) - 1]

        method = build_tiny_method(CrossPseudoSupervision, networks)
        batches = make_batches(steps=2, alone=False)
        trained = train(method, batches, SGD, runtime, validate, validate_every=1)
        assert trained.best_miou == {"global_teacher": 0.3, "local_teacher": 0.4}
        assert same(trained.best_weights["global_teacher"], snapshots["global_teacher"][0])
        assert same(trained.best_weights["local_teacher"], snapshots["local_teacher"][1])


class TestHistory:
    def test_what_is_probed_stands_in_the_rows_of_validations(self, make_batches, tiny_network, runtime) -> None:
        network = tiny_network()
        seen = []

        def probe(networks: dict[str, nn.Module]) -> dict[str, float]:
            assert list(networks) == ["network"]
            assert networks["network"] is network
            seen.append(weights(network))
            return {"score.network": float(len(seen))}

        method = supervised(network)
        batches = make_batches(steps=6)
        history = train(method, batches, SGD, runtime, probe=probe, validate_every=4).history
        assert history.loc[history["score.network"].notna(), ["step", "score.network"]].to_numpy().tolist() == [
            [4, 1],
            [6, 2],
        ]
        assert not same(*seen)

    def test_each_loss_has_a_column_also_where_it_occurs_now_and_then(
        self, make_batches, tiny_network, runtime
    ) -> None:
        method = scripted(tiny_network(), lambda step: {"all": step, ("odd" if step % 2 else "even"): 10.0 + step})
        optimizer = OptimizerParameters(learning_rate=0.1, warmup_steps=2)
        batches = make_batches(steps=6)
        history = train(method, batches, optimizer, runtime, lambda network: 0.25, validate_every=4).history
        nan = np.nan
        expected = pd.DataFrame(
            {
                "step": range(1, 7),
                "all": [0.0, 1, 2, 3, 4, 5],
                "even": [10, nan, 12, nan, 14, nan],
                "learning_rate.network": [0.1 * rate_factor(step, 6, optimizer) for step in range(6)],
                "odd": [nan, 11, nan, 13, nan, 15],
                "val_miou.network": [nan, nan, nan, 0.25, nan, 0.25],
            }
        )
        pd.testing.assert_frame_equal(history[sorted(history)], expected[sorted(expected)])

    def test_long_stages_have_about_a_hundred_rows_of_means(self, make_batches, tiny_network, runtime) -> None:
        method = scripted(tiny_network(), lambda step: {"loss": float(step)})
        batches = make_batches(steps=300, batch_size=1)
        history = train(method, batches, SGD, runtime, validate_every=100).history.set_index("step")
        assert list(history.index) == sorted({*range(3, 301, 3), 100, 200})
        assert history.index[history["val_miou.network"].notna()].tolist() == [100, 200, 300]
        means = history["loss"]
        assert [means[3], means[99], means[100], means[102], means[300]] == [1, 97, 99, 100.5, 298]


class TestWhatIsLeft:
    def test_networks_are_in_evaluation_mode(self, make_batches, tiny_network, runtime) -> None:
        network = tiny_network()
        method = supervised(network)
        train(method, make_batches(), SGD, runtime)
        assert not network.training
        assert {parameter.device.type for parameter in network.parameters()} == {"cpu"}

    def test_networks_are_trained_in_training_mode_also_after_a_validation(
        self, make_batches, tiny_network, runtime
    ) -> None:
        modes = []

        class Watching(Supervised):
            def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
                modes.append(self.networks["network"].training)
                return super().forward(batch, step)

        method = supervised(tiny_network().eval(), Watching)
        train(method, make_batches(steps=3), SGD, runtime, validate_every=1)
        assert modes == [True] * 3

    def test_torch_stays_deterministic_with_the_threads_asked_for(self, make_batches, tiny_network) -> None:
        runtime = RuntimeParameters(device="cpu", threads=2, workers=0)
        method = supervised(tiny_network())
        train(method, make_batches(steps=1), SGD, runtime)
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.get_num_threads() == 2


class TestProgress:
    @pytest.fixture
    def learn(self, make_batches, tiny_network, runtime) -> Callable[[], None]:
        def learn() -> None:
            method = scripted(tiny_network(), lambda step: {"some_loss": 1.25})
            train(method, make_batches(steps=4), SGD, runtime, lambda network: 0.5)

        return learn

    def test_a_log_gets_the_last_step_in_any_case(self, learn, caplog) -> None:
        with caplog.at_level(logging.INFO, "igl_dt"):
            learn()
        line, end = (record.getMessage() for record in caplog.records)
        assert line.startswith("some_stage (scripted: network)  step 4/4  ")
        assert "images/s" in line
        assert "some_loss 1.250" in line
        assert "val_miou.network 0.500" in line
        assert "learning_rate" not in line
        assert end.startswith("some_stage (scripted: network)  4 steps in ")
        assert end.endswith("best validation mIoU: network 50.0%")

    def test_a_log_gets_a_line_now_and_then(self, learn, caplog, monkeypatch) -> None:
        monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
        with caplog.at_level(logging.INFO, "igl_dt"):
            learn()
        assert [line.split()[4] for line in lines(caplog)] == ["1/4", "2/4", "3/4", "4/4"]

    def test_a_terminal_gets_a_bar(self, learn, caplog, capsys, monkeypatch) -> None:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        with caplog.at_level(logging.INFO, "igl_dt"):
            learn()
        assert not lines(caplog)
        shown = capsys.readouterr().err
        assert "some_stage" in shown
        assert "4/4" in shown
        assert "some_loss 1.250" in shown
