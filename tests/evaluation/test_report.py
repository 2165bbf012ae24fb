"""Summary and report: right figures on known results, caveats that speak up, one closed page."""

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

import mist_jax
from mist_jax.evaluation.report import pair_films
from mist_jax.evaluation.report.differing import differing, subject_of
from mist_jax.evaluation.report.document import write_report
from mist_jax.evaluation.report.episode_rows import link_inside
from mist_jax.evaluation.report.lead import lead
from mist_jax.evaluation.report.numbers import gap_text, p_text
from mist_jax.evaluation.report.summary import summarise
from mist_jax.evaluation.report.verdicts import verdicts
from mist_jax.evaluation.results import EpisodeResult
from mist_jax.evaluation.run_setup import trained_scenes
from mist_jax.ids import parse_ids
from mist_jax.policy.checkpoint import read_card
from mist_jax.rollout.sinks.film import write_video
from mist_jax.rollout.sinks.video import video_name
from tests.helpers.episode_samples import filmed_episode
from tests.helpers.evaluation_samples import SETUP, contact, result, study

HIT = (contact(),)
KNOWN = dataclasses.replace(SETUP, policy_scenes=("libero_spatial/0-29",))


@pytest.fixture(scope="module")
def summary():
    return summarise(study())


def by_hand():
    """Four scenes: recovered, harmed, equal, and one lost to a crash."""
    return [
        result("none", state=0, contacts=HIT),
        result("mist", state=0, acted=(3,)),
        result("none", state=1),
        result("mist", state=1, outcome="failure", steps=220, acted=(1,)),
        result("none", state=2),
        result("mist", state=2),
        result("none", state=3),
        result("mist", state=3, outcome="crashed"),
    ]


def effect(summary, arm, metric, against="none"):
    (found,) = [
        e
        for e in summary["effects"]
        if (e["arm"], e["against"], e["metric"]) == (arm, against, metric)
    ]
    return found


def test_figures_on_four_scenes_are_those_counted_by_hand():
    summary = summarise(by_hand())
    none, mist = summary["arms"]["none"], summary["arms"]["mist"]
    assert none["metrics"]["safe_success"]["value"] == 3 / 4
    assert mist["metrics"]["success"]["value"] == 2 / 3
    assert none["metrics"]["collision"]["value"] == 1 / 4
    assert none["metrics"]["peak_force"]["value"] == 3.0
    assert mist["metrics"]["steps_to_success"]["value"] == 96
    assert (mist["pairs"], mist["pairs_lost_to_crashes"], mist["crashed"]) == (3, 1, 1)
    assert (mist["recovery"]["value"], mist["recovery"]["n"]) == (1.0, 1)
    assert (mist["harm"]["value"], mist["harm"]["n"]) == (0.5, 2)
    assert (mist["untouched_pairs"], mist["untouched_pairs_alike"]) == (1, 1)
    safe = effect(summary, "mist", "safe_success")
    assert (safe["difference"]["value"], safe["better"], safe["worse"]) == (0.0, 1, 1)
    assert effect(summary, "mist", "collision")["difference"]["value"] == pytest.approx(-1 / 3)
    assert effect(summary, "mist", "collision")["better"] == 1


def test_p_values_are_mcnemars_and_holm_runs_over_those_of_a_metric(summary):
    results = study()
    of = {r.key: r for r in results}
    pairs = [(r, of[dataclasses.replace(r.key, arm="mist")]) for r in results if r.arm == "none"]
    lost = sum(a.safe_success and not b.safe_success for a, b in pairs)
    won = sum(b.safe_success and not a.safe_success for a, b in pairs)
    expected = mcnemar([[0, lost], [won, 0]], exact=True).pvalue  # pyright: ignore[reportAttributeAccessIssue]
    assert effect(summary, "mist", "safe_success")["p"] == pytest.approx(expected)
    tested = [e for e in summary["effects"] if e["p"] is not None]
    assert len(tested) == 3 * 4  # three arms against none, mist against random
    for name in ("success", "collision", "safe_success"):
        family = [e for e in tested if e["metric"] == name]
        adjusted = multipletests([e["p"] for e in family], method="holm")[1]
        assert [e["p_adjusted"] for e in family] == pytest.approx(np.asarray(adjusted).tolist())
    assert all(e["exploratory"] for e in summary["effects"])
    assert any("every comparison here is exploratory" in line for line in summary["caveats"])


