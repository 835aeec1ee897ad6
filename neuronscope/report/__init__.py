"""The diagnosis as one self-contained HTML page, for somebody who must judge a checkpoint."""

from neuronscope.report.page import write_report

__all__ = ["write_report"]
