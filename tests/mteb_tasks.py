"""Tasks of mteb with data of their own: only the tests of mteb import this, as mteb takes seconds."""

from datasets import Dataset, DatasetDict
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.sts import AbsTaskSTS
from mteb.abstasks.task_metadata import TaskMetadata


def metadata(name: str, kind: str, main_score: str) -> TaskMetadata:
    return TaskMetadata(
        name=name,
        type=kind,
        main_score=main_score,
        description="A task with data of its own.",
        reference=None,
        dataset={"path": "local", "revision": "local"},
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        date=None,
        domains=None,
        task_subtypes=None,
        license=None,
        annotations_creators=None,
        dialect=None,
        sample_creation=None,
        bibtex_citation="",
    )


class LocalPairs(AbsTaskSTS):  # type: ignore[misc] # mteb has no types here
    """The similarity of pairs of sentences."""

    metadata = metadata("LocalPairs", "STS", "cosine_spearman")

    def __init__(self, first: list[str], second: list[str], gold: list[float]) -> None:
        super().__init__()
        rows = Dataset.from_dict({"sentence1": first, "sentence2": second, "score": gold})
        self.dataset = DatasetDict({"test": rows})
        self.data_loaded = True


class LocalSearch(AbsTaskRetrieval):  # type: ignore[misc] # as above
    """A search for the document that has the number of the query."""

    metadata = metadata("LocalSearch", "Retrieval", "ndcg_at_10")

    def __init__(self, queries: list[str], documents: list[str]) -> None:
        super().__init__()
        split = {
            "queries": Dataset.from_list([{"id": f"q{i}", "text": text} for i, text in enumerate(queries)]),
            "corpus": Dataset.from_list(
                [{"id": f"d{i}", "text": text, "title": ""} for i, text in enumerate(documents)]
            ),
            "relevant_docs": {f"q{i}": {f"d{i}": 1} for i in range(len(queries))},
            "top_ranked": None,
        }
        self.dataset = {"default": {"test": split}}
        self.data_loaded = True
