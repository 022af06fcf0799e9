from __future__ import annotations

from pathlib import Path

import pytest

from biencoder.data.collection import Collection
from biencoder.evaluation import Evaluation, evaluate, read_run
from biencoder.records import Judgement
from biencoder.search import KeywordSearcher, Reranker, Searcher
from biencoder.towers.bi_encoder import BiEncoder
from biencoder.towers.cross_encoder import CrossEncoder
from tests.cli.running import cli, failure

EXACT = ("--precision", "exact", "-m", "ndcg@10")


def test_an_index_a_model_and_bm25(
    index_folder: Path, tiny_model_folder: Path, collection_folder: Path, tiny_collection: Collection, tiny_model: BiEncoder
) -> None:
    others = ("--against", tiny_model_folder, "--against", "bm25")
    done = cli("evaluate", index_folder, collection_folder, *EXACT, *others, "--json")
    assert (done.status, done.err) == (0, "")
    found = done.json
    dense = evaluate(Searcher.in_memory(tiny_model, tiny_collection.documents), tiny_collection, measures="nDCG@10")
    bm25 = evaluate(KeywordSearcher.build(tiny_collection.documents), tiny_collection, measures="nDCG@10")
    assert (found["measures"], found["queries"], found["split"]) == (dense.measures, 30, "test")
    model, keywords = found["against"]
    assert (model["retriever"], keywords["retriever"]) == (str(tiny_model_folder), "bm25")
    assert keywords["measures"] == bm25.measures
    (same,), (comparison,) = model["comparisons"], keywords["comparisons"]
    assert (same["difference"], same["ties"], same["p_value"]) == (0, 30, 1)
    assert comparison["difference"] == pytest.approx(dense.measures["nDCG@10"] - bm25.measures["nDCG@10"])


def test_the_table_and_the_comparison(index_folder: Path, collection_folder: Path) -> None:
    done = cli(
        "evaluate", index_folder, collection_folder, "-m", "MRR@5", "-m", "Recall@5", "--against", "bm25", "--split", "dev"
    )
    mrr, recall, about, empty, heading, *comparisons = done.out.splitlines()
    assert (mrr[:5], recall[:8], empty) == ("MRR@5", "Recall@5", "")
    assert about == f"{index_folder}, 30 queries, split dev, {collection_folder}"
    assert heading == f"{index_folder} against bm25:"
    assert [line.split()[0] for line in comparisons] == ["MRR@5", "Recall@5"]
    assert all("wins" in line and "(paired randomisation, 10,000 permutations)" in line for line in comparisons)


def test_some_of_the_queries(index_folder: Path, collection_folder: Path, tmp_path: Path) -> None:
    saved = tmp_path / "e.json"
    assert cli("evaluate", index_folder, collection_folder, *EXACT, "--out", saved).status == 0
    whole = Evaluation.read(saved).per_query["nDCG@10"]
    drawn = []
    for seed in (0, 1):
        some = (*EXACT, "--queries", 7, "--seed", seed)
        done = cli("evaluate", index_folder, collection_folder, *some, "--out", saved, "--against", "bm25", "--json").json
        own = Evaluation.read(saved).per_query["nDCG@10"]
        assert (done["queries"], len(own), own) == (7, 7, {query: whole[query] for query in own})
        assert sum(done["against"][0]["comparisons"][0][key] for key in ("wins", "ties", "losses")) == 7
        drawn.append(set(own))
    assert drawn[0] != drawn[1]
    more = cli("evaluate", index_folder, collection_folder, *EXACT, "--queries", 1000, "--json").json
    assert more["queries"] == len(whole)


