"""`report.html` and `summary.json`, functions of the results and their videos alone."""

import colorsys
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from PIL import ImageColor

from mist_jax.axes import SIGNED_MOTIONS
from mist_jax.disk import full_disk_is_clear, replace_file
from mist_jax.evaluation.arms.registry import row_of
from mist_jax.evaluation.metrics import METRICS
from mist_jax.evaluation.report.charts.around import around_charts
from mist_jax.evaluation.report.charts.chart import Chart, drawing_program
from mist_jax.evaluation.report.charts.forecasts import forecast_charts
from mist_jax.evaluation.report.charts.harm import harm_charts
from mist_jax.evaluation.report.charts.rates import effect_charts, rate_charts
from mist_jax.evaluation.report.charts.timeline import timeline
from mist_jax.evaluation.report.differing import Differing, differing, subject_of
from mist_jax.evaluation.report.episode_rows import (
    MARKS,
    SAID,
    episode_table,
    first_contact,
    kind_of,
    task_table,
)
from mist_jax.evaluation.report.lead import lead, policy_name
from mist_jax.evaluation.report.numbers import estimate_text, gap_text, number_text, p_text
from mist_jax.evaluation.report.pair_films import EmbeddedFilm, embedded_films
from mist_jax.evaluation.report.summary import arms_of, summarise
from mist_jax.evaluation.report.verdicts import verdicts
from mist_jax.evaluation.results import EpisodeResult
from mist_jax.record.episode import UNSTEERED, EpisodeKey

SUMMARY_FILE, REPORT_FILE = "summary.json", "report.html"
PAIRS = 4  # scenes in which arms differ that are shown, with films where there are pictures
LIGHT, GREY = 0.62, 0.25  # least lightness on a dark page; saturation below which a colour is grey
_DATA = {
    "summary.json": "every number of this page",
    "episodes.jsonl": "the episodes, one line each",
    "dataset.json": "how they were run",
    "dataset_info.json": "for tensorflow_datasets",
}
_PAGE = Path(__file__).parent / "page"


def write_report(
    folder: Path, results: Sequence[EpisodeResult], source: Path | None = None, pairs: int = PAIRS
) -> list[str]:
    """Writes both files from all results of the folder.

    Args:
        folder: where they go.
        results: of one evaluation, at least one.
        source: the dataset of the episodes, whose videos are embedded; None for none.
        pairs: most scenes in which arms differ that are shown.

    Returns:
        What they say, in a few lines for the terminal.

    Raises:
        UserError: the disk is full.
    """
    summary = summarise(results)
    films = _films(results, summary, source, pairs)
    text = json.dumps(summary, indent=1, allow_nan=False)
    with full_disk_is_clear(folder):
        replace_file(folder / SUMMARY_FILE, (text + "\n").encode())
        data = {name: words for name, words in _DATA.items() if (folder / name).is_file()}
        page = render(results, summary, films=films, pairs=pairs, data=data)
        replace_file(folder / REPORT_FILE, page.encode())
    return [*verdicts(summary), f"report: {folder / REPORT_FILE}"]