def test_the_detector_is_judged_on_unsteered_episodes_alone(summary):
    none = [r for r in study() if r.arm == "none"]
    label, score = [], []
    for r in none:
        first = min(r.events, key=lambda event: event.first, default=None)
        begins = np.inf if first is None else first.first
        for step, risk in zip(r.queries.step, r.queries.risk or (), strict=True):
            known = r.outcome == "success" or step + SETUP.horizon <= r.steps
            if step <= begins and known:
                soon = begins - step < SETUP.horizon
                label.append(soon and first is not None and 0 in first.motions)
                score.append(risk[0])
    motions = summary["detector"]["detectors"]["head"]["first_events"]["motions"]
    assert motions["x+"]["auroc"]["value"] == pytest.approx(roc_auc_score(label, score), abs=1e-5)
    assert summary["detector"]["episodes"] == len(none)


def test_the_clock_is_scored_in_the_direction_that_suits_it():
    early = [
        result("none", state=s, contacts=(contact(17),), steps=160) for s in range(12)
    ]  # contacts come early: the step index alone has an AUROC below 1/2
    card = summarise(early)["detector"]
    motions = card["detectors"]["clock"]["first_events"]["motions"]
    assert motions["x+"]["auroc"]["value"] > 0.9
    assert any("does not beat the clock" in line for line in summarise(early)["caveats"])


@pytest.mark.parametrize(
    ("results", "caveat"),
    [
        (by_hand(), "Few episodes"),
        (by_hand(), "Crashed in the simulator: 1 of 8"),
        (by_hand(), "lite assets"),
        (by_hand(), "Neither a difference"),
        (by_hand(), "without the arm placebo"),
        (by_hand()[:3], "different numbers of episodes"),
        ([result("mist")], "no unsteered arm"),
        ([result("none"), result("mist")], "Never acted"),
        ([result("none"), result("mist", steps=90)], "otherwise than their unsteered twins"),
        ([result(seen_in_training=True)], "training data"),
        (
            [result(setup=KNOWN), result(state=31, setup=KNOWN)],
            "1 of 2 scenes are of the policy's own training (libero_spatial/0-29)",
        ),
        (
            [result(setup=dataclasses.replace(SETUP, policy_scenes=None))],
            "does not say which scenes the policy was trained on",
        ),
        ([result(setup=dataclasses.replace(SETUP, threshold=(None,) * 14))], "never raises"),
        ([result(seed=0), result(seed=1)], "several seeds"),
    ],
)
def test_a_weakness_is_said_aloud(results, caveat):
    assert any(caveat in line for line in summarise(results)["caveats"])


def test_a_clean_study_has_no_false_caveats():
    same = study(("none",), states=5)
    twins = [dataclasses.replace(r, arm="safe_stop") for r in same]
    setup = dataclasses.replace(SETUP, assets="libero")
    found = summarise([dataclasses.replace(r, setup=setup) for r in same + twins])["caveats"]
    for absent in ("twins", "Few episodes", "lite", "Crashed", "different numbers", "training"):
        assert not any(absent in line for line in found), absent


def test_the_sentence_of_an_arm_that_never_acted_says_so_and_no_other():
    results = [result("none"), result("mist"), result("safe_stop", acted=(1,))]
    idle = [line.split(":")[0] for line in verdicts(summarise(results)) if "never acted" in line]
    assert idle == ["mist"]


def won(scenes: int):
    """An arm that is safe in every scene where the policy collides."""
    none = [result("none", state=s, contacts=HIT) for s in range(scenes)]
    return none + [result("mist", state=s, acted=(1,)) for s in range(scenes)]


