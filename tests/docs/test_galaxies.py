"""docs/galaxies.md, with the networks that it names, where they are installed."""

import re

import numpy as np
import pytest
from support import pages


@pytest.mark.slow
def test_the_page_draws_galaxies(tmp_path, monkeypatch, unchecked):
    pytest.importorskip("galaxygrad.scorenet", reason="galaxygrad 0.1.9 is not installed")
    monkeypatch.chdir(tmp_path)  # the page writes a picture
    names = {}
    for block in re.findall(r"```py\n(.*?)```", pages.text_of("galaxies"), re.S):
        exec(compile(block, "galaxies.md", "exec"), names)
    y = np.asarray(names["galaxies"])
    assert names["plan"].nfe == 20 and names["error"] < 0.03
    # A galaxy is bright in the middle and dark at the rim.
    middle, rim = y[..., 12:20, 12:20].mean(), y[..., :4].mean()
    assert y.shape == (9, 1, 32, 32) and middle > 0.5 and abs(rim) < 0.2
    assert (tmp_path / "galaxies.png").stat().st_size > 1000
