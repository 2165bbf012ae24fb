"""Risk and steering around contacts are counted in queries from where the contact begins."""

import numpy as np

from mist_jax.evaluation.around_contacts import around_contacts
from tests.helpers.evaluation_samples import contact, result


def test_rows_are_aligned_to_the_query_in_which_the_contact_begins():
    """None hits in query 3 and in query 5; mist acts at 2 and is hit later, in query 6, once."""
    rising = np.tile(np.linspace(0, 0.4, 12)[:, None], (1, 14))
    hit = [contact(step) for step in (27, 40)]
    none = [result("none", state=i, contacts=(hit[i],), risk=rising) for i in range(2)]
    mist = [
        result("mist", state=0, acted=(2,), risk=rising),
        result("mist", state=1, acted=(2,), risk=rising, contacts=(contact(50),)),
    ]
    found = around_contacts([*none, *mist], ["none", "mist"])
    assert (found["episodes"], found["scenes"]) == ({"none": 2, "mist": 1}, 2)
    own = {(row["arm"], row["query"]): row for row in found["own"]}
    risk = rising[:, 0].round(5)
    np.testing.assert_allclose(own["none", 0]["risk"], (risk[3] + risk[5]) / 2)
    assert own["none", -4]["episodes"] == 1  # before the first query of the other
    assert own["mist", -4]["acted"] == 1.0  # query 2, four before 6
    assert ("none", -6) not in own
    paired = {(row["arm"], row["query"]): row for row in found["unsteered"]}
    assert paired["mist", -1]["acted"] == 0.5  # query 2 of the first scene, 4 of the second
    assert [paired["none", q]["hit"] for q in (-1, 0)] == [0.0, 1.0]
    assert [paired["mist", q]["hit"] for q in (0, 1, 3)] == [0.0, 0.5, 0.5]
    assert found["threshold"] == 0.5
