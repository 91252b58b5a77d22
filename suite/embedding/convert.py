"""A BERT encoder's published weights turned into an ONNX file, without torch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors import SafetensorError
from safetensors.numpy import load_file

from suite.errors import WeightsError

OPSET = 20  # the first with Gelu as one operator
IR_VERSION = 10
HIDDEN_FROM_SOFTMAX = np.float32(-1e9)  # finite on purpose: a text of padding only must not become NaN


class BertGraph:
    """Builds the graph of a BERT encoder, layer by layer; every method returns the name of the value that it adds."""

    def __init__(self, config: dict, tensors: dict[str, np.ndarray]) -> None:
        self.hidden, self.heads = int(config["hidden_size"]), int(config["num_attention_heads"])
        self.layers, self.epsilon = int(config["num_hidden_layers"]), float(config["layer_norm_eps"])
        self.tensors = tensors
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def model(self) -> onnx.ModelProto:
        """The whole model: `input_ids`, `attention_mask`, `token_type_ids` (batch, length) → `last_hidden_state` (batch, length, hidden)."""
        self.shared()
        state = self.embeddings()
        for layer in range(self.layers):
            state = self.layer(f"encoder.layer.{layer}", state)
        self.op("Identity", [state], "last_hidden_state")
        inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
                  for name in ("input_ids", "attention_mask", "token_type_ids")]
        output = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["batch", "length", self.hidden])
        graph = helper.make_graph(self.nodes, "bert", inputs, [output], list(self.constants.values()))
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="local-ai-suite")

    def op(self, kind: str, inputs: list[str], name: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def constant(self, name: str, value: np.ndarray) -> str:
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def tensor(self, name: str, transposed: bool = False) -> str:
        """A published tensor as a constant; the stored (out, in) matrices are turned once, here, instead of at every run."""
        value = self.tensors[name].astype(np.float32)
        return self.constant(f"{name}.turned", value.T) if transposed else self.constant(name, value)

    def dense(self, path: str, state: str) -> str:
        product = self.op("MatMul", [state, self.tensor(f"{path}.weight", transposed=True)], f"{path}.product")
        return self.op("Add", [product, self.tensor(f"{path}.bias")], f"{path}.out")

    def norm(self, path: str, state: str) -> str:
        return self.op("LayerNormalization", [state, self.tensor(f"{path}.weight"), self.tensor(f"{path}.bias")], f"{path}.out",
                       axis=-1, epsilon=self.epsilon)

    def shared(self) -> None:
        """What all layers use: shapes, the scale, and the mask as (batch, 1, 1, length) of 0 or minus a lot."""
        per_head = self.hidden // self.heads
        self.constant("split", np.array([0, 0, self.heads, per_head], np.int64))
        self.constant("join", np.array([0, 0, self.hidden], np.int64))
        self.constant("scale", np.float32(per_head**-0.5))
        seen = self.op("Cast", ["attention_mask"], "mask.seen", to=TensorProto.BOOL)
        wide = self.op("Unsqueeze", [seen, self.constant("axes", np.array([1, 2], np.int64))], "mask.wide")
        self.op("Where", [wide, self.constant("zero", np.float32(0)), self.constant("hidden", HIDDEN_FROM_SOFTMAX)], "mask")

    def embeddings(self) -> str:
        words = self.op("Gather", [self.tensor("embeddings.word_embeddings.weight"), "input_ids"], "embeddings.words")
        types = self.op("Gather", [self.tensor("embeddings.token_type_embeddings.weight"), "token_type_ids"], "embeddings.types")
        length = self.op("Shape", ["input_ids"], "embeddings.length", start=1, end=2)
        first, axis = self.constant("first", np.array([0], np.int64)), self.constant("axis", np.array([0], np.int64))
        places = self.op("Slice", [self.tensor("embeddings.position_embeddings.weight"), first, length, axis], "embeddings.places")
        total = self.op("Add", [self.op("Add", [words, types], "embeddings.typed"), places], "embeddings.placed")
        return self.norm("embeddings.LayerNorm", total)

    def layer(self, path: str, state: str) -> str:
        attended = self.dense(f"{path}.attention.output.dense", self.attention(f"{path}.attention.self", state))
        state = self.norm(f"{path}.attention.output.LayerNorm", self.op("Add", [attended, state], f"{path}.attention.sum"))
        inner = self.op("Gelu", [self.dense(f"{path}.intermediate.dense", state)], f"{path}.gelu")
        total = self.op("Add", [self.dense(f"{path}.output.dense", inner), state], f"{path}.sum")
        return self.norm(f"{path}.output.LayerNorm", total)

    def attention(self, path: str, state: str) -> str:
        query, key, value = (self.op("Reshape", [self.dense(f"{path}.{part}", state), "split"], f"{path}.{part}.split")
                             for part in ("query", "key", "value"))
        query = self.op("Transpose", [query], f"{path}.query.heads", perm=[0, 2, 1, 3])
        key = self.op("Transpose", [key], f"{path}.key.heads", perm=[0, 2, 3, 1])
        value = self.op("Transpose", [value], f"{path}.value.heads", perm=[0, 2, 1, 3])
        scores = self.op("Mul", [self.op("MatMul", [query, key], f"{path}.match"), "scale"], f"{path}.scaled")
        shares = self.op("Softmax", [self.op("Add", [scores, "mask"], f"{path}.masked")], f"{path}.shares", axis=-1)
        mixed = self.op("Transpose", [self.op("MatMul", [shares, value], f"{path}.mix")], f"{path}.mix.turned", perm=[0, 2, 1, 3])
        return self.op("Reshape", [mixed, "join"], f"{path}.mix.joined")


def convert(config: Path, weights: Path, target: Path) -> None:
    """Write the ONNX file `target` (float32) for a BERT encoder given as config.json and a safetensors file.

    WeightsError when a tensor is missing, the activation is another than GELU, or the graph does not pass ONNX's own check.
    """
    facts = json.loads(config.read_text(encoding="utf-8"))
    if facts.get("model_type") != "bert" or facts.get("hidden_act") != "gelu":
        raise WeightsError(f"{config} describes {facts.get('model_type')!r} with {facts.get('hidden_act')!r}; only BERT with GELU can be converted.")
    try:
        model = BertGraph(facts, load_file(weights)).model()
        onnx.checker.check_model(model)
    except (KeyError, SafetensorError, onnx.checker.ValidationError) as error:
        raise WeightsError(f"{weights} cannot be converted to ONNX ({type(error).__name__}: {error}); fetch the model anew.") from error
    target.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(target))
