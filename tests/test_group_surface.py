"""A Group has what a Job has."""

import inspect

import pytest

from jupyter_batch.group import Group
from jupyter_batch.job import Job

PUBLIC = sorted(
    name
    for name in dir(Job)
    if not name.startswith("_") or name in ("__await__", "__aiter__", "_ipython_display_")
)


@pytest.mark.parametrize("name", PUBLIC)
def test_a_group_has_each_method_and_property_of_a_job(name):
    """The name is there, a property stays a property, and a method takes the same arguments with the same defaults."""
    job, group = (inspect.getattr_static(kind, name) for kind in (Job, Group))
    assert type(job) is type(group)
    assert inspect.getdoc(group) or name.startswith("_")
    if callable(job):
        assert arguments(group) == arguments(job)


def arguments(method):
    """The names, kinds and defaults of a method's arguments."""
    return [
        (argument.name, argument.kind, argument.default)
        for argument in inspect.signature(method).parameters.values()
    ]
