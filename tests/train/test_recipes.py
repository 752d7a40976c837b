"""Recipes, from data to the record, on a few digits in the place of large images."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import pytest

from robustcourse import PGD, AutoAttack, Linf, cnn, load
from robustcourse.cli import main
from robustcourse.models import preact_resnet
from robustcourse.train import CropFlip, recipes


@pytest.fixture
def small(monkeypatch):
    """The recipe of CIFAR-10 with digits, a tiny network and AutoAttack's quick version."""
    recipe = replace(
        recipes.RECIPES["cifar10"],
        data="digits",
        network=partial(preact_resnet, width=2, blocks=1),
        objective=partial(recipes._trades, beta=1.0, steps=1),
        augment=CropFlip(pad=1, flip=False),
        batch_size=16,
    )
    monkeypatch.setitem(recipes.RECIPES, "small", recipe)
    monkeypatch.setattr(recipes, "AutoAttack", partial(AutoAttack, version="quick"))


def test_the_command_trains_measures_and_writes_a_record(small, tmp_path, capsys):
    out = tmp_path / "deep" / "small.json"
    command = ["train", "small", "--epochs", "2", "--examples", "32", "--record", str(out), "--seed", "3"]
    assert main([*command, "--checkpoint", str(tmp_path / "run.safetensors")]) == 0
    printed, record = capsys.readouterr().out, json.loads(out.read_text())
    assert [line.split()[0] for line in printed.splitlines()] == ["clean", "autoattack", "seconds"]
    assert (record["recipe"], record["examples"], record["seed"], record["processes"]) == ("small", 32, 3, 1)
    assert record["autoattack"]["value"] <= record["clean"]["value"]
    assert record["autoattack"]["n"] == record["clean"]["n"] == 32
    assert set(record["seconds"]) == {"training", "evaluation"}
    assert record["settings"]["epochs"] == "2"
    assert [path.name for path in out.parent.iterdir()] == ["small.json"]
    # The same command goes on from the checkpoint, where nothing is left to do.
    again = recipes.make("small", epochs=2, examples=32, seed=3, checkpoint=tmp_path / "run.safetensors")
    assert again["clean"] == record["clean"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["train", "imagenet"],
            "name must be one of cifar10, cifar10-wide, fashion_mnist, mnist-ibp-0.1, mnist-ibp-0.3, got 'imagenet'",
        ),
        (["train", "fashion_mnist", "--examples", "0"], "examples must be >= 1, got 0"),
    ],
)
def test_what_cannot_be_made_is_said(arguments, message, capsys):
    assert main(arguments) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("recipe", recipes.RECIPES.values(), ids=recipes.RECIPES)
def test_every_recipe_fits_together(recipe):
    objective = recipe.objective(recipe.threat)
    threat = objective.threat if recipe.certificate else objective.attack.threat
    assert threat == recipe.threat == Linf(recipe.threat.eps)
    assert recipe.epochs >= 1
    if recipe.augment:
        assert recipe.augment(load("digits").test.x[:4]).shape == (4, 1, 8, 8)


def test_what_is_proved_is_in_the_record_and_not_attacked(monkeypatch):
    attacked = []

    def correct(model, split, attack=None, **settings):
        if attack is not None:
            attacked.append(len(split))
        return measured(model, split, attack and PGD(attack.threat, steps=1), **settings)

    measured = recipes.correct
    monkeypatch.setattr(recipes, "correct", correct)
    small = replace(recipes.RECIPES["mnist-ibp-0.1"], data="digits", threat=Linf(0.02), batch_size=64)
    monkeypatch.setitem(recipes.RECIPES, "small", replace(small, network=partial(cnn, width=4, depth=2)))
    record = recipes.make("small", epochs=12)
    certified, robust, clean = (record[what]["value"] for what in ("certified", "autoattack", "clean"))
    assert 0.2 < certified <= robust <= clean
    assert attacked == [round((clean - certified) * 360)]
    assert (record["settings"]["bf16"], "SGD" in record["settings"]["optimizer"]) == ("False", False)
