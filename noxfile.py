"""Recipes behind `.ci/run`: `nox -s tests`, or with `--no-venv` in the environment that is active."""

import nox

nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_existing_virtualenvs = True
FAST = ("-n", "6", "--dist", "loadfile", "-m", "not browser and not heavy")


def installed(session: nox.Session) -> None:
    """Install the package for development, at the versions that were tested."""
    if session.virtualenv.venv_backend != "none":
        session.install("-c", ".ci/constraints.txt", "-e", ".[test]")


@nox.session
def lint(session: nox.Session) -> None:
    """Style: ruff's rules and its formatter."""
    installed(session)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Types of the package, and the order in which its parts import each other."""
    installed(session)
    session.run("mypy")
    session.run("lint-imports")


@nox.session
def tests(session: nox.Session) -> None:
    """The fast tests, or those that are named after `--`."""
    installed(session)
    session.run("python", "-m", "pytest", *(session.posargs or FAST))


@nox.session
def browser(session: nox.Session) -> None:
    """The tests that drive JupyterLab in Chromium."""
    installed(session)
    session.run("python", "-m", "pytest", "-m", "browser", *(session.posargs or ["tests/browser"]))


@nox.session
def heavy(session: nox.Session) -> None:
    """The tests with large frames, many processes and seeded kills."""
    installed(session)
    session.run("python", "-m", "pytest", "-m", "heavy", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """The fast tests under coverage, and the table of what they do not reach."""
    installed(session)
    session.run("python", "-m", "pytest", *FAST, "--cov", "--cov-report=term", *session.posargs)


@nox.session
def wheel(session: nox.Session) -> None:
    """The built wheel in an environment of its own: one whole job."""
    session.run("python", "-m", "pip", "wheel", "--no-deps", "-w", "dist", ".")
    session.install("-c", ".ci/constraints.txt", "--find-links", "dist", "jupyter_batch")
    session.run("jupyter", "batch", "demo", "--rows", "40")
