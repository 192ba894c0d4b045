"""What ``kedro reproduce`` says of what came out."""

from igl_dt.dvc_ext.reproduce import Report


def test_the_same_outputs() -> None:
    report = Report({"a.csv": ("1" * 32, "1" * 32)}, {"torch": ("1", "2")})
    assert report.same
    assert report.table().splitlines() == ["a.csv  same", "1 of 1 outputs are the same to the last bit"]


def test_what_differs_and_what_may_be_the_reason() -> None:
    report = Report(
        {
            "a.csv": ("1" * 32, "2" * 32),
            "weights": ("3" * 32, "3" * 32),
            "new": ("missing", "4" * 32),
            "old": ("5" * 32, "missing"),
        },
        {"kernels": ("AVX512", "AVX2")},
    )
    assert not report.same
    assert report.table().splitlines() == [
        "a.csv    different: 111111111111 committed, 222222222222 here",
        "weights  same",
        "new      new: 444444444444",
        "old      gone: 555555555555 committed",
        "1 of 4 outputs are the same to the last bit",
        "what differs in the environment:",
        "  kernels: AVX512 recorded, AVX2 here",
    ]


def test_environment_that_are_no_reason() -> None:
    assert Report({"a": ("1", "2")}, {}).table().endswith("the recorded environment are the same as here")
