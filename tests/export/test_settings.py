"""What a model's own settings ask for beyond the tokens; the reference is sentence-transformers."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import UNSET, to_builtins
from numpy.typing import NDArray
from tests.conftest import Mlx

import minilmx
from minilmx.errors import ArtifactError, ExportError, MinilmxError, ModelError
from minilmx.eval.datasets.pairs import load_pairs
from minilmx.eval.document import to_json
from minilmx.eval.limits import limit_rules
from minilmx.eval.metrics.retrieval import RetrievalDrift, Sides, measure_retrieval
from minilmx.eval.results import Result, check_limits
from minilmx.export.exporter import ExportedArtifact
from minilmx.models.artifact import Artifact, open_artifact

TEXTS = ["a cat sat", "the dog", "Rain, again!", "x", "one two three four", "no"]
GRAPHS = ("fixed", "dynamic", "packed")
PROMPTS = {"query": "q: ", "document": "doc ", "topic": "t, "}

Vectors = NDArray[np.float32]
Edit = Callable[..., Path]


@pytest.fixture
def edit(bert_original: Path, tmp_path: Path) -> Edit:
    """`edit(file, key=value)`: a copy of the small BERT with other settings in one of its files."""

    def make(name: str = "config_sentence_transformers.json", /, **values: object) -> Path:
        folder = tmp_path / "model"
        if not folder.exists():
            shutil.copytree(bert_original, folder)
        content = json.loads((folder / name).read_text("utf-8"))
        (folder / name).write_text(json.dumps(content | values), encoding="utf-8")
        return folder

    return make


def reference(folder: Path, texts: list[str] = TEXTS, **options: Any) -> Vectors:
    from sentence_transformers import SentenceTransformer

    return np.asarray(SentenceTransformer(str(folder), device="cpu").encode(texts, **options))


def export(folder: Path, **options: Any) -> ExportedArtifact:
    options = {"batch_size": 2, "sequence_length": 24} | options
    return minilmx.export_model(str(folder), folder.parent / "out", **options)


def embed(artifact: Artifact, graph: str = "auto", runner: str = "onnxruntime", **options: Any) -> Vectors:
    with minilmx.load(artifact, runner, graph, **options) as model:
        return model.encode(TEXTS)


def assert_same(found: Vectors, expected: Vectors) -> None:
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=2e-6)


def refusal(kind: type[MinilmxError], folder: Path, **options: Any) -> str:
    with pytest.raises(kind) as caught:
        export(folder, **options)
    assert not (folder.parent / "out").exists()
    return str(caught.value)


ALL = ("sentence-transformers", "sentence-transformers-fixed", "fastembed", "optimum", "onnxruntime")


def assert_consumers_agree(artifact: Artifact, names: Sequence[str] = ALL) -> None:
    """Check some libraries of .venv-consumers, which tests/consumers/environments.sh makes."""
    python = Path(__file__).parents[2] / ".venv-consumers" / "bin" / "python"
    if not python.exists():
        pytest.skip("needs .venv-consumers: tests/consumers/environments.sh makes it")
    findings = minilmx.check(artifact, names, pythons=[python])
    states = {each.consumer: (each.state, each.reason) for each in findings if each.place == str(python)}
    assert states == dict.fromkeys(names, ("agrees", None))


def units(vectors: Vectors) -> Vectors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


class TestDimension:
    def test_a_saved_truncate_dim_is_applied_after_normalising(self, edit: Edit) -> None:
        folder = edit(truncate_dim=16)
        artifact = export(folder, pack=3)
        expected = reference(folder)
        assert expected.shape == (len(TEXTS), 16)
        for graph in GRAPHS:
            assert_same(embed(artifact, graph), expected)
        assert_same(embed(artifact, runner="torch", model=folder), expected)
        assert artifact.manifest.embedding_dimension == 16

    @pytest.mark.slow
    def test_the_libraries_truncate_and_prepend_the_default_prompt(self, edit: Edit) -> None:
        edit(truncate_dim=16, prompts={"topic": "t, "}, default_prompt_name="topic")
        folder = edit("tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
        assert_consumers_agree(export(folder, fixed_consumers=True))
        # A chosen dimension is normalised again. onnxruntime takes the graph's sentence_embedding as it is.
        chosen = export(folder, fixed_consumers=True, dimension=8, replace=True)
        assert_consumers_agree(chosen, [name for name in ALL if name != "onnxruntime"])

    def test_a_truncate_dim_beyond_the_model_changes_nothing(self, edit: Edit) -> None:
        folder = edit(truncate_dim=99)
        artifact = export(folder)
        assert_same(embed(artifact), reference(folder))
        assert artifact.manifest.truncation is UNSET

    @pytest.mark.parametrize("value", [0, -3, 1.5, "16", True])
    def test_a_truncate_dim_that_is_not_a_size_is_refused(self, edit: Edit, value: object) -> None:
        message = refusal(ModelError, edit(truncate_dim=value))
        assert f"truncate_dim {value!r}; expected a whole number from 1" in message

    @pytest.mark.parametrize("saved", [None, 16], ids=["no setting", "saved 16"])
    def test_a_chosen_dimension_is_renormalised(self, edit: Edit, saved: int | None) -> None:
        folder = edit(truncate_dim=saved)
        artifact = export(folder, pack=3, dimension=8)
        expected = reference(folder, truncate_dim=8, normalize_embeddings=True)
        for graph in GRAPHS:
            assert_same(embed(artifact, graph), expected)
        assert_same(embed(artifact, runner="torch", model=folder), expected)
        assert_same(reference(folder, truncate_dim=8), expected * norms(folder)[:, None])

    def test_a_chosen_dimension_of_a_model_that_does_not_normalise(self, make_model: Any) -> None:
        folder = make_model(normalized=False)
        artifact = export(folder, dimension=8)
        assert_same(embed(artifact), reference(folder, truncate_dim=8))

    def test_a_chosen_dimension_beyond_the_model_is_refused(self, edit: Edit) -> None:
        message = refusal(ModelError, edit(), dimension=33)
        assert "dimension: 33; expected at most 32, the width of model's embeddings" in message

    def test_a_dimension_that_is_not_a_size_is_refused(self, edit: Edit) -> None:
        assert "the dimension: 0; expected a number from 1" in refusal(ExportError, edit(), dimension=0)

    def test_an_onnx_file_is_truncated_as_well(self, tiny_folder: Path, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(tiny_folder, tmp_path / "model"))
        full = embed(export(folder, from_onnx=True))
        chosen = embed(export(folder, from_onnx=True, dimension=3, replace=True))
        assert_same(chosen, units(full[:, :3]))
        (folder / "config_sentence_transformers.json").write_text('{"truncate_dim": 3}')
        for graph in ("fixed", "dynamic"):
            saved = embed(export(folder, from_onnx=True, replace=True), graph)
            assert_same(saved, full[:, :3])

    @pytest.mark.parametrize("options", [{}, {"dimension": 8}], ids=["saved", "chosen"])
    def test_a_bisection_sees_the_layers_and_the_artifact_can_be_frozen_again(
        self, edit: Edit, options: Any
    ) -> None:
        artifact = export(edit(truncate_dim=16), **options)
        bisection = minilmx.bisect(artifact, candidate="groq-emulator", limit=4)
        names = [step.boundary for step in bisection.steps]
        assert (names[0], names[-1]) == ("embeddings", "sentence_embedding")
        assert "layer 1 MLP" in names
        again = minilmx.export_model(
            str(artifact.path), artifact.path.parent / "again", sequence_length=24, from_onnx=True
        )
        assert_same(embed(again, "fixed"), embed(artifact, "fixed"))

    def test_an_onnx_file_that_pools_itself_is_truncated_after_its_pooling(self, edit: Edit) -> None:
        artifact = export(edit())
        full = embed(artifact)
        settings = artifact.path / "config_sentence_transformers.json"
        settings.write_text(json.dumps(json.loads(settings.read_text()) | {"truncate_dim": 16}))
        for dimension, expected in ((None, full[:, :16]), (8, units(full[:, :8]))):
            again = minilmx.export_model(
                str(artifact.path),
                artifact.path.parent / f"again-{dimension}",
                sequence_length=24,
                from_onnx=True,
                dimension=dimension,
            )
            assert_same(embed(again, "fixed"), expected)
            assert_same(embed(again, "dynamic"), expected)

    def test_another_dimension_is_another_artifact(self, edit: Edit) -> None:
        folder = edit()
        export(folder, dimension=8)
        with pytest.raises(MinilmxError, match="exists, made from another dimension"):
            export(folder)
        assert export(folder, dimension=8).report.parity is None

    def test_the_command_names_the_folder_by_the_dimension(self, edit: Edit, mlx: Mlx) -> None:
        outcome = mlx("export", edit(), "--dimension", 8, "--sequence-length", 24)
        assert outcome.code == 0, outcome
        artifact = open_artifact(Path("model-b1-s24-d8"))
        assert artifact.manifest.embedding_dimension == 8
        shown = mlx("inspect", artifact.path).stdout
        assert "the first 8 of the model's 32 numbers, truncated before normalising" in shown


def norms(folder: Path) -> Vectors:
    """The lengths of the first 8 numbers of sentence-transformers' embeddings."""
    return np.asarray(np.linalg.norm(reference(folder, truncate_dim=8), axis=1))


