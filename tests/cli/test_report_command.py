"""mlx report: every format of a saved result, as a user types the command."""

import os
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest
from tests.conftest import Mlx

from minilmx.cli.report import report
from minilmx.eval.reports.render import FORMATS

BOTH = ("--runner", "onnxruntime", "--runner", "groq-emulator")


@pytest.fixture
def saved(tiny: Path, mlx: Mlx, tmp_path: Path) -> Path:
    outcome = mlx("eval", tiny, "--limit", "20", "--max-abs", "1e-12", "-o", "r.json", *BOTH)
    assert outcome.code == 1, outcome
    return tmp_path / "r.json"


def test_the_command_offers_every_format() -> None:
    (option,) = (each for each in report.params if each.name == "form")
    assert tuple(option.type.choices) == FORMATS  # type: ignore[attr-defined]


def test_the_default_is_the_table_that_eval_printed(saved: Path, tiny: Path, mlx: Mlx) -> None:
    outcome = mlx("report", saved)
    assert outcome.code == 0, outcome
    assert outcome.stdout == mlx("report", saved, "--max-abs", "1e-12").stdout
    assert "FAIL  groq-emulator en  max_abs 1e-12" in outcome.stdout


@pytest.mark.parametrize(
    ("form", "start"),
    [("html", "<!doctype html>"), ("markdown", "## SAME: groq-emulator"), ("junit", "<?xml ")],
)
def test_every_format_goes_to_standard_output(form: str, start: str, saved: Path, mlx: Mlx) -> None:
    outcome = mlx("report", saved, "--format", form)
    assert outcome.code == 0, outcome
    assert outcome.stdout.startswith(start)
    assert "groq-emulator is an emulation" in outcome.stdout
    assert outcome.stderr == ""


@pytest.mark.parametrize(
    ("name", "start"), [("a.html", "<!doctype"), ("a.md", "##"), ("a.xml", "<?xml"), ("a.txt", "SAME: ")]
)
def test_the_extension_of_the_output_decides_the_format(
    name: str, start: str, saved: Path, mlx: Mlx, tmp_path: Path
) -> None:
    outcome = mlx("report", saved, "--output", f"new/{name}")
    assert outcome.code == 0, outcome
    assert outcome.stdout == ""
    assert outcome.stderr == f"report: new/{name}\n"
    assert (tmp_path / "new" / name).read_text("utf-8").split("/")[-1].startswith(start) or (
        (tmp_path / "new" / name).read_text("utf-8").startswith(start)
    )


def test_a_stated_format_overrides_the_extension(saved: Path, mlx: Mlx, tmp_path: Path) -> None:
    assert mlx("report", saved, "--format", "junit", "-o", "a.html").code == 0
    Xml.parse(tmp_path / "a.html")


def test_an_existing_file_is_kept_unless_forced(saved: Path, mlx: Mlx, tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text("mine")
    outcome = mlx("report", saved, "-o", "a.html")
    assert outcome.code == 3
    assert "already exists" in outcome.stderr
    assert (tmp_path / "a.html").read_text() == "mine"
    assert mlx("report", saved, "-o", "a.html", "--force").code == 0
    assert (tmp_path / "a.html").read_text().startswith("<!doctype html>")


def test_several_results_are_a_history(saved: Path, tiny: Path, mlx: Mlx) -> None:
    assert mlx("eval", tiny, "--limit", "20", "-o", "s.json", *BOTH).code == 0
    for form in ("table", "html", "markdown"):
        outcome = mlx("report", saved, "s.json", "--format", form)
        assert outcome.code == 0, outcome
        assert "groq-emulator is an emulation" in outcome.stdout
    for form in ("junit", "mteb"):
        outcome = mlx("report", saved, "s.json", "--format", form)
        assert outcome.code == 3
        assert f"the format {form}: 2 results; expected one" in outcome.stderr


def test_results_of_other_data_have_no_history(saved: Path, tiny: Path, mlx: Mlx) -> None:
    assert mlx("eval", tiny, "--limit", "21", "-o", "s.json", *BOTH).code == 0
    outcome = mlx("report", saved, "s.json")
    assert outcome.code == 3
    assert (
        "history: results of the number of pairs 20 and 21; expected the same number of pairs"
        in outcome.stderr
    )


def test_data_of_no_mteb_task_has_no_mteb_result(saved: Path, mlx: Mlx) -> None:
    outcome = mlx("report", saved, "--format", "mteb")
    assert outcome.code == 3
    assert "bundled, not of an mteb task" in outcome.stderr
    assert outcome.stdout == ""


def test_a_file_that_is_not_a_result_is_refused(tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    (tmp_path / "no.json").write_text("{}")
    assert mlx("report", "no.json").code == 3
    assert mlx("report", tiny / "mlx.json").code == 3
    assert mlx("report", "absent.json").code == 2
    assert mlx("report").code == 2


def test_only_the_mteb_format_takes_a_runner(saved: Path, mlx: Mlx) -> None:
    outcome = mlx("report", saved, "--format", "html", "--runner", "onnxruntime")
    assert outcome.code == 2
    assert "--runner needs --format mteb" in outcome.stderr


@pytest.mark.skipif(os.name == "nt", reason="permissions are POSIX's")
def test_an_output_that_cannot_be_written_is_refused_before_rendering(saved: Path, mlx: Mlx) -> None:
    outcome = mlx("report", saved, "-o", "r.json/a.html")
    assert outcome.code == 3
    assert "cannot be written" in outcome.stderr
