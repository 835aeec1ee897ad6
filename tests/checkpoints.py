"""Checkpoints of tiny models, as files."""

import json
import re
from pathlib import Path

import pytest
import torch
from tiny import hf_model, tokenizer


def checkpoint(folder: Path, architecture: str = "llama", seed: int = 0, **changes: object) -> Path:
    """A Hugging Face directory, written by plain transformers; other seeds give other models."""
    model = hf_model(architecture, torch.float32, **changes)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if seed and parameter.dim() > 1:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def edit_json(file: Path, **changes: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def one_line(error: pytest.ExceptionInfo[BaseException], *parts: str | Path) -> None:
    """Check that an error is one line of moderate length and names its cause."""
    message = str(error.value)
    assert message.isprintable() and 10 < len(message) < 600
    for part in parts:
        assert re.search(re.escape(str(part)), message), message