def test_what_was_written_is_read_again(index_folder: Path, collection_folder: Path, tmp_path: Path) -> None:
    saved, run = tmp_path / "e.json", tmp_path / "run.trec.gz"
    first = cli("evaluate", index_folder, collection_folder, *EXACT, "--hybrid", "--out", saved, "--run", run, "--json").json
    assert first["retriever"] == f"{index_folder}, hybrid"
    assert len(read_run(run)) == 30
    against = cli("evaluate", saved, collection_folder, *EXACT, "--against", run, "--json").json
    assert against["measures"] == first["measures"]
    assert against["against"][0]["retriever"] == str(run)
    assert against["against"][0]["comparisons"][0]["ties"] == 30
    reason = f"{saved} keeps measures and no hits, so that there is nothing to write to {run}"
    assert failure("evaluate", saved, collection_folder, "-m", "nDCG@10", "--run", run) == reason
    assert failure("evaluate", saved, collection_folder, "--against", "bm25", "-m", "P@5") == (
        "P@5 was not evaluated; there is nDCG@10"
    )


def test_hybrid_beside_the_same_index_without(index_folder: Path, collection_folder: Path) -> None:
    done = cli("evaluate", index_folder, collection_folder, *EXACT, "--hybrid", "--against", index_folder)
    assert f"{index_folder}, hybrid against {index_folder}:" in done.out


def test_reranked_beside_the_same_without(marked_folder: Path, reranker_folder: Path, tiny_model_folder: Path) -> None:
    chosen = (*EXACT, "--rerank", reranker_folder, "--depth", 10, "--json")
    found = cli("evaluate", "bm25", marked_folder, *chosen, "--against", "bm25").json
    assert found["retriever"] == f"bm25, reranked by {reranker_folder}"
    (other,) = found["against"]
    assert other["retriever"] == "bm25"
    collection = Collection.read(marked_folder)
    keywords = KeywordSearcher.build(collection.documents)
    reranker = Reranker(keywords, CrossEncoder.load(reranker_folder), 10)
    assert found["measures"] == evaluate(reranker, collection, measures="nDCG@10").measures
    assert found["measures"]["nDCG@10"] > other["measures"]["nDCG@10"] + 0.2
    model = cli("evaluate", tiny_model_folder, marked_folder, *chosen, "--hybrid").json
    assert model["retriever"] == f"{tiny_model_folder}, hybrid, reranked by {reranker_folder}"


def test_a_file_cannot_be_reranked(index_folder: Path, collection_folder: Path, reranker_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run.trec"
    assert cli("evaluate", index_folder, collection_folder, *EXACT, "--run", run).status == 0
    assert failure("evaluate", run, collection_folder, "--rerank", reranker_folder) == (
        f"--rerank reads the texts of hits, and {run} keeps none; give an index, a model or bm25"
    )


def test_an_index_of_other_documents_is_remarked_on(index_folder: Path, collection_folder: Path, tmp_path: Path) -> None:
    whole = Collection.read(collection_folder)
    query, (judged,) = whole.queries("test")[0], [*whole.judgements("test").values()][:1]
    documents = [document for document in whole.documents if document.id in judged]
    judgements = {"test": [Judgement(query.id, document.id) for document in documents]}
    smaller = tmp_path / "smaller"
    Collection(documents=documents, queries=[query], judgements=judgements).write(smaller)
    done = cli("evaluate", index_folder, smaller)
    assert done.err == (
        f"{index_folder} holds 60 documents and {smaller} 1: a relevant one that is not indexed counts as not found\n"
    )


def test_bad_input_is_one_line(index_folder: Path, collection_folder: Path) -> None:
    start = ("evaluate", index_folder, collection_folder)
    assert failure(*start, "-m", "nDGC@10").startswith("measure 'nDGC@10' is unknown (did you mean nDCG?); known are nDCG")
    assert failure(*start, "--split", "tst") == ("there is no split 'tst' in this collection; there are: train, dev, test")
    assert failure("evaluate", "bm25", collection_folder, "--hybrid") == (
        "--hybrid fuses an index or a model with BM25, and bm25 is neither"
    )
    corpus = collection_folder / "corpus.jsonl"
    assert failure(*start, "--against", corpus).startswith(f"{corpus}, line 1: ")
