"""Self-contained HTML pages: a diagnosis, for somebody who must judge a checkpoint; and a study."""

from neuronscope.report.page import write_report
from neuronscope.report.study_page import write_study_report

__all__ = ["write_report", "write_study_report"]
