"""The models that a task reads; this module imports torch, and tasks import it when they run."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.loading import load_model, load_tokenizer
from neuronscope.models.sources import check_device, check_source
from neuronscope.tasks._task import Loading


def loaded(model: HookedModel | str | Path, loading: Loading) -> HookedModel:
    """A model, which may still have to be loaded."""
    return model if isinstance(model, HookedModel) else load_model(model, **asdict(loading))


def tokenizers_of(
    models: Iterable[HookedModel | str | Path], loading: Loading
) -> list[PreTrainedTokenizerBase]:
    """The tokenizer of each model, after a look at the device and at every model's files.

    Raises:
        ValueError, FileNotFoundError: What is wrong, in one line.
    """
    check_device(loading.device, loading.device_map)
    tokenizers = []
    for model in models:
        if isinstance(model, HookedModel):
            tokenizers.append(model.tokenizer)
            continue
        check_source(model, loading.base, loading.allow_pickle)
        tokenizers.append(load_tokenizer(model, loading.base, loading.trust_remote_code))
    return tokenizers