class TestSequenceLength:
    def test_the_models_own_limit_is_said_and_recorded(self, edit: Edit, mlx: Mlx) -> None:
        outcome = mlx("export", edit(), "--sequence-length", 16, "--output", "short")
        assert "the model reads up to 24 tokens; this artifact truncates at 16" in outcome.stdout
        assert open_artifact(Path("short")).manifest.max_sequence_length == 24
        assert "the model reads up to 24 tokens" in mlx("inspect", "short").stdout

    def test_a_run_says_where_it_truncated_and_what_the_model_reads(self, edit: Edit, mlx: Mlx) -> None:
        mlx("export", edit(), "--sequence-length", 16, "--output", "short")
        mlx("export", edit(), "--sequence-length", "model", "--output", "long")
        Path("texts.txt").write_text("a cat sat on the mat\nthe dog\n", encoding="utf-8")
        for output in ([], ["-o", "out.npy"], ["-o", "out/"]):
            said = mlx("run", "short", "texts.txt", *output).stderr
            assert "1 truncated at 16 tokens (the model reads up to 24)" in said
        assert "0 truncated" in mlx("run", "long", "texts.txt").stderr

    @pytest.mark.parametrize("length", [16, "model"])
    def test_every_graph_of_an_artifact_truncates_alike(self, edit: Edit, length: int | str) -> None:
        artifact = export(edit(), sequence_length=length, pack=2)
        texts = ["a cat sat on the mat and then it slept on the mat again"]
        found = []
        for graph in GRAPHS:
            with minilmx.load(artifact, graph=graph) as model:
                found.append(model.encode(texts))
        for vectors in found[1:]:
            assert_same(vectors, found[0])

    def test_the_export_takes_the_models_own_limit(self, edit: Edit, mlx: Mlx) -> None:
        outcome = mlx("export", edit(), "--sequence-length", "model", "--output", "out")
        assert outcome.code == 0, outcome
        assert open_artifact(Path("out")).shape.sequence_length == 24
        assert "the model reads" not in outcome.stdout

    def test_a_long_text_equals_sentence_transformers_at_the_models_own_limit(self, edit: Edit) -> None:
        folder = edit()
        texts = ["a cat sat on the mat and then it slept"]
        with minilmx.load(export(folder, sequence_length="model")) as model:
            assert_same(model.encode(texts), reference(folder, texts))

    def test_the_older_setting_comes_first(self, edit: Edit) -> None:
        folder = edit("sentence_bert_config.json", max_seq_length=20)
        assert export(folder, sequence_length="model").shape.sequence_length == 20

    def test_a_model_that_states_no_limit_has_that_of_its_positions(self, edit: Edit) -> None:
        folder = edit("tokenizer_config.json", model_max_length=10**30)
        artifact = export(folder, sequence_length="model")
        assert artifact.shape.sequence_length == 40
        assert artifact.manifest.max_sequence_length is UNSET

    def test_a_model_without_any_limit_is_refused(self, tiny_folder: Path, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(tiny_folder, tmp_path / "model"))
        (folder / "config.json").write_text('{"model_type": "bert", "hidden_size": 8}')
        message = refusal(ExportError, folder, from_onnx=True, sequence_length="model")
        assert "the sequence length of model: not stated" in message

    def test_another_word_is_refused(self, edit: Edit, mlx: Mlx) -> None:
        assert "the sequence length: 'long'; expected a number or 'model'" in refusal(
            ExportError, edit(), sequence_length="long"
        )
        outcome = mlx("export", edit(), "--sequence-length", "long")
        assert outcome.code == 2
        assert "'long' is not a number of tokens, at least 3, or 'model'" in outcome.stderr


