"""What is public says which types it takes and returns."""

import inspect

import pytest

import rpn_target


def public_functions():
    """Yield (name, function) of every public function, constructor and public method."""
    for name in rpn_target.__all__:
        thing = getattr(rpn_target, name)
        if inspect.isfunction(thing):
            yield name, thing
            continue
        for attribute, value in vars(thing).items():
            function = getattr(value, "__func__", value)
            is_public = not attribute.startswith("_") or attribute in ("__init__", "__call__")
            if inspect.isfunction(function) and is_public:
                yield f"{name}.{attribute}", function


FUNCTIONS = dict(public_functions())


def test_there_are_functions():
    assert {"install", "FasterRCNNTrainTransform.__call__", "AnchorLattice.of_network"} <= set(
        FUNCTIONS
    )


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_annotated(name):
    signature = inspect.signature(FUNCTIONS[name])
    without = [
        parameter.name
        for parameter in signature.parameters.values()
        if parameter.name not in ("self", "cls") and parameter.annotation is parameter.empty
    ]
    assert without == []
    if not name.endswith(".__init__"):
        assert signature.return_annotation is not signature.empty
