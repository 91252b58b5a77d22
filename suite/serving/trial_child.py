"""The throw-away child of a trial load: loads a model file, makes a context, reads and writes a few tokens, and may die of it.

Run by path, never imported: `python -I -S trial_child.py <folder of llama_cpp> <model file> <numbers as JSON>`. It exits with 0 when all
went well, with 3 and a reason on its last line of standard error when llama.cpp refused, and by a signal when llama.cpp gave up.
"""

import ctypes
import importlib
import json
import os
import sys
import types

# every byte that UTF-8 text can hold, several scripts, control words: the tokenizer of a real load meets all of it sooner or later
PROBE = ("".join(map(chr, (*range(1, 256), *range(256, 2048, 61)))) + "The answer is 42.\n\n 안녕하세요 漢字 한글 ﷽ 🙂 <|im_start|>user</s>").encode()


def main(folder, path, wanted):
    """Load, read a prompt in two sequences, write a token; prints nothing of its own unless it is a reason."""
    os.putenv("GGML_NO_BACKTRACE", "1")  # an aborting llama.cpp would otherwise start a debugger on itself, which takes seconds
    llama = library(folder)
    llama.llama_backend_init()
    model_params = llama.llama_model_default_params()
    model_params.load_mode, model_params.n_gpu_layers = llama.LLAMA_LOAD_MODE_NONE, wanted["n_gpu_layers"]
    model = llama.llama_model_load_from_file(os.fsencode(path), model_params)
    if not model:
        refuse("llama.cpp cannot load it")
    context_params = llama.llama_context_default_params()
    context_params.n_ctx, context_params.n_threads, context_params.n_threads_batch = wanted["kv_tokens"], 1, 1
    context_params.n_batch = context_params.n_ubatch = wanted["n_batch"]
    context_params.n_seq_max, context_params.kv_unified = wanted["sequences"], True
    context_params.type_k = context_params.type_v = wanted["kv_kind"]
    context = llama.llama_init_from_model(model, context_params)
    if not context:
        refuse("llama.cpp cannot make a context of {} tokens for it".format(wanted["kv_tokens"]))
    vocab = llama.llama_model_get_vocab(model)
    size = llama.llama_vocab_n_tokens(vocab)
    if size < 1:
        refuse("it has no vocabulary")
    words(llama, vocab, size)
    prompt = tokens(llama, vocab, size)[: max(1, min(16, wanted["n_batch"], wanted["kv_tokens"] // 2))]
    decode(llama, context, prompt, 0, 0)
    if not llama.llama_model_is_recurrent(model) and not llama.llama_model_is_hybrid(model) and wanted["sequences"] > 1:
        memory = llama.llama_get_memory(context)  # what the decoder does between requests: share a beginning, drop a sequence, go on
        llama.llama_memory_seq_cp(memory, 0, 1, 0, len(prompt))
        llama.llama_memory_seq_rm(memory, 0, -1, -1)
        decode(llama, context, prompt[:1], 1, len(prompt))
    logits = llama.llama_get_logits_ith(context, -1)
    if not ctypes.cast(logits, ctypes.c_void_p).value:
        refuse("llama.cpp gives no result for a token")
    if any(logits[index] != logits[index] for index in range(size)):
        refuse("its numbers are damaged: a token's scores are not numbers")


def library(folder):
    """The ctypes declarations of llama_cpp, without numpy and jinja2 behind its __init__: a bare package object takes that one's place."""
    package = types.ModuleType("llama_cpp")
    package.__path__ = [folder]
    sys.modules["llama_cpp"] = package
    sys.path.append(os.path.dirname(folder))
    try:
        return importlib.import_module("llama_cpp.llama_cpp")
    except (OSError, RuntimeError, ImportError) as error:
        refuse(f"llama.cpp itself cannot be loaded: {error}")


def tokens(llama, vocab, size):
    """The probe text as tokens; a vocabulary that cannot write it would end the real process at a user's first unusual character."""
    found = (llama.llama_token * (4 * len(PROBE)))()
    count = llama.llama_tokenize(vocab, PROBE, len(PROBE), found, len(found), True, True)
    if count < 1 or any(not 0 <= token < size for token in found[:count]):
        refuse("its vocabulary cannot write a text")
    return found[:count]


def words(llama, vocab, size):
    """The text of every token."""
    buffer = ctypes.create_string_buffer(1024)
    for token in range(size):
        llama.llama_token_to_piece(vocab, token, buffer, len(buffer), 0, False)


def decode(llama, context, prompt, sequence, place):
    """Compute tokens of one sequence, with scores for the last."""
    batch = llama.llama_batch_init(len(prompt), 0, 1)
    batch.n_tokens = len(prompt)
    for at, token in enumerate(prompt):
        batch.token[at], batch.pos[at], batch.n_seq_id[at], batch.seq_id[at][0], batch.logits[at] = token, place + at, 1, sequence, 0
    batch.logits[len(prompt) - 1] = 1
    if llama.llama_decode(context, batch) != 0:
        refuse("llama.cpp cannot decode a token with it")


def refuse(reason):
    """End with the reason as the last line, and without the destructors of a half-made model."""
    sys.stderr.write("\nreason: " + reason + "\n")
    sys.stderr.flush()
    os._exit(3)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
    os._exit(0)  # freeing a large model costs time, and the system does it anyway
