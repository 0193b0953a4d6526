"""Files that code hosts and tools read from this repository are valid by their schemas and name existing files."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.rules.sources import ROOT

GITHUB = ROOT / ".github"
SCHEMAS = {
    "vendor.github-workflows": sorted((GITHUB / "workflows").glob("*.yml")),
    "custom.github-workflows-require-timeout": sorted((GITHUB / "workflows").glob("*.yml")),
    "vendor.dependabot": [GITHUB / "dependabot.yml"],
    "vendor.github-issue-forms": [GITHUB / "ISSUE_TEMPLATE" / "bug.yml", GITHUB / "ISSUE_TEMPLATE" / "feature.yml"],
    "vendor.github-issue-config": [GITHUB / "ISSUE_TEMPLATE" / "config.yml"],
    "vendor.compose-spec": [ROOT / "docker-compose.yml"],
}


@pytest.mark.slow
@pytest.mark.parametrize(("schema", "files"), SCHEMAS.items(), ids=SCHEMAS)
def test_files_follow_their_schemas(schema: str, files: list[Path]) -> None:
    command = [str(Path(sys.executable).parent / "check-jsonschema"), "--builtin-schema", schema, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert files


def test_every_yaml_file_of_the_code_host_has_a_schema() -> None:
    assert set(GITHUB.rglob("*.yml")) == {
        path for paths in SCHEMAS.values() for path in paths if GITHUB in path.parents
    }


def test_workflows_run_targets_that_exist_and_all_of_the_checks() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    texts = [path.read_text(encoding="utf-8") for path in (GITHUB / "workflows").glob("*.yml")]
    run = {name for text in texts for name in re.findall(r"\bmake ([a-z]+)", text)}
    assert {"check", "test", "docs", "lowest"} <= run <= targets


def test_nothing_ends_processes_by_their_name() -> None:
    scripts = [path for folder in ("tests", "scripts", "benchmarks") for path in (ROOT / folder).glob("**/*.py")]
    scripts = [path for path in scripts if "node_modules" not in path.parts]
    scripts += [ROOT / "Makefile", *(ROOT / "scripts").glob("*.sh")]
    assert len(scripts) > 100
    words = ("pk" + "ill", "kill" + "all")
    found = [path for path in scripts if any(word in path.read_text(encoding="utf-8") for word in words)]
    assert found == []


def test_owned_paths_exist() -> None:
    lines = (GITHUB / "CODEOWNERS").read_text(encoding="utf-8").splitlines()
    rules = [line.split() for line in lines if line and not line.startswith("#")]
    assert rules[0][0] == "*"
    assert all(len(rule) > 1 and all(owner.startswith("@") for owner in rule[1:]) for rule in rules)
    assert [rule[0] for rule in rules[1:] if not (ROOT / rule[0].strip("/")).exists()] == []


def test_local_hooks_run_what_the_checks_run() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    lint = makefile.split("\nlint: ")[1].split("\n\n")[0]
    folders = {"BIN": ".venv/bin", "NODE": "tests/web/node_modules/.bin"}
    tools = re.findall(r"\$\((BIN|NODE)\)/(\w+)", lint)
    assert {"ruff", "mypy", "biome", "tsc"} == {tool for _, tool in tools}
    assert [tool for folder, tool in tools if f"{folders[folder]}/{tool}" not in hooks] == []
    named = [word for entry in re.findall(r"entry: (.*)", hooks) for word in entry.split() if word.startswith("tests/")]
    assert [path for path in named if "node_modules" not in path and not (ROOT / path).exists()] == []


def test_the_version_and_its_changes_have_one_home() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["dynamic"] == ["version"]
    version = re.search(r'__version__ = "(.+)"', (ROOT / project["tool"]["hatch"]["version"]["path"]).read_text())
    assert version is not None
    changelog = (ROOT / "docs" / "changelog.md").read_text(encoding="utf-8")
    sections = re.findall(r"^## (\S+)(?: (.*))?$", changelog, re.MULTILINE)
    assert sections[0][0] == "Unreleased"
    assert [date for name, date in sections[1:] if not re.fullmatch(r"\d{4}-\d\d-\d\d", date)] == []
    assert sections[1][0] == version.group(1)
