"""The rules of the house that no linter holds, read from the syntax tree; with a bad sample for each rule to find."""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    path for room in ("genre_pipeline", "feature_repo") for path in (ROOT / room).rglob("*.py") if "/." not in str(path)
)
LONGEST_MODULE = 350
LONGEST_FUNCTION = 50
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}
RUNS_CODE_ON_LOAD = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
TAKES_SQL = {"execute", "executemany", "exec_driver_sql", "text", "read_database", "read_database_uri", "copy"}

Rule = Callable[[ast.Module], Iterator[str]]


def has_no_long_function(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > LONGEST_FUNCTION:
                yield f"line {node.lineno}: {node.name} has {length} lines, over {LONGEST_FUNCTION}"


def catches_nothing_blindly(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            caught = set(_names(node.type)) if node.type else {"everything"}
            for name in caught & {"Exception", "BaseException", "everything"}:
                yield f"line {node.lineno}: catches {name}"


def loads_nothing_that_runs_code(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported = {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported = {(node.module or "").partition(".")[0]}
        else:
            continue
        for name in imported & RUNS_CODE_ON_LOAD:
            yield f"line {node.lineno}: imports {name}"


def opens_no_door_to_foreign_code(tree: ast.Module) -> Iterator[str]:
    forbidden = {("trust_remote_code", True), ("weights_only", False), ("allow_pickle", True)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
                if (keyword.arg, value) in forbidden:
                    yield f"line {node.lineno}: {keyword.arg}={value}"
            if ast.unparse(node.func) == "torch.load" and "weights_only" not in {key.arg for key in node.keywords}:
                yield f"line {node.lineno}: torch.load without weights_only"


def binds_its_sql(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args and _called(node) in TAKES_SQL and _is_composed(node.args[0]):
            yield f"line {node.lineno}: SQL put together from pieces in {_called(node)}()"


def has_a_charter(tree: ast.Module) -> Iterator[str]:
    if not ast.get_docstring(tree):
        yield "no docstring on the module"


RULES: tuple[Rule, ...] = (
    has_no_long_function,
    catches_nothing_blindly,
    loads_nothing_that_runs_code,
    opens_no_door_to_foreign_code,
    binds_its_sql,
    has_a_charter,
)

BAD_SAMPLES = [
    (has_no_long_function, "def f():\n" + "    x = 1\n" * LONGEST_FUNCTION),
    (catches_nothing_blindly, "try:\n    f()\nexcept Exception:\n    pass"),
    (catches_nothing_blindly, "try:\n    f()\nexcept (ValueError, BaseException):\n    pass"),
    (catches_nothing_blindly, "try:\n    f()\nexcept:\n    pass"),
    (loads_nothing_that_runs_code, "def f():\n    import pickle"),
    (loads_nothing_that_runs_code, "from joblib.memory import Memory"),
    (opens_no_door_to_foreign_code, "AutoModel.from_pretrained(name, trust_remote_code=True)"),
    (opens_no_door_to_foreign_code, "np.load(path, allow_pickle=True)"),
    (opens_no_door_to_foreign_code, "torch.load(path)"),
    (opens_no_door_to_foreign_code, "torch.load(path, weights_only=False)"),
    (binds_its_sql, "connection.execute(text(f'SELECT * FROM {table}'))"),
    (binds_its_sql, "cursor.execute('SELECT * FROM t WHERE a = ' + value)"),
    (binds_its_sql, "cursor.execute('SELECT * FROM t WHERE a = %s' % value)"),
    (binds_its_sql, "text('SELECT * FROM {}'.format(table))"),
    (has_a_charter, "x = 1"),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_module(rule: Rule) -> None:
    broken = [
        f"{path.relative_to(ROOT)}: {problem}"
        for path in MODULES
        for problem in rule(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert broken == []


@pytest.mark.parametrize(("rule", "source"), BAD_SAMPLES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_bad_sample_is_found(rule: Rule, source: str) -> None:
    assert list(rule(ast.parse(source)))


def test_a_good_sample_passes_every_rule() -> None:
    source = (
        '"""Charter."""\ntry:\n    connection.execute(text("SELECT :a"), {"a": f"{b}"})\nexcept ValueError:\n    pass'
    )
    assert [problem for rule in RULES for problem in rule(ast.parse(source))] == []


def test_no_module_is_long() -> None:
    lengths = {path.relative_to(ROOT): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {path: length for path, length in lengths.items() if length > LONGEST_MODULE} == {}


def test_no_name_is_vague() -> None:
    parts = {part for path in MODULES for part in path.relative_to(ROOT).with_suffix("").parts}
    assert parts & VAGUE_NAMES == set()


def test_every_setting_is_documented() -> None:
    classes = [node for path in MODULES for node in ast.walk(ast.parse(path.read_text())) if _is_class(node)]
    fields = [(cls.name, name, doc) for cls in _settings(classes) for name, doc in _documented_fields(cls)]
    assert [(cls, name) for cls, name, is_documented in fields if not is_documented] == []


def test_an_undocumented_setting_is_found() -> None:
    source = (
        "class A(Settings):\n    a: int = 1\n    '''What it is.'''\n    b: int = 2\nclass B(A):\n    c: int = 3\n"
        "    d: int = Field(4, description='What it is.')\nclass C:\n    e: int"
    )
    classes = [node for node in ast.walk(ast.parse(source)) if _is_class(node)]
    found = {(cls.name, *field) for cls in _settings(classes) for field in _documented_fields(cls)}
    assert found == {("A", "a", True), ("A", "b", False), ("B", "c", False), ("B", "d", True)}


def _names(node: ast.expr | None) -> Iterator[str]:
    elements = node.elts if isinstance(node, ast.Tuple) else [node]
    yield from (ast.unparse(element).rpartition(".")[2] for element in elements if element)


def _called(node: ast.Call) -> str:
    return ast.unparse(node.func).rpartition(".")[2]


def _is_composed(node: ast.expr) -> bool:
    if isinstance(node, ast.JoinedStr):
        return any(isinstance(part, ast.FormattedValue) for part in node.values)
    if isinstance(node, ast.BinOp):
        return any(
            isinstance(side, ast.Constant | ast.JoinedStr) and _is_text(side) for side in (node.left, node.right)
        )
    # `.format` of a named statement may fill in checked identifiers: psycopg's SQL, or a constant of the module.
    return isinstance(node, ast.Call) and ast.unparse(node.func).startswith(("'", '"', "f'", 'f"'))


def _is_text(node: ast.Constant | ast.JoinedStr) -> bool:
    return isinstance(node, ast.JoinedStr) or isinstance(node.value, str)


def _is_class(node: ast.AST) -> bool:
    return isinstance(node, ast.ClassDef)


def _settings(classes: list[ast.AST]) -> list[ast.ClassDef]:
    """The classes that derive from Settings, near or far."""
    known = {"Settings", "BaseSettings"}
    found: list[ast.ClassDef] = []
    while True:
        new = [
            cls
            for cls in classes
            if isinstance(cls, ast.ClassDef)
            and cls not in found
            and known & {ast.unparse(base).rpartition(".")[2] for base in cls.bases}
        ]
        if not new:
            return found
        found += new
        known |= {cls.name for cls in new}


def _documented_fields(cls: ast.ClassDef) -> Iterator[tuple[str, bool]]:
    for node, after in zip(cls.body, [*cls.body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and not ast.unparse(node.annotation).startswith("ClassVar"):
            has_docstring = (
                isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
                and isinstance(after.value.value, str)
            )
            yield ast.unparse(node.target), has_docstring or "description=" in ast.unparse(node)
