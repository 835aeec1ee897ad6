"""Other packages' bars and warnings, kept out of sight while models are read and written."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partialmethod

PACKAGES = ("transformers", "peft", "accelerate", "safetensors", "huggingface_hub")


@contextmanager
def quiet() -> Iterator[None]:
    """While active, other packages show no bars and no warnings; then all is as it was.

    Downloads keep their bars, because they can take long. Errors are raised as always.
    """
    # Imported here: it belongs to the packages that load models, and not all uses do.
    from tqdm.auto import tqdm

    loggers = [logging.getLogger(name) for name in PACKAGES]
    levels = [logger.level for logger in loggers]
    start = tqdm.__init__
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            # Bars of downloads say themselves whether they are shown.
            tqdm.__init__ = partialmethod(start, disable=True)  # pyright: ignore
            yield
        finally:
            tqdm.__init__ = start
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
