"""Several processes train as one: the same bits, also where one of them is killed."""

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from torch import nn

import igl_dt.methods
from igl_dt.data.loading import Batch
from igl_dt.data.splits import Splits
from igl_dt.evaluation.evaluator import Evaluation, evaluate_networks, split_into_batches
from igl_dt.methods.base import Method
from igl_dt.runtime.context import RunContext
from igl_dt.runtime.parameters import EvaluationParameters, RuntimeParameters
from igl_dt.runtime.processes import Group, ProcessesError, _report, launch
from igl_dt.training.parameters import StudentLearningParameters, check_shards
from igl_dt.training.shards import OrderedSum, Shards
from igl_dt.training.trainer import TrainingData, TrainingError
from igl_dt.utils.registry import find_classes
from tiny import NETWORKS, tiny_network
from together import (
    TEACHERS,
    digest_of_training,
    fail_in_one,
    kill_one,
    lose_a_loader_process,
    train_methods,
    wait_long,
)

METHODS = list(find_classes(igl_dt.methods, Method))


@pytest.fixture
def data(splits: Splits) -> TrainingData:
    return TrainingData(splits.labeled, splits.unlabeled, splits.val)


@pytest.fixture
def in_shards(context: RunContext):
    """Give a context with four shards and so many processes."""

    def in_shards(processes: int, **changes: object) -> RunContext:
        changes = {"shards": 4, "processes": processes} | changes
        return context._replace(runtime=context.runtime.model_copy(update=changes))

    return in_shards


def assert_one_result(names: list[str], data: TrainingData, in_shards, *numbers: int, steps: int = 4) -> None:
    alone = train_methods(names, data, in_shards(1), steps)
    for processes in numbers:
        context = in_shards(processes)
        assert launch(train_methods, (names, data, context, steps), context.runtime, f"test-{processes}") == alone


def assert_alike(one: dict[str, Evaluation], other: dict[str, Evaluation]) -> None:
    assert list(one) == list(other)
    for name, evaluation in one.items():
        for table, expected in zip(evaluation, other[name], strict=True):
            assert table.equals(expected)


