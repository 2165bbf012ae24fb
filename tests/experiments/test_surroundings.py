"""What surrounds a run: its locale, its launcher's shell, a second run, names of any letters."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from mist_jax.errors import UserError
from mist_jax.evaluation.report.figures import as_svg
from mist_jax.figures import names_as_they_are, save_figures
from mist_jax.weights.convert import _alone, convert_checkpoint

ROOT = Path(__file__).parents[2]
ODD = ["--name=two\nlines", '--text=it\'s $HOME `id` "x" \\', "--where=/tmp/ä b", "--empty="]


@pytest.mark.parametrize("locale", [{}, {"LC_ALL": "C"}, {"LC_ALL": "de_DE.UTF-8"}])
def test_slurm_hands_every_argument_on_as_it_was_given(tmp_path, locale):
    received = tmp_path / "received"
    for name, body in {
        # As Slurm does: the wrapped command becomes a script of sh.
        "sbatch": 'for a; do case $a in --wrap=*) printf "#!/bin/sh\\n%s\\n" "${a#--wrap=}" '
        f"> {tmp_path}/job; esac; done\nsh {tmp_path}/job\n",
        "srun": f'for a; do printf "%s\\0" "$a"; done > {received}\n',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LC_")}
    environment |= {"PATH": f"{tmp_path}:{os.environ['PATH']}", **locale}
    command = ["bash", "launch/slurm.sh", "--time=1:00", "--", "analyze", *ODD]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False)
    assert result.returncode == 0, result.stderr
    words = received.read_bytes().split(b"\0")[:-1]
    assert words[:3] == [b".venv/bin/python", b"-m", b"experiments.analyze"]
    assert words[3:] == [os.fsencode(word) for word in ODD]


@pytest.mark.parametrize("utf8", ["0", "1"])
@pytest.mark.parametrize("argument", ["äß→", b"\xff\xfe", "two\nlines"])
def test_a_message_about_any_name_is_one_line_in_any_locale(utf8, argument):
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": utf8, "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-m", "experiments.analyze", "--risk_head=x", "--output_dir=y"]
    result = subprocess.run(
        [*command, b"--data_dir=x", argument if isinstance(argument, bytes) else argument.encode()],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.count(b"\n") == 1, result.stderr
    result.stderr.decode("utf-8")


def test_the_command_that_a_dataset_keeps_can_be_written_whatever_was_typed():
    code = (
        "import json, sys; from mist_jax.commands.start import binary; "
        "sys.argv[0] = 'x/collect.py'; typed = binary.command_line(); "
        "json.dumps(typed, ensure_ascii=False).encode(); print(ascii(typed))"
    )
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    result = subprocess.run(
        [sys.executable, "-c", code, "ä".encode(), b"\xff"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "\\xe4" in result.stdout
    assert "\\\\xff" in result.stdout


def test_two_conversions_into_one_folder_at_once_are_refused(tmp_path):
    work = tmp_path / ".spatial.converting"
    with (
        _alone(work),
        pytest.raises(UserError, match="another conversion into spatial is under way"),
    ):
        convert_checkpoint(tmp_path / "published", tmp_path / "spatial")
    assert not list(tmp_path.iterdir())
    with _alone(work):
        pass


NAMES = ["$\\frac{", "a_b^c", "100 % $x$ & <b>", "\\alpha{"]


def named_figure(log=False):
    figure = Figure(figsize=(4, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.bar(NAMES, range(1, 5), label=NAMES[0])
    left.legend(title=NAMES[1])
    left.set(title=NAMES[0], ylabel=NAMES[2])
    right.barh(np.arange(4), range(1, 5))
    right.set_yticks(range(4), NAMES)
    if log:
        right.set(xscale="log", xlabel=NAMES[0], xlim=(0.1, 100))
    figure.suptitle(NAMES[3] + NAMES[0])
    return figure


def test_names_are_drawn_as_they_are_and_not_as_mathematics(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        [path] = save_figures(tmp_path, {"one": named_figure()})
        assert path.stat().st_size > 1000
        assert as_svg(named_figure()).startswith(b"<?xml")


def test_numbers_of_a_logarithmic_axis_stay_powers_of_ten():
    figure = named_figure(log=True)
    figure.axes[0].set_xticks(range(4), NAMES)
    with names_as_they_are(figure):
        figure.draw_without_rendering()
    ticks = [text for text in figure.axes[1].xaxis.get_ticklabels() if text.get_text()]
    assert all(isinstance(text, Text) and text.get_parse_math() for text in ticks)
    assert not figure.axes[1].xaxis.label.get_parse_math()
