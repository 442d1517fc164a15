"""Recipes: the built-in ones, the order of precedence, and messages that name key and line."""

import dataclasses

import pytest

from dcc.errors import RecipeError
from dcc.passes.options import LayerOptions, Recipe
from dcc.recipe_schema import LayerSettings
from dcc.recipes import builtin_recipes, load_recipe


@pytest.fixture
def write(tmp_path):
    def write_recipe(text, name="mine.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write_recipe


def test_settings_are_the_options_of_the_passes():
    options = LayerOptions()
    for field in dataclasses.fields(LayerOptions):
        default = LayerSettings.model_fields[field.name].default
        default = tuple(default) if isinstance(default, list) else default
        assert default == getattr(options, field.name)
    assert set(LayerSettings.model_fields) == {field.name for field in dataclasses.fields(options)}


def test_builtin_recipes_have_descriptions():
    found = builtin_recipes()
    assert next(iter(found)) == "lossless"
    assert {"deep-compression", "sparse-50", "sparse-90"} <= set(found)
    assert all(found.values())
    for name in found:
        assert load_recipe(name).name == name


def test_lossless_asks_for_nothing():
    assert load_recipe("lossless").for_layer("conv1.weight", "Conv") == LayerOptions()


@pytest.mark.parametrize(
    ("operator_type", "bits"),
    [("Conv", 8), ("Gemm", 5), ("LSTM", 5), ("Gather", 5), ("bias", None)],
)
def test_deep_compression_has_the_bits_of_the_paper(operator_type, bits):
    options = load_recipe("deep-compression").for_layer("w", operator_type)
    assert options == LayerOptions(bits=bits)


def test_sparse_leaves_biases_alone():
    recipe = load_recipe("sparse-90")
    assert recipe.for_layer("w", "Gemm").density == pytest.approx(0.1)
    assert recipe.for_layer("b", "bias").density is None


def test_layers_win_over_operators_over_global(write):
    recipe = load_recipe(
        write(
            "global: {bits: 3, density: 0.5}\n"
            "operators: {Conv: {bits: 6}}\n"
            "layers:\n"
            '  "conv.*": {density: 0.25}\n'
            "  conv2: {density: null, seed: 7}\n"
        )
    )
    assert recipe.for_layer("fc", "Gemm") == LayerOptions(bits=3, density=0.5)
    assert recipe.for_layer("conv1", "Conv") == LayerOptions(bits=6, density=0.25)
    assert recipe.for_layer("conv2", "Conv") == LayerOptions(bits=6, density=None, seed=7)
    assert recipe.for_layer("my.conv1", "Conv").density == 0.5


def test_extends(write):
    write("extends: deep-compression\nlayers: {first: {skip: true}}\n", "base.yaml")
    recipe = load_recipe(write("extends: base.yaml\nglobal: {density: 0.1}\n"))
    assert recipe.name == "mine"
    assert recipe.for_layer("w", "Conv") == LayerOptions(bits=8, density=0.1)
    assert recipe.for_layer("w", "Gemm") == LayerOptions(bits=5, density=0.1)
    assert recipe.for_layer("b", "bias") == LayerOptions()
    assert recipe.for_layer("first", "Gemm").skip


def test_extends_itself(write):
    write("extends: mine.yaml\n", "other.yaml")
    with pytest.raises(RecipeError, match="extends itself"):
        load_recipe(write("extends: other.yaml\n"))


def test_structures(write):
    recipe = load_recipe(write("global: {structure: block, block: [1, 8]}\n"))
    assert recipe.for_layer("w", "Gemm").block == (1, 8)
    assert load_recipe("sparse-2-4").for_layer("w", "Gemm").structure == "n:m"


def test_a_recipe_is_taken_as_it_is():
    recipe = Recipe(name="mine")
    assert load_recipe(recipe) is recipe


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("globl: {}", "line 1: unknown key 'globl', did you mean 'global'"),
        ("global:\n  bitz: 5", "line 2: unknown key 'global.bitz', did you mean 'bits'"),
        ("global:\n\n  bits: 9", "line 3: global.bits: .*less than or equal to 8, got 9"),
        ("global: {bits: '5'}", "global.bits: .*integer, got '5'"),
        ("operators: {Cnv: {bits: 3}}", "operator type 'operators.Cnv', did you mean 'Conv'"),
        ("operators:\n  Conv:\n    denstiy: 1", "line 3: .*'operators.Conv.denstiy'.*'density'"),
        ("layers: {'a(': {bits: 3}}", r"'a\(' is not a regular expression"),
        ("global: {n: 5, m: 4}", "n must not exceed m, got n: 5 and m: 4"),
        ("global: {density: 50}", "global.density: .*less than or equal to 1, got 50"),
        ("global: {density: 0}", "global.density: .*greater than 0, got 0"),
        ("global: {structure: nm}", "'element', 'n:m', 'block' or 'channel-block', got 'nm'"),
        ("global: {block: [1]}", "global.block: .*at least 2"),
        ("global: {}\nglobal: {}", "line 2: 'global' is there twice"),
        ("[1]", "expected a mapping"),
        ("a: [", "not valid YAML"),
        ("extends: losless", "no recipe 'losless', did you mean 'lossless'"),
    ],
)
def test_messages_name_the_place(write, text, message):
    with pytest.raises(RecipeError, match=message) as caught:
        load_recipe(write(text))
    assert "\n" not in str(caught.value)


def test_no_such_recipe():
    with pytest.raises(RecipeError, match=r"did you mean 'sparse-90'.*path of a YAML file"):
        load_recipe("sparse90")


def test_no_such_file():
    with pytest.raises(RecipeError, match=r"there is no file './no.yaml'. Expected the path"):
        load_recipe("./no.yaml")


@pytest.mark.parametrize("number", ["1e-1", "1E-1", "1.e-1", ".1e0", "1.0e-1", "+10e-2", "0.1"])
def test_numbers_with_an_exponent(write, number):
    assert load_recipe(write(f"global: {{density: {number}}}")).settings == {"density": 0.1}


def test_a_quoted_number_is_text(write):
    with pytest.raises(RecipeError, match="got '1e-1'"):
        load_recipe(write("global: {density: '1e-1'}"))


def test_binary_recipe(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(path)


def test_empty_file_is_lossless(write):
    assert load_recipe(write("")).for_layer("w", "Conv") == LayerOptions()
