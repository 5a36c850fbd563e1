"""What a process runs in: one reading of GNIVO_STATIC, the hub, the threads, what is missing."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

import gnivo_edu.course
import gnivo_edu.policies
from gnivo_edu import machine


@pytest.mark.parametrize(
    ("value", "static"),
    [("1", True), ("yes", True), ("0", False), ("", False), ("False", False), ("off", False)],
)
def test_one_variable_asks_for_still_pictures_where_a_kernel_runs(monkeypatch, value, static):
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setenv("GNIVO_STATIC", value)
    assert machine.is_static() is static


def test_the_public_names_stay():
    assert gnivo_edu.course.is_static is machine.is_static
    assert gnivo_edu.policies.pick_device is machine.pick_device


def test_importing_it_brings_nothing_heavy():
    code = (
        "import sys, gnivo_edu.machine, gnivo_edu.statistics, gnivo_edu.course; "
        "assert not {'torch', 'huggingface_hub', 'IPython', 'jinja2'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_one_thread_gives_the_threads_back():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        alone = machine.one_thread()(torch.get_num_threads)
        assert alone() == 1
        assert torch.get_num_threads() == 3
        with pytest.raises(ZeroDivisionError):
            machine.one_thread()(lambda: 1 / 0)()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("status", "answers"), [("there", True), ("no such name", True), ("no network", False)]
)
def test_the_hub_answers_unless_nothing_comes_back(monkeypatch, status, answers):
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError

    def info(self, name, timeout):
        assert timeout == machine.HUB_TIMEOUT
        if status == "no such name":
            raise HFValidationError(name)
        if status == "no network":
            raise OSError(name)

    monkeypatch.setattr(HfApi, "model_info", info)
    monkeypatch.setattr(HfApi, "dataset_info", info)
    assert machine.hub_answers("a/b") is answers
    assert machine.hub_answers("a/b", "dataset") is answers


def test_the_doctor_fails_where_something_required_is_missing(monkeypatch):
    assert machine.examine()["passed"]
    monkeypatch.setattr(machine, "REQUIRED", ("numpy", "no-such-package"))
    report = machine.examine()
    (row,) = [row for row in report["findings"] if row["what"] == "no-such-package"]
    assert not report["passed"]
    assert row["found"] == "not found"
    assert row["mend"].startswith("run: pip install")
    monkeypatch.setattr(machine, "REQUIRED", ("numpy",))
    monkeypatch.setattr(machine, "OPTIONAL", {"no-such-package": "dev"})
    assert machine.examine()["passed"]


@pytest.mark.parametrize(("load", "told"), [(0.2, False), (17.0, True)])
def test_the_doctor_says_where_others_use_the_cores(
    load: float, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine.os, "getloadavg", lambda: (load, 0.0, 0.0), raising=False)
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 2)
    (row,) = [row for row in machine.examine()["findings"] if row["what"] == "load"]
    assert row["found"] == f"{load:.1f} processes on 2 cores"
    assert ("OMP_NUM_THREADS=1" in row["mend"]) is told


def test_the_device_is_the_fastest_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert machine.pick_device(exact=True).type == "cpu"
    assert machine.pick_device().type == "mps"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert machine.pick_device().type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert machine.pick_device(exact=True).type == "cuda"