class TestPrompts:
    @pytest.mark.parametrize("default", [None, "topic"])
    def test_a_prompt_is_prepended_as_sentence_transformers_does(
        self, edit: Edit, default: str | None
    ) -> None:
        folder = edit(prompts=PROMPTS, default_prompt_name=default)
        artifact = export(folder)
        for name in (None, *PROMPTS):
            assert_same(embed(artifact, prompt=name), reference(folder, prompt_name=name))
        assert artifact.manifest.prompts == PROMPTS

    def test_an_empty_prompt_leaves_the_default_out(self, edit: Edit) -> None:
        folder = edit(prompts={"topic": "t, "}, default_prompt_name="topic")
        plain = reference(edit(), prompt="")
        assert_same(embed(export(folder), prompt="document"), plain)

    def test_an_unknown_prompt_is_refused_with_those_that_exist(self, edit: Edit, mlx: Mlx) -> None:
        artifact = export(edit(prompts=PROMPTS))
        with pytest.raises(ArtifactError, match="prompt: 'title'; expected one of document, query, topic"):
            minilmx.load(artifact, prompt="title")
        assert mlx("run", artifact.path, "-", "--prompt", "title", stdin="a\n").code == 3

    def test_a_model_without_prompts_refuses_every_name(self, edit: Edit) -> None:
        artifact = export(edit())
        assert artifact.manifest.prompts is UNSET
        with pytest.raises(ArtifactError, match="'query'; expected none, as the model has no prompts"):
            minilmx.load(artifact, prompt="query")

    def test_a_default_that_does_not_exist_is_refused(self, edit: Edit) -> None:
        message = refusal(ModelError, edit(prompts={"topic": "t"}, default_prompt_name="title"))
        assert "default_prompt_name 'title'; expected one of document, query, topic" in message

    @pytest.mark.parametrize("prompts", [["a"], {"a": 3}, "a"])
    def test_prompts_that_are_not_texts_are_refused(self, edit: Edit, prompts: object) -> None:
        assert "expected texts by name" in refusal(ModelError, edit(prompts=prompts))

    def test_a_pooling_without_the_prompt_is_refused(self, edit: Edit) -> None:
        edit(prompts=PROMPTS)
        message = refusal(ModelError, edit("1_Pooling/config.json", include_prompt=False))
        assert "include_prompt false" in message

    def test_a_pooling_without_the_prompt_passes_if_there_is_no_prompt(self, edit: Edit) -> None:
        folder = edit("1_Pooling/config.json", include_prompt=False)
        assert_same(embed(export(folder)), reference(folder))

    def test_runs_and_results_state_the_prompt(self, edit: Edit, mlx: Mlx, tmp_path: Path) -> None:
        folder = edit(prompts=PROMPTS, default_prompt_name="topic")
        artifact = export(folder)
        source = tmp_path / "texts.txt"
        source.write_text("\n".join(TEXTS), encoding="utf-8")
        record = minilmx.embed_file(artifact, source, tmp_path / "q.npy", prompt="query")
        assert record.prompt == "query"
        assert_same(np.load(tmp_path / "q.npy"), reference(folder, prompt_name="query"))
        assert minilmx.embed_file(artifact, source, tmp_path / "default.npy").prompt == "topic"
        assert mlx("run", artifact.path, source, "--prompt", "query", "-o", "cli.npy").code == 0
        assert_same(np.load("cli.npy"), np.load(tmp_path / "q.npy"))
        with pytest.raises(MinilmxError, match="different inputs"):
            minilmx.compare(tmp_path / "q.npy", tmp_path / "default.npy")
        result = minilmx.evaluate(artifact, ["onnxruntime"], limit=12, prompt="query")
        assert result.evaluations[0].prompt == "query"
        assert "prompt query" in result.render("table")

    def test_a_corpus_is_embedded_with_the_prompt(self, edit: Edit, tmp_path: Path) -> None:
        parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
        folder = edit(prompts=PROMPTS)
        artifact = export(folder)
        (tmp_path / "texts.txt").write_text("\n".join(TEXTS), encoding="utf-8")
        inputs, output = [str(tmp_path / "texts.txt")], tmp_path / "corpus"
        minilmx.embed_corpus(artifact, inputs, output, prompt="document")
        (shard,) = output.glob("*.parquet")
        values = np.array(parquet.read_table(shard)["embedding"].to_pylist(), np.float32)
        assert_same(values, reference(folder, prompt_name="document"))
        with pytest.raises(MinilmxError, match="its prompt is document; expected query"):
            minilmx.embed_corpus(artifact, inputs, output, prompt="query")


