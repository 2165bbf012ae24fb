"""The flags of a report, for the binaries that write one."""

from absl import flags

PAIRS = flags.DEFINE_integer(
    "report_pairs",
    4,
    "Scenes in which an arm ended otherwise than the policy alone that the report shows side by "
    "side: as films where both were drawn (--save_video=all), in at most 8 MB.",
    0,
    100,
)
