"""LlamaIndex as its documentation sets up hybrid retrieval; run by the Python of its own environment, which has nothing else of the suite in use."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from llama_index.core import SimpleDirectoryReader, VectorStoreIndex
from llama_index.core.llms import MockLLM
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.embeddings.fastembed import FastEmbedEmbedding
from llama_index.retrievers.bm25 import BM25Retriever

from suite.benchmark.child import attend


class Peer:
    """Files in, the nearest of them out; `weights` is a folder with the model as fastembed lays it out."""

    def __init__(self, name: str, weights: str, cache: str, threads: int | None) -> None:
        self._embedding = FastEmbedEmbedding(name, cache_dir=cache, threads=threads, specific_model_path=weights)
        self._embedding.get_text_embedding("The backup runs at three in the morning.")
        self._index: Any = None

    def index(self, folder: str) -> dict[str, Any]:
        """Read and index a folder, in memory: seconds, chunks."""
        began = time.perf_counter()
        self._index = VectorStoreIndex.from_documents(SimpleDirectoryReader(folder).load_data(), embed_model=self._embedding)
        self._words = BM25Retriever.from_defaults(docstore=self._index.docstore, similarity_top_k=5)
        return {"seconds": time.perf_counter() - began, "chunks": len(self._index.docstore.docs)}

    def ask(self, questions: list[str], topk: int) -> list[dict[str, Any]]:
        """For each question the seconds that finding took, its embedding counted, and the names of the files found, best first."""
        self._words.similarity_top_k = topk
        arms = [self._index.as_retriever(similarity_top_k=topk), self._words]
        retriever = QueryFusionRetriever(arms, llm=MockLLM(), num_queries=1, mode="reciprocal_rerank", similarity_top_k=topk)
        rows = []
        for question in questions:
            began = time.perf_counter()
            hits = retriever.retrieve(question)
            rows.append({"seconds": time.perf_counter() - began, "files": [Path(hit.node.metadata["file_path"]).name for hit in hits]})
        return rows


if __name__ == "__main__":
    peer = Peer(**json.loads(sys.argv[1]))
    attend({"ready": lambda: True, "index": peer.index, "ask": peer.ask})
