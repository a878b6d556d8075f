"""Every module of the package can be imported, as far as what it needs is installed."""

import importlib
import pkgutil

import minilmx
from minilmx.errors import MinilmxError

SCRIPTS = {"minilmx.eval.consumers.run"}  # started by other Pythons, never imported


def test_every_module_can_be_imported_unless_an_extra_is_missing() -> None:
    names = {module.name for module in pkgutil.walk_packages(minilmx.__path__, "minilmx.")} - SCRIPTS
    assert {"minilmx.cli", "minilmx.models.artifact", "minilmx.runners.groq.worker"} <= names
    for name in sorted(names):
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            assert not (error.name or "").startswith("minilmx"), f"{name}: {error}"
        except MinilmxError as error:
            assert "which is not installed. Run pip install 'minilmx[" in str(error), name
