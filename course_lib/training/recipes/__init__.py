"""The recipes by name: `names()` lists them, `get(name)` gives one."""

from __future__ import annotations

from course_lib.errors import unknown_name
from course_lib.training.recipes import crowds, maps, numbers
from course_lib.training.recipes.recipe import FREE, PRECISIONS, Recipe
from course_lib.training.recipes.worlds import EASY, WORLDS

__all__ = ["EASY", "FREE", "PRECISIONS", "RECIPES", "WORLDS", "Recipe", "get", "names"]

RECIPES = {recipe.name: recipe for recipe in (*numbers.RECIPES, *maps.RECIPES, *crowds.RECIPES)}


def names() -> list[str]:
    """The recipes that `get` knows."""
    return sorted(RECIPES)


def get(name: str | Recipe) -> Recipe:
    """A recipe by name; a Recipe passes through."""
    if isinstance(name, Recipe):
        return name
    if name not in RECIPES:
        raise unknown_name("recipe", name, RECIPES)
    return RECIPES[name]