SEARCHES = {
    # The prompts of a model, its default prompt, and the prompts of the queries and of the documents.
    "both": ({"query": "q: ", "document": "doc "}, "topic", "query", "document"),
    "passage": ({"query": "q: ", "corpus": "c ", "passage": "pass "}, None, "query", "passage"),
    "corpus": ({"query": "q: ", "corpus": "c "}, "query", "query", "corpus"),
    "query": ({"query": "q: "}, "topic", "query", None),
    "document": ({"document": "doc "}, None, None, "document"),
}


class TestSearchPrompts:
    """The two sides of a search, each with the prompt that its name asks for."""

    def evaluate(self, folder: Path, **options: Any) -> tuple[Result, Artifact, RetrievalDrift | None]:
        artifact = export(folder)
        result = minilmx.evaluate(artifact, ["onnxruntime", "groq-emulator"], limit=30, **options)
        comparison = result.evaluations[0].runners[1].comparison
        assert comparison is not None
        return result, artifact, comparison.retrieval

    def retrieval(self, artifact: Artifact, query: str, document: str) -> RetrievalDrift | None:
        """That of the same runners, with embeddings that were made one side at a time."""
        texts = load_pairs("bundled", limit=30).texts
        sides = []
        for runner in ("onnxruntime", "groq-emulator"):
            vectors = []
            for name in (query, document):
                with minilmx.load(artifact, runner, prompt=name) as model:
                    vectors.append(model.encode(texts))
            sides.append(Sides(*vectors))
        return measure_retrieval(sides[0], sides[1], texts, "cosine")

    @pytest.mark.parametrize("case", SEARCHES)
    def test_each_side_has_its_own_prompt_and_every_report_says_so(self, edit: Edit, case: str) -> None:
        prompts, default, query, document = SEARCHES[case]
        folder = edit(prompts={"topic": "t, ", "none": "", **prompts}, default_prompt_name=default)
        result, artifact, found = self.evaluate(folder)
        assert found == self.retrieval(artifact, query or "none", document or "none")
        (evaluation,) = result.evaluations
        assert evaluation.prompt == default
        assert to_builtins(evaluation)["search_prompts"] == {"query": query, "document": document}
        sides = [("queries", query), ("documents", document)]
        words = ", ".join(f"{side} with {f'the prompt {n}' if n else 'no prompt'}" for side, n in sides)
        for form in ("table", "html", "markdown"):
            assert f", search: {words}" in result.render(form), form
        result.save(folder.parent / "r.json")
        assert minilmx.load_result(folder.parent / "r.json") == result

    def test_the_sides_are_those_of_sentence_transformers(self, edit: Edit) -> None:
        from sentence_transformers import SentenceTransformer

        folder = edit(prompts=PROMPTS, default_prompt_name="topic")
        artifact = export(folder)
        model, sides = SentenceTransformer(str(folder), device="cpu"), artifact.search_prompts
        assert sides is not None
        assert_same(embed(artifact, prompt=sides.query), model.encode_query(TEXTS))
        assert_same(embed(artifact, prompt=sides.document), model.encode_document(TEXTS))

    def test_a_chosen_prompt_is_that_of_both_sides(self, edit: Edit) -> None:
        result, artifact, found = self.evaluate(edit(prompts=PROMPTS), prompt="topic")
        assert found == self.retrieval(artifact, "topic", "topic")
        assert "search_prompts" not in to_json(result)
        assert "search:" not in result.render("table")

    def test_without_prompts_for_a_search_both_sides_have_the_default_prompt(self, edit: Edit) -> None:
        result, artifact, found = self.evaluate(edit(prompts={"topic": "t, "}, default_prompt_name="topic"))
        assert found == self.retrieval(artifact, "topic", "topic")
        assert "search_prompts" not in to_json(result)

    def test_the_table_of_several_languages_states_the_prompts(self, edit: Edit) -> None:
        result, _, _ = self.evaluate(edit(prompts=PROMPTS))
        two = [replace(result.evaluations[0], language=code) for code in ("de", "fr")]
        words = ", search: queries with the prompt query, documents with the prompt document"
        for form in ("table", "html", "markdown"):
            assert words in check_limits(two, limit_rules(None), None).render(form), form


