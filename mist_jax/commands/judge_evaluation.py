"""Judges the episodes of an evaluation again, in another way, and writes the report anew.

    python -m experiments.judge_evaluation --data_dir=runs/evaluation --horizon=32 --output_dir=out

What was done stays as it was; what counts as an alarm and as its coming true can change.
"""

import dataclasses
from typing import Any

from absl import flags

from mist_jax.commands.flags import extension_flags, report_flags
from mist_jax.commands.flags.folders import folder_of
from mist_jax.errors import UserError
from mist_jax.output_folder import check_output

_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "Folder that run_evaluation (or a collection) wrote.", required=True
)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Where the report goes.", required=True)
_RISK_THRESHOLD = flags.DEFINE_list(
    "risk_threshold",
    [],
    "Risk above which a motion alarms: one number, one per dimension or one per signed motion.",
)
_HORIZON = flags.DEFINE_integer(
    "horizon", None, "Control steps within which an alarm must come true.", 1, 10_000
)
_SHARE = flags.DEFINE_float(
    "share", None, "Least share of the approach for a dimension to be blamed.", 0.0, 1.0
)
_EQUIVALENCE_MARGIN = flags.DEFINE_float(
    "equivalence_margin", None, "Difference of rates below which arms count as equal.", 0.0, 1.0
)
flags.adopt_module_key_flags(report_flags)
flags.adopt_module_key_flags(extension_flags)  # arms that were run may be an extension's


def main() -> None:
    """Reads the episodes, judges them, writes the report."""
    from mist_jax.evaluation.judge import judge
    from mist_jax.evaluation.report.document import write_report
    from mist_jax.evaluation.run_setup import per_motion

    data, output = folder_of(_DATA_DIR.value), folder_of(_OUTPUT_DIR.value)
    if output.resolve() == data.resolve():
        raise UserError("--output_dir is --data_dir: its report is of the run itself; name another")
    check_output(output, "report")
    otherwise: dict[str, Any] = {
        "horizon": _HORIZON.value,
        "share": _SHARE.value,
        "equivalence_margin": _EQUIVALENCE_MARGIN.value,
    }
    if _RISK_THRESHOLD.value:
        asked = per_motion(_RISK_THRESHOLD.value, "--risk_threshold", most=1.0)
        otherwise["threshold"] = tuple(asked.tolist())
    results = judge(data, **{name: v for name, v in otherwise.items() if v is not None})
    output.mkdir(parents=True, exist_ok=True)
    # A report links to nothing outside of its folder.
    here = [dataclasses.replace(result, video=None) for result in results]
    print("\n".join(write_report(output, here, data, report_flags.PAIRS.value)))