def render(
    results: Sequence[EpisodeResult],
    summary: Mapping[str, Any],
    *,
    films: Mapping[EpisodeKey, EmbeddedFilm] | None = None,
    pairs: int = PAIRS,
    data: Mapping[str, str] | None = None,
) -> str:
    """The report: one HTML document that loads nothing.

    `films` are by episode, `data` what the files beside it hold, by name.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_PAGE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "estimate": estimate_text,
        "gap": gap_text,
        "p": p_text,
        "number": number_text,
        "thousandths": lambda value: number_text(None if value is None else 1000 * value),
    }
    contrasts: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for effect in summary["effects"]:
        contrasts.setdefault((effect["arm"], effect["against"]), []).append(effect)
    arms, controls = arms_of(results), _controls(summary)
    scenes = _differing(results, summary, pairs)
    charts = {
        "rates": rate_charts(summary),
        **{f"against {control}": effect_charts(summary, control) for control in controls},
        "around": around_charts(summary),
        "harm": harm_charts(summary),
        "forecasts": forecast_charts(summary),
        "timelines": _timelines(scenes, arms),
    }
    drawn = [chart for of in charts.values() for chart in of]
    return environment.get_template("report.html.j2").render(
        summary=summary,
        lead=lead(summary),
        policy=policy_name(summary),
        subject=subject_of(summary),
        contrasts=contrasts,
        against={e["arm"]: e for e in summary["effects"] if _is_first(e)},
        controls=controls,
        unsteered=UNSTEERED,
        run=summary["run"],
        metrics=METRICS,
        motions=_alarming(summary),
        compared=[name for name in METRICS if name != "acted"],
        verdicts=verdicts(summary),
        charts=charts,
        specs=_script({chart.name: chart.spec for chart in drawn}),
        palette=_script(_palette(arms)),
        colours=dict(zip(arms, zip(*_palette(arms).values(), strict=True), strict=True)),
        program=drawing_program(),
        scenes=scenes,
        films={str(key): film for key, film in (films or {}).items()},
        first_contact=first_contact,
        kind_of=kind_of,
        tasks=task_table(results, arms),
        episodes=episode_table(results),
        marks=MARKS,
        said=SAID,
        data=data or {},
    )


def _is_first(effect: Mapping[str, Any]) -> bool:
    """What the first table compares."""
    return effect["metric"] == "collision" and effect["against"] == UNSTEERED


def _differing(
    results: Sequence[EpisodeResult], summary: Mapping[str, Any], pairs: int
) -> Differing | None:
    subject = subject_of(summary)
    if subject is None or UNSTEERED not in summary["arms"]:
        return None
    return differing(results, subject, pairs)


def _films(
    results: Sequence[EpisodeResult], summary: Mapping[str, Any], source: Path | None, pairs: int
) -> dict[EpisodeKey, EmbeddedFilm]:
    found = _differing(results, summary, pairs)
    if source is None or found is None:
        return {}
    return embedded_films(source, [result for pair in found.shown for result in pair])


def _timelines(scenes: Differing | None, arms: Sequence[str]) -> list[Chart]:
    return [
        timeline(str(result.key), result, arms, until=max(one.steps for one in pair))
        for pair in (scenes.shown if scenes else ())
        for result in pair
    ]


def _alarming(summary: Mapping[str, Any]) -> list[tuple[int, str, float]]:
    """Index, name and threshold of the signed motions that can alarm."""
    thresholds = zip(SIGNED_MOTIONS, summary["run"]["threshold"], strict=True)
    return [(i, name, level) for i, (name, level) in enumerate(thresholds) if level is not None]


def _controls(summary: Mapping[str, Any]) -> dict[str, str]:
    """What was compared with, in the order of the effects: name -> words."""
    names = dict.fromkeys(effect["against"] for effect in summary["effects"])
    rows = {name: row_of(name) for name in names}
    return {name: row.control.words for name, row in rows.items() if row.control is not None}


def _palette(arms: Sequence[str]) -> dict[str, list[str]]:
    """The arms' colours on a light and on a dark page."""
    colours = [row_of(arm).colour for arm in arms]
    return {"light": colours, "dark": [_on_dark(colour) for colour in colours]}


def _on_dark(colour: str) -> str:
    """The colour, light enough to be seen on a dark page; greys stay apart."""
    red, green, blue = (part / 255 for part in ImageColor.getrgb(colour)[:3])
    hue, light, saturation = colorsys.rgb_to_hls(red, green, blue)
    lighter = 1 - 0.45 * light if saturation < GREY and light < LIGHT else max(light, LIGHT)
    parts = colorsys.hls_to_rgb(hue, lighter, saturation)
    return "#" + "".join(f"{round(255 * part):02x}" for part in parts)


def _script(value: Any) -> str:
    """JSON that can stand within a script element."""
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c")
