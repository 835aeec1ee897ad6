"""Suppress other packages' progress bars and warnings while models are loaded and saved."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partialmethod

PACKAGES = ("transformers", "peft", "accelerate", "safetensors", "huggingface_hub")


@contextmanager
def quiet() -> Iterator[None]:
    """While active, suppress the progress bars and warnings of other packages.

    Downloads keep their bars, because they can take long. Errors are raised as usual.
    """
    # Imported here: only loading and saving models needs it.
    from tqdm.auto import tqdm

    loggers = [logging.getLogger(name) for name in PACKAGES]
    levels = [logger.level for logger in loggers]
    start = tqdm.__init__
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            # The bars of downloads pass `disable` explicitly, which takes precedence.
            tqdm.__init__ = partialmethod(start, disable=True)  # pyright: ignore
            yield
        finally:
            tqdm.__init__ = start
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
