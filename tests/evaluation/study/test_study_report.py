"""The report of a registered study: its endpoints first, in order; all else is exploratory."""

import dataclasses
import json
import re

import pytest

from mist_jax.errors import UserError
from mist_jax.evaluation.report.document import write_report
from mist_jax.evaluation.report.lead import lead
from mist_jax.evaluation.report.summary import summarise
from mist_jax.evaluation.report.verdicts import verdicts
from mist_jax.evaluation.run_setup import RunSetup
from mist_jax.evaluation.statistics import holm
from tests.helpers.study_samples import UNSEEN, registered, results_of

STUDY = registered()
SHOWN = {"none": 40, "placebo": 36, "mist": 10}


def test_the_endpoints_come_first_in_their_order_with_their_verdicts(tmp_path):
    results = results_of(STUDY, SHOWN, {})
    lines = write_report(tmp_path, results)
    assert [line.split(": ")[0] for line in lines[:3]] == [
        "Endpoint (a) collision",
        "Endpoint (b) collision",
        "Endpoint (c) success",
    ]
    assert "mist fewer than none: shown (-25.0 points" in lines[0]
    assert "not lower than none by 5 points or more: shown" in lines[2]
    page = (tmp_path / "report.html").read_text()
    assert page.index('<h2 id="study">') < page.index('<h2 id="effects">')
    assert STUDY.as_json()["digest"] in page
    stored = json.loads((tmp_path / "summary.json").read_text())
    assert stored["run"]["preregistration"] == stored["study"]["digest"]


def test_all_but_the_endpoints_is_exploratory_and_corrected_within_its_metric():
    summary = summarise(results_of(STUDY, SHOWN, {"mist": 3}))
    primary = [e for e in summary["effects"] if not e["exploratory"]]
    # The third endpoint is no difference: that of success is exploratory.
    assert {(e["arm"], e["metric"]) for e in primary} == {("mist", "collision")}
    first = summary["study"]["endpoints"][0]
    assert primary[0]["p_adjusted"] == first["p_gatekept"]
    assert primary[0]["verdict"] == first["verdict"] == "better"
    success = [e for e in summary["effects"] if e["metric"] == "success"]
    assert all(e["exploratory"] for e in success)
    assert [e["p_adjusted"] for e in success] == holm([e["p"] for e in success])
    assert any("Every other comparison is exploratory" in line for line in summary["caveats"])


@pytest.mark.parametrize(
    ("hits", "said", "shown"),
    [
        ({"none": 40, "mist": 10}, "fewer collisions are shown", "better"),
        ({"none": 16, "mist": 10}, "no difference in collisions is shown", None),  # p = 0.03
        ({"none": 10, "mist": 40}, "more collisions are shown", "worse"),
    ],
)
def test_an_endpoint_shows_by_the_level_and_in_the_direction_that_it_has(
    tmp_path, hits, said, shown
):
    summary = summarise(results_of(registered(level=0.01), {"placebo": 16, **hits}, {}))
    registered_ones = [e for e in summary["effects"] if not e["exploratory"]]
    assert [e["shown"] for e in registered_ones if e["against"] == "none"] == [shown]
    assert said in lead(summary)
    write_report(tmp_path, results_of(registered(level=0.01), {"placebo": 16, **hits}, {}))
    page = (tmp_path / "report.html").read_text()
    cells = re.findall(r'<td class="num ?(\w*)" data-label="hit something, minus none', page)
    assert cells[-1] == {"better": "shown", "worse": "worse", None: ""}[shown]  # of mist


@pytest.mark.parametrize(("none", "one_task"), [(40, False), (32, True)])
def test_a_study_that_one_task_carries_says_so(none, one_task):
    """Without task 0, `none` hits something in 10 or in 2 episodes more than `mist`."""
    found = summarise(results_of(STUDY, {**SHOWN, "none": none, "placebo": none}, {}))["caveats"]
    said = [line for line in found if "rests on task 0" in line]
    assert bool(said) == one_task
    if said:
        assert "without it 2 pairs are won and 0 lost (exact p = 0.5)" in said[0]
        assert "not for tasks in general" in said[0]


def test_half_a_study_says_nothing_of_its_endpoints():
    half = [one for one in results_of(STUDY, SHOWN, {}) if one.task_id < 2]
    summary = summarise(half)
    assert {one["verdict"] for one in summary["study"]["endpoints"]} == {"cannot be judged"}
    assert summary["study"]["missing"] == 180
    lines = verdicts(summary)
    assert "cannot be judged (180 of 360 registered episodes were not run yet)" in lines[0]
    of_endpoints = [e for e in summary["effects"] if not e["exploratory"]]
    assert {e["verdict"] for e in of_endpoints} == {"cannot be judged"}


def test_the_preregistration_is_kept_whole_with_the_episodes():
    setup = dataclasses.replace(UNSEEN, preregistration=STUDY.as_json())
    stored = setup.dataset_info("libero_spatial", 8, {})
    again = RunSetup.of(type(stored).from_json(stored.as_json()))
    assert again.preregistration == STUDY.as_json()


def test_a_dataset_whose_preregistration_was_changed_is_refused():
    changed = dataclasses.replace(UNSEEN, preregistration={**STUDY.as_json(), "level": 0.2})
    results = [dataclasses.replace(one, setup=changed) for one in results_of(STUDY, SHOWN, {})]
    with pytest.raises(UserError, match="the dataset's preregistration is damaged"):
        summarise(results)
