"""Loading what make has compiled."""

import pytest

from common.extension import load_extension


def test_a_module_that_does_not_load_names_the_file_and_the_target(tmp_path):
    path = tmp_path / "cmamba_native_default.so"
    with pytest.raises(ImportError) as error:
        load_extension(path, "bindings")
    assert str(error.value) == f"{path} does not exist; `make bindings` builds it"
    path.write_bytes(b"compiled elsewhere" * 100)
    with pytest.raises(ImportError) as error:
        load_extension(path, "bindings")
    assert str(error.value) == (
        f"{path}: invalid ELF header; `make clean` and `make bindings` build it for this Python"
    )