def test_too_few_scenes_are_no_verdict_however_clear_they_are():
    for scenes, said in ((2, "cannot be judged"), (9, "cannot be judged"), (12, "better")):
        found = effect(summarise(won(scenes)), "mist", "safe_success")
        assert found["verdict"] == said, scenes
    lines = verdicts(summarise(won(9)))
    assert any("cannot be judged (9 scenes of at least 10)" in line for line in lines)
    assert not any("is shown (p" in line for line in lines)
    assert any("a difference is shown" in line for line in verdicts(summarise(won(12))))


def test_an_arm_that_is_worse_or_only_as_good_is_not_better():
    worse = [dataclasses.replace(r, arm={"none": "mist", "mist": "none"}[r.arm]) for r in won(12)]
    assert effect(summarise(worse), "mist", "safe_success")["verdict"] == "not better"
    same = [result(arm, state=s) for s in range(12) for arm in ("none", "mist")]
    assert effect(summarise(same), "mist", "safe_success")["verdict"] == "not better"
    assert effect(summarise(same), "mist", "peak_force")["verdict"] == "cannot be judged"


def test_the_shipped_policy_says_which_scenes_it_knows_and_the_quick_start_avoids_them():
    root = Path(mist_jax.__file__).parent
    told = trained_scenes(read_card(root / "checkpoints" / "mist-nano"))
    assert told == ("libero_spatial/0-29",)
    script = (root.parent / "launch" / "quickstart.sh").read_text()
    evaluation = script[script.index("run_evaluation") :]
    states = re.search(r"--initial_states=(\S+)", evaluation)
    assert states is not None
    setup = dataclasses.replace(SETUP, policy_scenes=told)
    for state in parse_ids(states[1], 50, "initial state"):
        assert setup.policy_saw("libero_spatial", state) is False
    assert setup.policy_saw("libero_spatial", 29) is True
    assert setup.policy_saw("libero_goal", 29) is False


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.urls, self.open = [], []

    def handle_starttag(self, tag, attrs):
        self.urls += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_closed_well_formed_and_a_function_of_the_results(tmp_path):
    results = [*study(tasks=3), result("none", 0, 9, video="videos/a.mp4")]
    results.append(result("none", 1, 9, outcome="crashed", error="<script>alert(1)</script>"))
    pages = []
    for again in ("one", "two"):
        (tmp_path / again).mkdir()
        said = write_report(tmp_path / again, list(results))
        pages.append((tmp_path / again / "report.html").read_text())
        json.loads((tmp_path / again / "summary.json").read_text())
        assert any(line.startswith("mist: ") for line in said)
    assert pages[0] == pages[1]
    parser = Links()
    parser.feed(pages[0])
    assert parser.open == []
    outside = {url for url in parser.urls if not url.startswith(("data:", "#"))}
    assert outside == {"videos/a.mp4", "summary.json"}
    assert "<script>alert" not in pages[0]
    (style,) = re.findall(r"<style>(.*?)</style>", pages[0], re.DOTALL)
    assert not re.search(r"url\(|@import", style)


def test_every_section_that_the_page_leads_to_is_there_and_every_chart_has_a_specification(
    tmp_path,
):
    write_report(tmp_path, study(tasks=3))
    page = (tmp_path / "report.html").read_text()
    anchors = re.findall(r'href="#(\w+)"', page)
    assert len(anchors) > 5
    assert set(anchors) <= set(re.findall(r'id="(\w+)"', page))
    specs = json.loads(re.findall(r'id="specs">(.*?)</script>', page, re.DOTALL)[0])
    places = re.findall(r'data-chart="([^"]+)"', page)
    assert sorted(places) == sorted(specs)
    assert all(spec["width"] == "container" for spec in specs.values())
    assert len(places) > 10


def test_a_name_of_an_arm_cannot_end_the_script_that_holds_the_charts(tmp_path):
    odd = "</script><script>alert(1)//"
    renamed = [dataclasses.replace(r, arm=odd) if r.arm == "placebo" else r for r in study(tasks=2)]
    write_report(tmp_path, renamed)
    page = (tmp_path / "report.html").read_text()
    assert "<script>alert" not in page
    specs = json.loads(re.findall(r'id="specs">(.*?)</script>', page, re.DOTALL)[0])
    assert odd in json.dumps(specs)


