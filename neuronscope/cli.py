"""The command line: parses, calls one function, prints. Computes nothing, holds no default.

Nothing heavy is imported here, so that `--help` answers at once.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.extras import literal_type_from_choices

from neuronscope._discover import method_names
from neuronscope.options import MethodOptions, ModelOptions
