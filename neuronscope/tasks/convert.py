"""Convert any supported model to a Hugging Face directory."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from neuronscope.tasks._task import Loading, Model, Task


@dataclass(frozen=True)
class Convert(Task[tuple[str, ...]]):
    """Convert any supported model to a Hugging Face directory, and verify the copy."""

    model: Annotated[Any, Model()]
    """HF directory, hub id, adapter directory, or .gguf file."""

    loading: Loading = field(default_factory=Loading)

    def check(self) -> None:
        from neuronscope.tasks._models import tokenizers_of

        tokenizers_of([self.model], self.loading)

    def _perform(self, folder: Path | None) -> Any:
        """Write the model; returns the notes from loading it."""
        from neuronscope.models.loading import save_model
        from neuronscope.tasks._models import loaded

        if folder is None:
            raise ValueError("Expected a folder for the converted model, got None.")
        if folder.exists():
            raise FileExistsError(f"{folder} exists: choose another directory or move it away.")
        model = loaded(self.model, self.loading)
        save_model(model, folder)
        return model.notes
