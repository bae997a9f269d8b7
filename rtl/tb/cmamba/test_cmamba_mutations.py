"""mutations: the codes that are expected of hardware are those of the HLS C++."""

import random

import numpy as np
import pytest

import isa
from golden.random_programs import random_package
from hls.bindings import extension
from isa.streams import to_beats
from rtl.tb.cmamba.mutations import MUTATIONS, expected_code


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.__name__)
def test_codes_of_the_hls(mutation):
    r = random.Random(7)
    build = isa.build()
    data = random_package(np.random.default_rng(11), build).to_bytes()
    loader = extension(native=True).Accelerator()
    seen = set()
    for _ in range(60):
        mutant = mutation(data, r)
        code = loader.load(to_beats(np.frombuffer(mutant, np.uint8)[None]))
        assert code == expected_code(mutant, build), mutant[:256].hex()
        seen.add(code)
    assert seen - {isa.ERRORS["OK"]}, "no mutant was refused"
