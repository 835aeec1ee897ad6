"""Loading the models of a task. Imports torch, so tasks import this module only when they run."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.loading import load_model, load_tokenizer
from neuronscope.models.sources import check_device, check_source
from neuronscope.tasks._task import Loading


def loaded(model: HookedModel | str | Path, loading: Loading) -> HookedModel:
    """A model, loaded if necessary."""
    return model if isinstance(model, HookedModel) else load_model(model, **asdict(loading))


def tokenizers_of(
    models: Iterable[HookedModel | str | Path], loading: Loading
) -> list[PreTrainedTokenizerBase]:
    """Check the device and the files of every model, and return the models' tokenizers.

    Raises:
        ValueError, FileNotFoundError: If the device or a model is unusable.
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
