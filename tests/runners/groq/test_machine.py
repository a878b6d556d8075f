"""What is found on a machine: versions by every package manager, the operating system, and cards."""

import shutil

import pytest

from minilmx.runners.groq import machine


@pytest.mark.parametrize(
    ("version", "numbers"),
    [
        ("0.10.0", (0, 10)),
        ("0.10.0.1", (0, 10, 0, 1)),
        ("1:0.10.0-2ubuntu1", (0, 10)),
        ("0.9.3.1-1.el8", (0, 9, 3, 1)),
        ("0.11.0~rc1", (0, 11)),
        ("0.10.0+standin", (0, 10)),
        ("unknown", ()),
    ],
)
def test_a_release_is_compared_without_epoch_and_packaging(version, numbers):
    assert machine.release(version) == numbers


@pytest.fixture
def only(tmp_path, monkeypatch, groqware):
    """Let PATH hold only these stand-ins, and no runtime be found."""

    def limit(*tools, **switches):
        folder = tmp_path / "bin"
        folder.mkdir()
        for tool in tools:
            shutil.copy(groqware / tool, folder)
        monkeypatch.setenv("PATH", str(folder))
        for name, value in {"PYTHONPATH": "", "MINILMX_GROQ_RUNTIME": "", **switches}.items():
            monkeypatch.setenv(name, value)
        return [machine.package_version(name) for name in (machine.DEVTOOLS, machine.RUNTIME)]

    return limit


@pytest.mark.parametrize("tool", ["bin/dpkg-query", "bin/apt-cache", "rocky/rpm", "rocky/dnf"])
@pytest.mark.parametrize("answer", ["0.11.0", "none"])
def test_each_package_manager_states_the_versions(only, tool, answer):
    known = None if answer == "none" else answer
    assert only(tool, GROQWARE_DEVTOOLS=answer, GROQWARE_RUNTIME=answer) == [known, known]


def test_the_quick_tool_of_either_family_is_enough(only):
    """Ubuntu offers rpm, too, and apt-cache and dnf can take longer than anybody waits."""
    tools = ("bin/dpkg-query", "bin/apt-cache", "rocky/rpm", "rocky/dnf")
    switches = {"GROQWARE_DNF_SECONDS": "600", "GROQWARE_DEVTOOLS": "none"}
    assert only(*tools, **switches) == [None, "0.10.0+standin"]


@pytest.mark.slow
def test_a_slow_dnf_is_waited_for(only):
    assert only("rocky/dnf", GROQWARE_DNF_SECONDS="6") == ["0.9.3.1", "0.9.3.1"]


def test_without_a_package_manager_the_runtimes_own_metadata_states_its_version(only, tmp_path):
    runtime = tmp_path / "site-packages"
    (runtime / "groq" / "runner").mkdir(parents=True)
    (runtime / "groq-0.11.0.dist-info").mkdir()
    (runtime / "groq-0.11.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: groq\nVersion: 0.11.0\n"
    )
    assert only(MINILMX_GROQ_RUNTIME=str(runtime)) == [None, "0.11.0"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('NAME="Ubuntu"\nVERSION_ID="22.04"\nID=ubuntu\n', ("Ubuntu", "22.04")),
        ("NAME='Rocky Linux'\nVERSION_ID=8.8\n", ("Rocky Linux", "8.8")),
        ("NAME\n\n# comment\n", ("", "")),
        (None, ("", "")),
    ],
)
def test_the_operating_system_is_read_from_any_os_release(tmp_path, text, expected):
    path = tmp_path / "os-release"
    if text is not None:
        path.write_text(text)
    found = machine.read_os(path)
    assert (found.name, found.version) == expected


def test_without_lspci_the_drivers_device_files_show_that_there_are_cards(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda *words, **settings: None)
    assert not machine.find_cards(tmp_path).exist
    for number in range(8):
        (tmp_path / f"groqA{number}").touch()
    cards = machine.find_cards(tmp_path)
    assert cards.exist
    assert cards.listed is None
    assert len(cards.device_files) == 8


def test_cards_that_lspci_does_not_list_are_found_by_their_device_files(tmp_path, only, monkeypatch):
    only("bin/lspci", GROQWARE_CARDS="0")
    assert machine.find_cards(tmp_path).listed == 0
    (tmp_path / "groqA0").touch()
    assert machine.find_cards(tmp_path).exist
