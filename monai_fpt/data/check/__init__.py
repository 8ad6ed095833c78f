"""What is wrong with a data set, before a training learns it: unreadable files, copies across sections, torn patients, spoilt pixels,
shortcuts.

``check_data_list`` reads every image once, in parallel, and keeps a few numbers and a small look of each (:mod:`.probe`).
Each kind of finding is a pure function of those (:mod:`.duplicates`, :mod:`.patients`, :mod:`.balance`, :mod:`.quality`,
:mod:`.shortcuts`); the report is their list, printed as a table or written as one page.
"""

from __future__ import annotations

from monai_fpt.data.check.examine import check_data_list
from monai_fpt.data.check.finding import FPTDataFinding
from monai_fpt.data.check.report import FPTDataReport
from monai_fpt.data.check.run import run_data_check

__all__ = ["FPTDataFinding", "FPTDataReport", "check_data_list", "run_data_check"]