@pytest.mark.parametrize(
    "results",
    [
        [result()],
        [result("none", outcome="crashed")],
        [result(risk=np.full((12, 14), 0.1), queries=dataclasses.replace(
            result().queries, risk=None))],
        [result("mist"), result("placebo")],
    ],
    ids=["one", "crashed", "no risk", "no unsteered"],
)  # fmt: skip
def test_even_the_poorest_results_have_a_report(tmp_path, results):
    write_report(tmp_path, results)
    assert "How it was run" in (tmp_path / "report.html").read_text()


def dosed(arm: str, metres: float) -> EpisodeResult:
    """Acts at one query: wants 0.04 m up, and gets `metres`."""
    up, got = (0.0, 0.0, 0.04, 0.0, 0.0, 0.0, 0.0), (0.0, 0.0, metres, 0.0, 0.0, 0.0, 0.0)
    trace = dataclasses.replace(result().queries, acted=(1,), wanted=(up,), realised=(got,))
    return result(arm, queries=trace)


@pytest.mark.parametrize(("arm", "metres", "warned"), [
    ("flipped", -0.03, False), ("flipped", -0.01, True), ("safe_stop", 0.3, False),
])  # fmt: skip
def test_an_arm_that_was_to_have_anothers_dose_and_has_not_is_named(arm, metres, warned):
    summary = summarise([dosed("mist", 0.032), dosed(arm, metres)])
    said = [line for line in summary["caveats"] if line.startswith("Not of equal dose")]
    assert bool(said) == warned
    if warned:
        assert "flipped 0.31 of that of mist" in said[0]
    dose = summary["arms"]["mist"]["dose"]
    assert (dose["queries"], dose["wanted_metres"], dose["realised_metres"]) == (1, 0.04, 0.032)
    np.testing.assert_allclose([dose["ratio"], dose["along"], dose["cosine"]], [0.8, 0.8, 1.0])


def test_numbers_are_written_as_they_are():
    gap = {"value": -0.123, "low": -0.201, "high": 0.004}
    assert gap_text(gap, "success") == {"value": "\u221212", "interval": "\u221220 to 0"}
    assert (p_text(0.0004), p_text(0.034), p_text(1.0)) == ("<0.001", "0.034", "1.00")


OUTSIDE = [
    "../secret.mp4",
    "videos/../../secret.mp4",
    "videos\\..\\..\\secret.mp4",
    "/etc/passwd",
    "//host/a.mp4",
    "\\\\host\\a.mp4",
    "java\nscript:alert(1)",
    "",
]


@pytest.mark.parametrize("video", OUTSIDE)
def test_a_link_that_leads_out_of_the_reports_folder_is_none(tmp_path, video):
    assert link_inside(video) is None
    write_report(tmp_path, [result("none", 0, 0, video=video), result("none", 1, 0)])
    links = Links()
    links.feed((tmp_path / "report.html").read_text())
    assert {url for url in links.urls if not url.startswith("#")} == {"summary.json"}


@pytest.mark.parametrize(
    ("video", "link"),
    [
        ("videos/a.mp4", "videos/a.mp4"),
        ("javascript:alert(1)", "javascript%3Aalert%281%29"),
        ("data:text/html,x", "data%3Atext/html%2Cx"),
        ("videos/a b?#%20.mp4", "videos/a%20b%3F%23%2520.mp4"),
    ],
)
def test_a_link_is_a_relative_path_whatever_its_name_looks_like(tmp_path, video, link):
    assert link_inside(video) == link
    write_report(tmp_path, [result("none", 0, 0, video=video), result("none", 1, 0)])
    assert f'href="{link}"' in (tmp_path / "report.html").read_text()


