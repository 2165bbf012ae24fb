"""The flags of a causal bank, and how the extraction makes one."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from absl import flags
from rich.table import Table

from mist_jax.commands.flags.folders import folder_of
from mist_jax.episodes.dataset_info import load_info
from mist_jax.errors import UserError
from mist_jax.ids import parse_ids

if TYPE_CHECKING:
    from mist_jax.counterfactual.fitting.search import HeldOut
    from mist_jax.policy.policy import Policy

AUTO, NONE = "auto", "none"

LAYERS = flags.DEFINE_string(
    "causal_layers",
    AUTO,
    "Layers to push at, such as 4 or 1-4: the one whose pushes do best on held-out scenes is kept. "
    "auto: the last but one, where the data keep pictures of queries; none: no causal bank.",
)
TOKENS = flags.DEFINE_string("causal_tokens", "action", "Role of the tokens that are pushed.")
PER_TOKEN = flags.DEFINE_bool(
    "causal_per_token", True, "Each token its own push; else all of them the same."
)
READS = flags.DEFINE_list(
    "causal_reads",
    ["action", "image", "proprio"],
    "Roles of the tokens whose mean activations the linear form and fitted intents look at.",
)
STATES = flags.DEFINE_integer(
    "causal_states", 1000, "Stored queries, at most, that the action is differentiated at.", 20
)
MEASURED = flags.DEFINE_integer(
    "causal_measured", 40, "Held-out queries, at most, that each form's effect is measured on.", 1
)
BRANCHES = flags.DEFINE_string(
    "branches", None, "Folder of collect_branches: intents are fitted to what became of branches."
)
HELD_OUT = flags.DEFINE_enum(
    "branches_held_out",
    "scene",
    ["scene", "task"],
    "Whether what fitted intents would have led to is told of new scenes or of new tasks.",
)


def check(data: Sequence[Path]) -> bool:
    """Whether a causal bank is to be made; refuses early what cannot be.

    Raises:
        UserError: it is asked for and the data keep no pictures, or branches for no bank.
    """
    pictured = any(load_info(folder).images != NONE for folder in data)
    wanted = LAYERS.value.strip() != NONE and (pictured or LAYERS.value.strip() != AUTO)
    if wanted and not pictured:
        raise UserError(
            f"--causal_layers: {data[0]} keeps no pictures, which a Jacobian needs; collect with "
            "--images=query, or give --causal_layers=none"
        )
    if BRANCHES.value and not wanted:
        raise UserError(
            "--branches: intents belong to a causal bank, which needs data with --images=query"
        )
    if BRANCHES.value and load_info(_branches()).kind != "branches":
        raise UserError(
            f"--branches: {BRANCHES.value} holds no branches; collect_branches writes them"
        )
    return wanted


def make(
    data: Sequence[Path], policy: "Policy", output: Path, seed: int
) -> tuple[Path, list[Table]]:
    """Makes the bank and writes it beside what is there.

    Returns:
        Where it is, what each form of its pushes does to the action, and, with branches, what the
        intents chose.
    """
    from mist_jax.counterfactual.fitting.search import Search
    from mist_jax.episodes.index import dataset_hash
    from mist_jax.episodes.reader import read_episodes
    from mist_jax.steering.causal.build import CausalConfig, make_causal_bank
    from mist_jax.steering.causal.checkpoint import save_causal_bank
    from mist_jax.steering.causal.intents import fit_intents
    from mist_jax.steering.causal.report import effect_rows, save_causal_report
    from mist_jax.steering.causal.states import gather_states
    from mist_jax.steering.study.leftovers import remove_others

    auto = LAYERS.value.strip() == AUTO
    depth = policy.layers
    layers = (max(depth - 2, 0),) if auto else parse_ids(LAYERS.value, depth, "layer")
    config = CausalConfig(
        layers=layers,
        tokens=TOKENS.value,
        per_token=PER_TOKEN.value,
        reads=tuple(READS.value),
        measured=MEASURED.value,
        seed=seed,
    )
    pictured = read_episodes(*data, images=True)
    states = gather_states(pictured, policy, limit=STATES.value, seed=seed)
    bank, findings = make_causal_bank(policy, states, config, dataset_hash(*data), say=_say)
    branches = _branches() if BRANCHES.value else None
    held_out = cast("HeldOut", HELD_OUT.value)
    bank, report = fit_intents(bank, data, branches, Search(seed=seed), held_out)
    path = save_causal_bank(output, bank)
    remove_others(output, bank.metadata.model, bank.metadata.dataset_hash, print)
    save_causal_report(output, bank, findings, report)
    tables = []
    for form, effects in bank.effects.items():
        title = f"{form} push at layer {bank.metadata.layer}, {effects.states} held-out states"
        table = Table("motion", "sign right", "realised / wanted", "cross-talk", "", title=title)
        for row in effect_rows(effects):
            table.add_row(*row)
        tables.append(table)
    if branches is not None:
        tables.append(_intents_table(report["held out"], held_out))
    return path, tables


def _intents_table(report: dict[str, Any], held_out: str) -> Table:
    from mist_jax.counterfactual.fitting.regret import avoided_rows

    title = f"what was chosen where standing pat harms soon, {held_out}s held out"
    columns = ("acts", "harm soon", "harm", "success", "of avoidable harm avoided", "regret")
    table = Table("policy", *columns, title=title)
    for row in avoided_rows(report, "_where_zero_harms_soon"):
        table.add_row(*row)
    return table


def _branches() -> Path:
    return folder_of(BRANCHES.value or "")


def _say(text: str) -> None:
    print(f"causal bank: {text}", flush=True)