class TestOneResult:
    def test_whatever_the_number_of_processes(self, data, in_shards) -> None:
        assert_one_result(["igl_dt_plus", "mean_teacher"], data, in_shards, 2)

    @pytest.mark.slow
    def test_of_every_method(self, data, in_shards) -> None:
        assert_one_result(METHODS, data, in_shards, 2, 4, steps=30)

    @pytest.mark.slow
    @pytest.mark.parametrize("name", METHODS)
    def test_of_every_method_also_where_a_process_is_killed(self, name: str, data, in_shards, tmp_path: Path) -> None:
        context = in_shards(2, recovery_seconds=0, recovery_folder=str(tmp_path / "states"))
        arguments = (str(tmp_path / "killed"), name, data, context, 30)
        undisturbed = digest_of_training(name, data, in_shards(1), 30)
        assert launch(kill_one, arguments, context.runtime, f"test-killed-{name}") == undisturbed
        assert (tmp_path / "killed").exists()

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
    def test_on_a_gpu_as_well(self, data, in_shards) -> None:
        names = ["igl_dt_plus", "mean_teacher"]
        once, again = (train_methods(names, data, in_shards(1, device="cuda")) for _ in range(2))
        assert once == again
        if torch.cuda.device_count() > 1:
            context = in_shards(2, device="cuda")
            assert launch(train_methods, (names, data, context), context.runtime, "test-gpus") == once

    @pytest.mark.slow
    def test_also_of_two_machines(self, data, in_shards) -> None:
        """Here both are this one, which has all but the network between them."""
        names = ["igl_dt_plus"]
        with socket.create_server(("localhost", 0)) as server:
            rendezvous = f"localhost:{server.getsockname()[1]}"
        context = in_shards(1, nodes=2, rendezvous=rendezvous)
        with ProcessPoolExecutor(2, get_context("spawn")) as machines:
            calls = [
                machines.submit(launch, train_methods, (names, data, context), context.runtime, "test-machines")
                for _ in range(2)
            ]
            assert [call.result() for call in calls] == [train_methods(names, data, in_shards(1))] * 2

    def test_also_of_the_fast_reduction_where_order_does_not_matter(self, data, in_shards) -> None:
        """Of two numbers, an all-reduce has but one sum. On the CPU, batch norm sees a shard as with the exact one."""
        names, context = ["igl_dt_plus", "mean_teacher"], in_shards(2, reduction="fast")
        fast = launch(train_methods, (names, data, context), context.runtime, "test-fast")
        assert fast == train_methods(names, data, in_shards(1, shards=2))

    def test_also_where_a_process_is_killed(self, data, in_shards, tmp_path: Path) -> None:
        undisturbed = digest_of_training("unimatch", data, in_shards(1))
        folders = {"recovery_folder": str(tmp_path / "states"), "log_folder": str(tmp_path / "log")}
        context = in_shards(2, recovery_seconds=0, **folders)
        arguments = (str(tmp_path / "killed"), "unimatch", data, context, 4)
        assert launch(kill_one, arguments, context.runtime, "test-killed") == undisturbed
        assert (tmp_path / "killed").exists()
        kept = {"history.csv", "student_000002.safetensors", "student_000004.safetensors"}
        assert {file.name for file in (tmp_path / "log/unimatch").iterdir()} == kept
        assert digest_of_training("unimatch", data, context) == undisturbed, "started by the training itself, resumed"

    def test_also_of_the_final_evaluation(self, data, in_shards) -> None:
        networks = {name: tiny_network(name) for name in TEACHERS}
        single = EvaluationParameters(batch_size=1)
        contexts = [in_shards(processes)._replace(evaluation=single) for processes in (1, 2)]
        alone, together = (evaluate_networks(networks, data.labeled, context) for context in contexts)
        assert len(data.labeled) > 2
        assert_alike(alone, together)

    def test_also_of_the_final_evaluation_where_a_process_has_no_image(self, data, in_shards) -> None:
        networks, row = {"student": tiny_network("student")}, data.val.head(1)
        assert_alike(*(evaluate_networks(networks, row, in_shards(processes)) for processes in (1, 2)))

    @pytest.mark.parametrize("how", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
    def test_processes_end_with_the_one_that_launched_them(self, how: signal.Signals, tmp_path: Path) -> None:
        file = tmp_path / "processes"
        runtime = "RuntimeParameters(processes=2, shards=2, device='cpu')"
        code = (
            "from igl_dt.runtime.parameters import RuntimeParameters\nfrom igl_dt.runtime.processes import launch\n"
            f"from together import wait_long\nlaunch(wait_long, ({str(file)!r},), {runtime}, 'test')"
        )
        support = str(Path(__file__).parents[1] / "support")
        with subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": support}) as launcher:
            while not file.exists() or len(workers := file.read_text().split()) < 2:
                assert launcher.poll() is None
                time.sleep(0.1)
            launcher.send_signal(how)
        deadline = time.monotonic() + 30
        while any(Path("/proc", worker).exists() for worker in workers):
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def test_a_machine_that_waits_in_vain_says_for_what(self, monkeypatch) -> None:
        monkeypatch.setattr("igl_dt.runtime.processes.MEETING_TIMEOUT", 1)
        with socket.create_server(("localhost", 0)) as server:
            rendezvous = f"localhost:{server.getsockname()[1]}"
        runtime = RuntimeParameters(nodes=2, shards=2, rendezvous=rendezvous, device="cpu")
        with pytest.raises(ProcessesError, match=f"^test-alone: the 2 machines have not met at {rendezvous}, or one"):
            launch(wait_long, ("unused",), runtime, "test-alone")

    def test_an_error_of_one_process_ends_them_all(self, tmp_path: Path) -> None:
        calls = tmp_path / "calls"
        with pytest.raises(TrainingError, match=r"^the second process has a reason$"):
            launch(fail_in_one, (str(calls),), RuntimeParameters(processes=2, shards=2, device="cpu"), "test-error")
        assert calls.read_text().splitlines() == ["called"] * 2


def test_a_killed_process_of_a_loader_restarts_them_all(context: RunContext, tmp_path: Path) -> None:
    runtime = context.runtime.model_copy(update={"shards": 2, "processes": 2})
    assert launch(lose_a_loader_process, (str(tmp_path / "killed"),), runtime, "test-loader") == "done"


class DemandingError(Exception):
    """Cannot be made from its ``args``, so not be unpickled."""

    def __init__(self, file: str, problem: str) -> None:
        super().__init__(f"{file}: {problem}")


def test_an_error_that_cannot_be_unpickled_is_told_all_the_same(tmp_path: Path) -> None:
    _report(DemandingError("cat.png", "no image"), tmp_path / "error.pt")
    error = torch.load(tmp_path / "error.pt", weights_only=False)
    assert (type(error), str(error)) == (ProcessesError, "DemandingError: cat.png: no image")


class TestShards:
    class Normed(nn.Module):
        own_state = nn.Module.state_dict

        def __init__(self) -> None:
            super().__init__()
            self.norm, self.weight = nn.BatchNorm1d(1), nn.Parameter(torch.tensor([2.0]))
            self.register_buffer("constant", torch.tensor([float("inf")]))

    def test_start_from_the_step_s_statistics_and_leave_their_mean(self) -> None:
        network, runtime = self.Normed(), RuntimeParameters(shards=2)
        shards = Shards(network, runtime, Group(), parts=1)
        images = torch.tensor([[1.0], [3.0], [7.0], [9.0]])
        for index, part in shards.cut(Batch(images, images)):
            assert torch.equal(network.norm.running_mean, torch.zeros(1))
            network.norm(part.images)
            shards.backward({"loss": (index + 1.0) * network.weight.sum()})
            assert network.weight.grad is None
        (losses,) = shards.join()
        assert losses == {"loss": 3.0}
        assert network.weight.grad.tolist() == [1.5]
        assert network.norm.weight.grad is None
        assert network.norm.running_mean.tolist() == [pytest.approx(0.1 * (2 + 8) / 2)]
        assert network.norm.num_batches_tracked == 1
        assert network.constant.isinf().all()

    def test_send_no_constants(self) -> None:
        network = self.Normed()
        network.register_buffer("shares", torch.ones(2, dtype=torch.float64), persistent=False)
        shards = Shards(network, RuntimeParameters(shards=2), Group(), parts=1)
        assert {buffer.dtype for buffer in shards._buffers} == {torch.float32}

    def test_are_taken_in_turn(self) -> None:
        runtime = RuntimeParameters(shards=4, processes=2)
        network = self.Normed()
        slots = [Shards(network, runtime, Group(rank, 2), 1).slots(8) for rank in range(2)]
        assert slots == [[0, 1, 4, 5], [2, 3, 6, 7]]

    def test_are_added_in_order(self) -> None:
        total = OrderedSum(Group())
        vectors = torch.randn(5, 100).float() * 10 ** torch.arange(5).unsqueeze(1)
        for vector in vectors:
            total.add(vector)
        assert torch.equal(total.take(), sum(vectors[1:], start=vectors[0]))

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            (
                {"gradient_accumulation_steps": 2},
                r"x\.gradient_accumulation_steps \(2\) must be 1 where the batch is cut into shards \(4\)",
            ),
            ({"batch_size": 6}, r"x\.batch_size \(6\) must be a multiple of the number of shards \(4\)"),
            ({"batch_size": 4}, r"x\.batch_size \(4\) must be at least twice the number of shards \(4\)"),
        ],
    )
    def test_that_do_not_fit_the_batch_are_refused(self, changes: dict, message: str) -> None:
        values = {
            "networks": {"student": NETWORKS["student"]},
            "method": {"name": "supervised"},
            "optimizers": {"student": {"learning_rate": 0.1}},
            "steps": 1,
            "batch_size": 8,
            "augmentation": {"crop_size": (8, 8)},
        }
        check_shards(StudentLearningParameters(**values), RuntimeParameters(shards=4), "x")
        parameters = StudentLearningParameters(**values | changes)
        check_shards(parameters, RuntimeParameters(), "x")
        with pytest.raises(ValueError, match=message):
            check_shards(parameters, RuntimeParameters(shards=4), "x")


def test_validation_batches_are_those_of_the_evaluation(context, splits) -> None:
    """So that processes that share them predict the same bits."""
    rows = splits.unlabeled.head(3).assign(width=[40, 20, 40], height=[32, 16, 32])
    context = context._replace(evaluation=EvaluationParameters(batch_size=1))
    assert [len(part) for part in split_into_batches(rows, context)] == [1, 1, 1]
    context = context._replace(evaluation=EvaluationParameters(batch_size=4))
    batches = split_into_batches(rows, context)
    assert [list(part["width"]) for part in batches] == [[20], [40, 40]]
    assert split_into_batches(rows.iloc[:0], context) == []