class TestSimilarity:
    @pytest.mark.parametrize("name", ["dot", "euclidean", "manhattan"])
    def test_pairs_are_scored_by_the_models_own_similarity(
        self, make_model: Any, name: str, tmp_path: Path
    ) -> None:
        from scipy.stats import spearmanr
        from sentence_transformers import SentenceTransformer

        folder = Path(shutil.copytree(make_model(normalized=False), tmp_path / "model"))
        settings = folder / "config_sentence_transformers.json"
        settings.write_text(json.dumps(json.loads(settings.read_text()) | {"similarity_fn_name": name}))
        artifact = export(folder)
        assert artifact.manifest.similarity == name
        result = minilmx.evaluate(artifact, ["onnxruntime", "groq-emulator"], limit=30)
        (evaluation,) = result.evaluations
        assert evaluation.similarity == name
        assert f"{name} similarity" in result.render("table")

        from minilmx.eval.datasets.pairs import load_pairs

        pairs = load_pairs("bundled", None, None, 30)
        model = SentenceTransformer(str(folder), device="cpu")
        first, second = (model.encode(list(side)) for side in (pairs.sentences1, pairs.sentences2))
        expected = model.similarity_pairwise(first, second).numpy()
        found = evaluation.runners[0]
        assert found.similarities is not None
        np.testing.assert_allclose(found.similarities, expected, rtol=1e-4)
        assert found.scores.spearman == pytest.approx(spearmanr(expected, pairs.gold).statistic, abs=1e-6)
        comparison = evaluation.runners[1].comparison
        assert comparison is not None
        assert comparison.retrieval is not None

    def test_an_unknown_similarity_is_refused(self, edit: Edit) -> None:
        message = refusal(ModelError, edit(similarity_fn_name="maxsim"))
        assert "similarity_fn_name 'maxsim'; expected one of cosine, dot, euclidean, manhattan" in message

    def test_cosine_needs_no_record(self, edit: Edit) -> None:
        artifact = export(edit(similarity_fn_name="cosine"))
        assert artifact.manifest.similarity is UNSET
