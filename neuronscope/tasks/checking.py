"""Whether the models that a command names can be loaded, found out without reading weights."""

from collections.abc import Iterable

from transformers import PreTrainedTokenizerBase

from neuronscope.models.loading import load_tokenizer
from neuronscope.models.sources import check_device, check_source
from neuronscope.tasks.options import ModelOptions


def tokenizers_of(sources: Iterable[str], loading: ModelOptions) -> list[PreTrainedTokenizerBase]:
    """The tokenizer of each source, after a look at the device and at every source's files.

    Raises:
        ValueError, FileNotFoundError: What is wrong, in one line.
    """
    check_device(loading.device, loading.device_map)
    tokenizers = []
    for source in sources:
        check_source(source, loading.base, loading.allow_pickle)
        tokenizers.append(load_tokenizer(source, loading.base, loading.trust_remote_code))
    return tokenizers