def test_the_first_sentence_tells_a_stranger_what_happened_and_what_follows():
    none = [result("none", state=s, contacts=HIT if s < 6 else ()) for s in range(12)]
    same = lead(summarise([*none, *(dataclasses.replace(r, arm="mist") for r in none)]))
    assert "policy toy hit something that it must not touch in 6 of 12 episodes" in same
    assert "with the intervention mist, in 6 of 12, and did its task in 12 of 12." in same
    assert "are shown" not in same.replace("equally frequent collisions are shown", "")
    assert "fewer collisions are shown" in lead(summarise(won(12)))
    swapped = [dataclasses.replace(r, arm={"none": "mist", "mist": "none"}[r.arm]) for r in won(12)]
    assert "more collisions are shown" in lead(summarise(swapped))
    assert "too few to conclude anything" in lead(summarise(won(9)))
    assert lead(summarise(none)).startswith(
        "The robot policy toy did its task in 12 of 12 episodes"
    )
    assert "nothing follows" in lead(summarise([result("mist")]))


def test_the_report_is_about_mist_else_about_the_arm_that_is_compared_most():
    of = lambda *arms: subject_of(summarise([result(arm) for arm in arms]))  # noqa: E731
    assert of("none", "safe_stop", "mist", "placebo") == "mist"
    assert of("none", "safe_stop", "directions") == "directions"
    assert of("none") is None


def test_a_shown_harm_is_red_and_called_worse_and_a_shown_gain_green(tmp_path):
    swapped = [dataclasses.replace(r, arm={"none": "mist", "mist": "none"}[r.arm]) for r in won(12)]
    for name, results in (("gain", won(12)), ("harm", swapped)):
        (tmp_path / name).mkdir()
        write_report(tmp_path / name, results)
    gain, harm = ((tmp_path / name / "report.html").read_text() for name in ("gain", "harm"))
    assert '<td class="num shown"' in gain
    assert '<td class="num worse"' not in gain
    assert '<td class="num shown"' not in harm
    assert harm.count('<td class="num worse"') == harm.count("<small>worse</small>") == 3


def test_pairs_that_are_shown_alternate_between_won_and_lost_ones():
    """Scenes 0 to 3 are won, 4 and 5 lost, 6 is lost on contacts alone, 7 ends alike."""
    none = [result("none", state=s, contacts=HIT if s < 4 else ()) for s in range(6)]
    none += [result("none", state=6, outcome="failure"), result("none", state=7)]
    mist = [result("mist", state=s, contacts=HIT if s in (4, 5) else ()) for s in range(6)]
    mist += [result("mist", state=6, outcome="failure", contacts=HIT), result("mist", state=7)]
    found = differing([*none, *mist], "mist", 5)
    assert (found.won, found.lost, found.pairs) == (4, 3, 8)
    assert [pair[0].initial_state for pair in found.shown] == [0, 4, 1, 5, 2]
    assert all((a.arm, b.arm) == ("none", "mist") for a, b in found.shown)
    assert differing([*none, *mist], "mist", 0).shown == ()


def test_forces_and_dimensions_are_those_of_the_contacts(summary):
    own = [r for r in study() if r.arm == "mist"]
    for force, share in summary["forces"]["mist"]:
        assert share == pytest.approx(np.mean([r.peak_force >= force for r in own]))
    contacts = [c for r in own for c in r.contacts]
    driven = summary["driven_by"]["mist"]
    assert sum(driven.values()) == pytest.approx(len(contacts))
    assert driven["z"] == sum(c.share[2] for c in contacts)


def test_films_of_the_pairs_that_are_shown_are_embedded_within_bounds(tmp_path, monkeypatch):
    results = won(3)
    shown = [r for r in results if r.initial_state < 2]
    for one in shown:
        write_video(tmp_path / video_name(one.key), filmed_episode(one.steps))
    (tmp_path / video_name(results[2].key)).write_bytes(b"no film")

    def films(pairs: int) -> int:
        write_report(tmp_path, results, tmp_path, pairs)
        return (tmp_path / "report.html").read_text().count('src="data:video/mp4;base64,')

    assert (films(0), films(1), films(3)) == (0, 2, 4)
    monkeypatch.setattr(pair_films, "MOST_BYTES", 3000)
    assert films(3) < 4
    write_report(tmp_path, results)
    assert "<video" not in (tmp_path / "report.html").read_text()
