"""A method is found by its name or its path, and what is wrong with its parameters is named."""

from abc import abstractmethod

import pytest
import torch

import mean_teacher
from igl_dt.losses.parameters import SupervisedLossParameters
from igl_dt.methods.base import Method
from igl_dt.methods.cps import CpsParameters, CrossPseudoSupervision
from igl_dt.methods.igl_dt import IglDt, IglDtParameters
from igl_dt.methods.parameters import MethodChoice
from igl_dt.methods.registry import build_method, find_method, method_parameters
from igl_dt.methods.supervised import Supervised, SupervisedParameters
from mean_teacher import MeanTeacher, MeanTeacherParameters

OUTSIDE = "mean_teacher:MeanTeacher"


def choose(name: str, **sections: object) -> MethodChoice:
    return MethodChoice(name=name, **sections)


class TestFinding:
    @pytest.mark.parametrize("kind", [CrossPseudoSupervision, IglDt, Supervised])
    def test_by_name(self, kind: type) -> None:
        assert find_method(kind.name) is kind

    def test_by_path(self) -> None:
        assert find_method(OUTSIDE) is MeanTeacher
        assert find_method("igl_dt.methods.cps:CrossPseudoSupervision") is CrossPseudoSupervision

    def test_an_unknown_name_brings_the_nearest_one(self) -> None:
        with pytest.raises(ValueError, match=r"^some\.key: there is no method 'igl_td'; did you mean 'igl_dt'\?$"):
            find_method("igl_td", "some.key")
        with pytest.raises(ValueError, match=r"there is no method 'xyz'; there are .*cps, .*supervised"):
            find_method("xyz")

    @pytest.mark.parametrize("name", ["absent_module:Class", "mean_teacher:Absent", "mean_teacher:", ":MeanTeacher"])
    def test_a_path_to_nothing_says_where_modules_are_looked_for(self, name: str) -> None:
        with pytest.raises(ValueError, match=rf"some\.key: '{name}' cannot be imported: .*PYTHONPATH"):
            find_method(name, "some.key")

    @pytest.mark.parametrize("name", ["mean_teacher:MeanTeacherParameters", "mean_teacher:copy", "torch.nn:Linear"])
    def test_what_is_no_method_is_refused(self, name: str) -> None:
        with pytest.raises(ValueError, match=rf"'{name}' is not a subclass of igl_dt\.methods\.base\.Method"):
            find_method(name)

    @pytest.mark.parametrize(
        ("kind", "lacking"),
        [
            (type("Nameless", (MeanTeacher,), {"forward": abstractmethod(lambda self: None)}), "forward"),
            (type("Bare", (Method,), {"forward": MeanTeacher.forward}), "name, parameters_type"),
        ],
    )
    def test_an_incomplete_class_is_refused(self, kind: type, lacking: str, monkeypatch) -> None:
        monkeypatch.setattr(mean_teacher, "Incomplete", kind, raising=False)
        with pytest.raises(ValueError, match=f"some.key: 'mean_teacher:Incomplete' does not define {lacking}, which"):
            find_method("mean_teacher:Incomplete", "some.key")


class TestParameters:
    def test_are_those_of_the_chosen_section(self) -> None:
        sections = {"cps": {"cps_weight": 1.5}, "igl_dt": {"swap_every": 3}}
        assert method_parameters(choose("cps", **sections)) == CpsParameters(cps_weight=1.5)
        assert method_parameters(choose("igl_dt", **sections)) == IglDtParameters(swap_every=3)
        assert method_parameters(choose("supervised", **sections)) == SupervisedParameters()

    def test_of_a_method_outside_have_its_name_as_section(self) -> None:
        choice = choose(OUTSIDE, test_mean_teacher={"decay": 0.5}, cps={})
        assert method_parameters(choice) == MeanTeacherParameters(decay=0.5)

    @pytest.mark.parametrize("chosen", ["cps", "igl_dt", "supervised"])
    def test_wrong_keys_are_named_whatever_is_chosen(self, chosen: str) -> None:
        with pytest.raises(ValueError, match=r"a\.method") as raised:
            method_parameters(
                choose(chosen, igl_dt={"swap_evry": 1, "global_weight": -1}, cps={"weight": 1}), "a.method"
            )
        lines = sorted(str(raised.value).splitlines())
        assert len(lines) == 3
        assert lines[0].startswith("a.method.cps.weight: unknown")
        assert lines[1].startswith("a.method.igl_dt.global_weight: ")
        assert lines[1].endswith("not -1")
        assert lines[2] == "a.method.igl_dt.swap_evry: unknown; did you mean 'swap_every'?"

    def test_a_section_of_no_method_is_refused(self) -> None:
        with pytest.raises(
            ValueError, match=r"^a\.method\.igldt: there is no method 'igldt'; did you mean 'igl_dt'\?$"
        ):
            method_parameters(choose("cps", igldt={}), "a.method")

    def test_the_section_of_a_method_outside_is_unknown_where_it_is_not_chosen(self) -> None:
        with pytest.raises(ValueError, match="there is no method 'test_mean_teacher'"):
            method_parameters(choose("cps", test_mean_teacher={}))


class TestBuilding:
    def test_gives_the_method_its_networks_and_the_teachers_that_it_needs(self, tiny_network) -> None:
        roles = ("global_teacher", "local_teacher", "another_teacher")
        networks, teachers = {"student": tiny_network(1)}, {role: tiny_network(2).train() for role in roles}
        loss = SupervisedLossParameters(name="ohem")
        method = build_method(choose("igl_dt", igl_dt={"swap_every": 3}), networks, teachers, loss, 7)
        assert isinstance(method, IglDt)
        assert method.options.swap_every == 3
        assert method.setup.supervised_loss is loss
        assert method.setup.steps == 7
        assert set(method.teachers) == {"global_teacher", "local_teacher"}
        for role, teacher in method.teachers.items():
            assert teacher is teachers[role]
            assert not teacher.training
            assert not any(parameter.requires_grad for parameter in teacher.parameters())
        assert all(parameter.requires_grad for parameter in networks["student"].parameters())

    def test_missing_teachers_are_named_with_the_pipeline_that_trains_them(self, tiny_network) -> None:
        networks, teachers = {"student": tiny_network(1)}, {"global_teacher": tiny_network(2)}
        pattern = (
            r"a\.method\.name: igl_dt learns from local_teacher, .*kedro run --pipelines=teacher_pretraining first"
        )
        with pytest.raises(ValueError, match=pattern):
            build_method(choose("igl_dt"), networks, teachers, SupervisedLossParameters(), 1, "a.method")
        with pytest.raises(ValueError, match="learns from global_teacher and local_teacher"):
            build_method(choose("igl_dt"), networks, {}, SupervisedLossParameters(), 1)
        build_method(choose("supervised"), networks, {}, SupervisedLossParameters(), 1)

    def test_predictions_of_teachers_have_no_gradient(self, tiny_network, make_batch) -> None:
        teachers = {role: tiny_network(2) for role in IglDt.required_teachers}
        method = build_method(choose("igl_dt"), {"student": tiny_network(1)}, teachers, SupervisedLossParameters(), 1)
        predicted = method.predict_teachers(make_batch().images)
        assert predicted.keys() == teachers.keys()
        assert not any(torch.is_grad_enabled() and output.logits.requires_grad for output in predicted.values())
