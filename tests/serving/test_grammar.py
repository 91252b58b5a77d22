from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from models_stage import smoke_server
from vocabulary import RandomModel, Vocabulary, accepts, allowed, write_bpe, write_endless

from suite.errors import BadRequest
from suite.serving.grammar import Grammars, constraint
from suite.serving.request import Request


@pytest.fixture(scope="module", params=["sentencepiece", "bytes"])
def vocabulary(request, make_smoke, tmp_path_factory):
    """A SentencePiece vocabulary with byte fallback, and a byte-level BPE."""
    path = tmp_path_factory.mktemp("vocabulary") / "tiny.gguf"
    make_smoke.write(path) if request.param == "sentencepiece" else write_bpe(path)
    made = Vocabulary(path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def grammars(vocabulary):
    return Grammars(vocabulary.pointer)


def matcher(grammars, **options):
    return grammars.compile(constraint(Request.of("x", **options)))


def bound(kind):
    """Two numbers in order, either of which may be missing."""
    return st.tuples(st.none() | kind, st.none() | kind).map(lambda pair: pair if None in pair else tuple(sorted(pair)))


def limits(names, kind):
    return bound(kind).map(lambda pair: {name: value for name, value in zip(names, pair, strict=True) if value is not None})


SIZES = st.integers(0, 6)
LEAVES = st.one_of(
    st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"enum": ["red", "grün", 3, None, {"a": [1]}]}, {"const": "he said \"\n\""},
                     {"type": "string", "format": "date"}, {"type": "integer", "multipleOf": 7}]),
    limits(("minimum", "maximum"), st.integers(-1000, 1000)).map(lambda row: {"type": "integer", **row}),
    limits(("minimum", "maximum"), st.integers(-50, 50).map(lambda number: number / 4)).map(lambda row: {"type": "number", **row}),
    limits(("minLength", "maxLength"), SIZES).map(lambda row: {"type": "string", **row}),
    st.sampled_from(["^[a-c]{2,5}$", "^x[0-9]+y$", "^(ja|nein)$", "^[가-힣]{1,3}$"]).map(lambda pattern: {"type": "string", "pattern": pattern}),
)


def schemas(inner):
    names = st.sampled_from(["a", "b", "name", "이름", 'qu"ote', "the city"])
    objects = st.tuples(st.dictionaries(names, inner, max_size=4), st.randoms(use_true_random=False), st.booleans()).map(
        lambda made: {"type": "object", "properties": made[0], "required": [name for name in made[0] if made[1].random() < 0.5],
                      "additionalProperties": made[2] and {"type": "boolean"}})
    arrays = st.tuples(inner, limits(("minItems", "maxItems"), st.integers(0, 4))).map(lambda made: {"type": "array", "items": made[0], **made[1]})
    return st.one_of(objects, arrays, st.lists(inner, min_size=1, max_size=3).map(lambda made: {"anyOf": made}))


@settings(max_examples=110, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(schema=st.recursive(LEAVES, schemas, max_leaves=6), seed=st.integers(0, 1 << 30))
def test_what_a_random_model_writes_by_a_schema_is_valid_by_it(vocabulary, grammars, schema, seed):
    tokens, ended = RandomModel(vocabulary, seed).write(matcher(grammars, json_schema=schema))
    if ended:  # otherwise it was cut off by its limit of tokens
        jsonschema.Draft202012Validator(schema, format_checker=None).validate(json.loads(vocabulary.bytes(tokens)))
    else:
        assert "string" in json.dumps(schema) or "array" in json.dumps(schema) or "number" in json.dumps(schema) or "integer" in json.dumps(schema)


def test_most_replies_come_to_an_end(vocabulary, grammars):
    schema = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "array", "items": {"type": "integer"}}}, "required": ["a", "b"]}
    ended = [RandomModel(vocabulary, seed).write(matcher(grammars, json_schema=schema))[1] for seed in range(10)]
    assert sum(ended) >= 8


def test_control_characters_in_strings_are_escaped(vocabulary, grammars):
    controls = tuple(token for token, raw in enumerate(vocabulary.pieces) if len(raw) == 1 and raw[0] < 0x20)
    assert len(controls) > 20
    for seed in range(5):
        tokens, ended = RandomModel(vocabulary, seed).write(matcher(grammars, json_schema={"type": "string", "minLength": 5, "maxLength": 30}), favour=controls)
        assert ended
        assert len(json.loads(vocabulary.bytes(tokens))) >= 5  # strict: a raw control character is an error


def test_tokens_that_write_nothing_and_ends_are_not_part_of_a_text(vocabulary, grammars):
    started = matcher(grammars, json_schema={"type": "string"})
    for token in vocabulary.tokenize(b'"'):
        started.accept(token)
    within = allowed(vocabulary, started)
    assert np.isneginf(within[list(vocabulary.ends)]).all()
    silent = [token for token, raw in enumerate(vocabulary.pieces) if not raw]
    assert silent and np.isneginf(within[silent]).all()
    assert np.isfinite(within[vocabulary.tokenize(b"a")[-1]])


def test_every_end_token_ends_a_complete_text_and_only_that(vocabulary, grammars):
    started = matcher(grammars, json_schema={"type": "integer", "minimum": 3, "maximum": 40})
    assert np.isneginf(allowed(vocabulary, started)[list(vocabulary.ends)]).all()
    started.accept(vocabulary.tokenize(b"3")[-1])
    assert np.isfinite(allowed(vocabulary, started)[list(vocabulary.ends)]).all()
    assert not started.ended  # 3 may go on to 39
    started.accept(vocabulary.tokenize(b"9")[-1])
    assert started.ended
    assert set(np.flatnonzero(np.isfinite(allowed(vocabulary, started)))) == vocabulary.ends


def test_scores_beyond_the_vocabulary_are_ruled_out(vocabulary, grammars):
    logits = np.zeros(vocabulary.size + 37, np.float32)
    matcher(grammars, json_schema={}).restrict(logits)
    assert np.isneginf(logits[vocabulary.size:]).all() and np.isfinite(logits[:vocabulary.size]).any()


def test_a_letter_that_ends_a_reply_is_no_letter(tmp_path):
    write_bpe(tmp_path / "odd.gguf", end="")  # llama.cpp then takes token 11 for the end, here the letter U+000B
    odd = Vocabulary(tmp_path / "odd.gguf")
    assert [odd.pieces[token] for token in odd.ends] == [b"\x0b"]
    started = matcher(Grammars(odd.pointer), grammar="root ::= [^a]")
    assert np.isneginf(allowed(odd, started)[list(odd.ends)]).all()
    odd.close()


def test_a_vocabulary_without_an_end_token_still_ends(tmp_path):
    write_endless(tmp_path / "endless.gguf")
    endless = Vocabulary(tmp_path / "endless.gguf")
    assert not endless.ends
    tokens, ended = RandomModel(endless, 1).write(matcher(Grammars(endless.pointer), json_schema={"enum": ["a", "b"]}))
    assert ended and json.loads(endless.bytes(tokens)) in ("a", "b")
    endless.close()


def test_a_compiled_grammar_is_shared_but_not_its_place(vocabulary, grammars):
    first, second = matcher(grammars, json_schema={"const": 12}), matcher(grammars, json_schema={"const": 12})
    first.accept(vocabulary.tokenize(b"1")[-1])
    one, two = vocabulary.tokenize(b"1")[-1], vocabulary.tokenize(b"2")[-1]
    assert np.isfinite(allowed(vocabulary, second)[one]) and np.isfinite(allowed(vocabulary, first)[two])
    assert np.isneginf(allowed(vocabulary, first)[one])


def test_threads_compile_at_once(vocabulary):
    fresh, made = Grammars(vocabulary.pointer), []
    threads = [threading.Thread(target=lambda at=at: made.append((at, matcher(fresh, json_schema={"const": at})))) for at in range(50, 58)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(at for at, _ in made) == list(range(50, 58))
    assert all(accepts(vocabulary, each, str(at)) for at, each in made)


@pytest.mark.parametrize(("schema", "yes", "no"), [
    ({}, ['{"a":[1,null]}', '"x"', "3"], ["{a:1}", "nope"]),
    (True, ["[]"], ["x"]),
    ({"type": "object"}, ["{}", '{"x":1}'], ["[]", "1"]),
    ({"type": "integer", "minimum": -3, "exclusiveMaximum": 12}, ["-3", "0", "11"], ["-4", "12", "1.5"]),
    ({"type": "string", "minLength": 2, "maxLength": 3}, ['"ab"', '"가나다"', '"a\\n"'], ['"a"', '"abcd"']),
    ({"$ref": "#/$defs/n", "$defs": {"n": {"type": "object", "properties": {"n": {"$ref": "#/$defs/n"}}, "additionalProperties": False}}},
     ['{"n":{"n":{}}}'], ['{"m":1}']),
    ({"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 2}, ["[true]", "[true, false]"], ["[]", "[true,true,true]"]),
    ({"properties": {"a": {"type": "integer"}}, "type": "object"}, ['{"a":1}', '{"b":"x"}'], ['{"a":"x"}', '{"b":1,"a":"x"}', '{"a":1,"a":"x"}']),
    ({"type": "object", "properties": {"x-guidance": {"const": 1}}, "required": ["x-guidance"]}, ['{"x-guidance":1}'], ["{}"]),
])
def test_a_schema_lets_through_what_it_says(vocabulary, grammars, schema, yes, no):
    assert [text for text in yes if not accepts(vocabulary, matcher(grammars, json_schema=schema), text)] == []
    assert [text for text in no if accepts(vocabulary, matcher(grammars, json_schema=schema), text)] == []


@pytest.mark.parametrize(("schema", "reason"), [
    ('{"type":"array","uniqueItems":true}', "uniqueItems"), ('{"not":{"type":"string"}}', "keyword not"), ('{"if":{},"then":{}}', "if, then"),
    ('{"x-guidance":{"lenient":true}}', "x-guidance"), ('{"$ref":"#/$defs/none"}', "none"), ('{"$ref":"http://127.0.0.1:9/x.json"}', "not fetched"),
    ('{"type":"integer","minimum":5,"maximum":1}', "greater than"), ('{"type":"strin"}', "strin"), ('{"type":"string","pattern":"("}', "unclosed"),
    ('{"type":"string","pattern":"(?=a)b"}', "look-ahead"), ('{"type":"string","format":"nonsense"}', "nonsense"), ("false", "false"), ("[]", "object"),
    ("3", "object"), ("nope", "no valid JSON"), ('{"minimum":NaN}', "no valid JSON"), ("[" * 200_000, "nested"), ('{"const":"\\ud800"}', "cannot be used"),
    ('{"oneOf":[{"type":"integer"},{"type":"number"}]}', "anyOf"), ('{"type":"integer","multipleOf":1000003}', "multipleOf"), ('{"enum":[]}', "empty"),
    ('{"type":"integer","minimum":1,"exclusiveMinimum":true}', "exclusiveMinimum"), ('{"type":"object","minProperties":2}', "minProperties"),
    ('{"$ref":"#"}', "No text fits"), ('{"type":"object","required":["a"],"additionalProperties":false}', "'a'"), ('{"maximum":1e999}', "no valid JSON"),
])
def test_a_schema_that_cannot_be_kept_is_refused_with_the_reason(schema, reason):
    with pytest.raises(BadRequest, match=reason) as caught:
        constraint(Request.of("x", json_schema=schema))
    assert caught.value.facts["param"] == "json_schema"
    assert "\n" not in caught.value.message and caught.value.message.endswith(".") and len(caught.value.message) < 400


JSON_GBNF = r"""
# JSON, in the way llama.cpp's documentation writes grammars
root   ::= value
value  ::= (object | array | string | number | "true" | "false" | "null") ws
object ::= "{" ws ( pair ("," ws pair)* )? "}"
pair   ::= string ws ":" ws value
array  ::= "[" ws (
    value ("," ws value)*   # nested lines
  )? "]"
string ::= "\"" ( [^"\\\x00-\x1F] | "\\" (["\\bfnrt/] | "u" [0-9a-fA-F]{4}) )* "\""
number ::= "-"? ("0" | [1-9] [0-9]{0,9}) ("." [0-9]+)?
ws     ::= [ \t\n]{0,8}
"""


@pytest.mark.parametrize(("grammar", "yes", "no"), [
    ('root ::= "yes" | "no"', ["yes", "no"], ["", "y", "yesno"]),
    ('root ::= "a"\r\n  | "b"\r\n', ["a", "b"], ["c"]),
    ('root ::= [a-z]* "abc"', ["abc", "xyzabc", "abcabc"], ["ab", "abcx"]),
    ('root ::= [^a-c\\n]{2,3}', ["xy", "xyz", "가나"], ["x", "axy", "x\n", "wxyz"]),
    ('root ::= [-+]? [0-9a-] "]" [\\[\\]^]', ["+-][", "0]]", "a]^"], ["+", "b]]"]),
    ('root ::= "한" [가-힣]{2} "\\u0041\\x42\\U00000043"', ["한국어ABC"], ["한국ABC", "한abABC"]),
    ("root ::= . .", ["a\n", "가🙂"], ["a", "abc"]),
    ('root ::= "a"{2} "b"{1,} "c"{0,2} ("d" "e")?', ["aab", "aabbccde"], ["ab", "aacc", "aabccc", "aabd"]),
    ('root ::= "a"*? "b"', ["b", "aab"], ["a"]),
    ('root ::= root "+" num | num\nnum ::= [0-9]+', ["1", "12+3+44"], ["+1", "1+"]),
    ('root ::= "(" root ")" | ""', ["", "()", "((()))"], ["(", "())"]),
    ('root ::= a-b a_b\na-b ::= "x"\na_b ::= "y"', ["xy"], ["yx"]),
    ('root ::= A a\nA ::= "1"\na ::= "2"', ["12"], ["21"]),
    ('root ::= "/" "\\t\\r\\n\\\\\\"" [/]', ['/\t\r\n\\"/'], ["/"]),
    (JSON_GBNF, ['{"a": [1, -2.5, {"b": "c\\u00e9"}], "한": null}', "[]", " ".join(["["] * 9) + "0" + "]" * 9], ['{"a" 1}', "[1,]", '"\x01"', "01"]),
])
def test_a_gbnf_grammar_lets_through_what_it_says(vocabulary, grammars, grammar, yes, no):
    assert [text for text in yes if not accepts(vocabulary, matcher(grammars, grammar=grammar), text)] == []
    assert [text for text in no if accepts(vocabulary, matcher(grammars, grammar=grammar), text)] == []


def test_a_random_model_writes_json_by_gbnf(vocabulary, grammars):
    read = [json.loads(vocabulary.bytes(tokens)) for tokens, ended in
            (RandomModel(vocabulary, seed).write(matcher(grammars, grammar=JSON_GBNF)) for seed in range(12)) if ended]
    assert len(read) >= 8


@pytest.mark.parametrize(("grammar", "reason"), [
    ("root ::= (", r"'\)' should stand"), ('root ::= "a', "no part of a grammar"), ("root ::= b", "b, which root uses"), ('x ::= "a"', "named root"),
    ('root ::= root "a"', "never end"), ('root ::= "x" root', "never end"), ('root ::= "a" )', "end of the line"), ('root ::= "\\q"', "escape"),
    ("root ::= [z-a]", "before it begins"), ("root ::= []", "no character"), ("root ::= *", "something to repeat"), ('root ::= "a"{,3}', "no part"),
    ('root ::= "a"{3,1}', "before it begins"), ('root = "a"', "no part"), ('root ::= "a" x ::= "b"', "end of the line"), ('root ::= "\\uD800"', "no character"),
    ("root ::= " + "(" * 5000 + ")" * 5000, "parentheses"), ("root ::= <[12]>", "no part"), ('root ::= "a"\nroot ::= "b"', "twice"), ("   ", "named root"),
    ('root ::= "\\U00110000"', "no character"), ('root ::= "a"{99999999}', "no part"), ("root ::= [^]", "no character"), ("root ::= [a", "no part"),
    ("root ::= a0\n" + "".join(f'a{at} ::= "x"\n' for at in range(3000)), "2000"),
])
def test_an_invalid_gbnf_grammar_is_refused_with_the_reason(grammar, reason):
    with pytest.raises(BadRequest, match=reason) as caught:
        constraint(Request.of("x", grammar=grammar))
    assert caught.value.facts["param"] == "grammar"
    assert "\n" not in caught.value.message


@pytest.fixture(scope="module")
def random_server(make_smoke, tmp_path_factory):
    """A loaded server of random weights, which end a reply only where a grammar says so."""
    folder = tmp_path_factory.mktemp("random")
    make_smoke.write(folder / "random.gguf")
    server = smoke_server(folder, chat_model=str(folder / "random.gguf"))
    server.load()
    yield server
    server.close()


def test_a_server_answers_by_a_schema_and_by_a_grammar(random_server):
    schema = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 3, "maximum": 9}, "b": {"enum": ["x", "y"]}}, "required": ["a", "b"],
              "additionalProperties": False}
    for seed in range(3):
        reply = random_server.complete(Request.of("hi", json_schema=schema, temperature=1.0, seed=seed, max_tokens=400))
        jsonschema.validate(json.loads(reply.text), schema)
        assert reply.finish == "stop"
    assert random_server.complete(Request.of("hi", grammar='root ::= "yes" | "no"', ignore_eos=True, max_tokens=50)).text in ("yes", "no")


def test_a_server_goes_on_after_what_it_refuses(random_server):
    for options in ({"grammar": "root ::= ("}, {"json_schema": {"uniqueItems": True}}, {"grammar": "root ::= root"}):
        with pytest.raises(BadRequest):
            random_server.complete(Request.of("hi", **options))
    assert random_server.complete(Request.of("hi", max_tokens=2)).tokens == 2


CHILD = """
import json, random, resource, sys
resource.setrlimit(resource.RLIMIT_CPU, (30, 30))
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
sys.path.insert(0, {folder!r})
from pathlib import Path
import numpy as np
from vocabulary import RandomModel, Vocabulary
from suite.errors import BadRequest
from suite.serving.grammar import Grammars, constraint
from suite.serving.request import Request
vocabulary = Vocabulary(Path({path!r}))
grammars = Grammars(vocabulary.pointer)
for name, text in json.load(sys.stdin):
    try:
        RandomModel(vocabulary, 1).write(grammars.compile(constraint(Request.of("x", **{{name: text}}))), most=25)
        print("used")
    except BadRequest as error:
        assert error.message.endswith(".") and chr(10) not in error.message, error.message
        print("refused")
"""


def outcomes(make_smoke, tmp_path, cases):
    """What became of each case, in a process of its own: 30 seconds of computing and 3 GB are all it gets, and a signal would be seen."""
    make_smoke.write(tmp_path / "tiny.gguf")
    code = CHILD.format(folder=str(Path(__file__).parent), path=str(tmp_path / "tiny.gguf"))
    done = subprocess.run([sys.executable, "-c", code], input=json.dumps(cases), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.split()


def test_damaged_grammars_and_schemas_are_used_or_refused(make_smoke, tmp_path):
    import random

    chance = random.Random(3)
    schema = json.dumps({"type": "object", "properties": {"a": {"type": "integer", "minimum": 3}, "b": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 9},
                                                          "c": {"anyOf": [{"$ref": "#/$defs/d"}, {"type": "null"}]}}, "required": ["a"], "$defs": {"d": {"enum": [1, "x"]}}})
    cases = []
    for at in range(300):
        name, text = ("grammar", JSON_GBNF) if at % 2 else ("json_schema", schema)
        for _ in range(chance.randint(1, 4)):
            here, there = sorted(chance.randrange(len(text) + 1) for _ in range(2))
            text = chance.choice([text[:here] + text[min(here + 3, there):], text[:here] + chance.choice('"{}[]()|*\\\n:,x0-^\0\ud800가') + text[here:],
                                  text[:here] + text[here:there][:30] + text[here:], text[:here] if chance.random() < 0.2 else text])
        cases.append((name, text))
    seen = outcomes(make_smoke, tmp_path, cases)
    assert len(seen) == 300 and {"used", "refused"} == set(seen)


def test_malicious_grammars_and_schemas_stay_within_bounds(make_smoke, tmp_path):
    deep: object = {"type": "integer"}
    for _ in range(60):
        deep = {"type": "array", "items": deep}
    doubling = {"$defs": {**{f"a{at}": {"anyOf": [{"$ref": f"#/$defs/a{at + 1}"}] * 2} for at in range(30)}, "a30": {"type": "integer"}}, "$ref": "#/$defs/a0"}
    schemas = [
        deep, doubling, {"enum": [f"item{at}" for at in range(20_000)]}, {"enum": list(range(30_000))}, {"type": "string", "minLength": 1_000_000},
        {"type": "array", "minItems": 1_000_000}, {"type": "string", "pattern": "^(a|b)*a(a|b){200}$"}, {"type": "string", "pattern": "((a{1,100}){1,100}){1,100}"},
        {"type": "string", "pattern": "^(.*a.{200}){3}$"}, {"allOf": [{"type": "string", "pattern": f"^.*{letter}.*$"} for letter in "abcdefghijklmnopqrst"]},
        {"anyOf": [{"type": "object", "properties": {f"a{at}": {"type": "integer", "minimum": at, "maximum": at * 1000 + 7}}} for at in range(2000)]},
        {"type": "object", "properties": {f"a{at}": {"type": "integer"} for at in range(5000)}}, {"type": "integer", "minimum": 10**300, "maximum": 10**301},
        {"type": "integer", "multipleOf": 1_000_003}, {"type": "integer", "allOf": [{"multipleOf": 997}, {"multipleOf": 991}]},
    ]
    gbnfs = ["root ::= " + "a0 " * 1000 + "\n" + "".join(f"a{at} ::= a{at + 1} a{at + 1}\n" for at in range(1500)) + 'a1500 ::= "x"',
             'root ::= ("a" | "b"){1,1000000}', 'root ::= ((((x{1,100}){1,100}){1,100}){1,100}){1,100}\nx ::= "a" | "b" x', 'root ::= s s s s\ns ::= s s | "a" | ""',
             "root ::= " + '"a" | ' * 30_000 + '"b"', "root ::= " + "".join(f"a{at} " for at in reversed(range(1900))) + "\n" + "".join(f'a{at} ::= "x"\n' for at in range(1900))]
    cases = [("json_schema", json.dumps(schema)) for schema in schemas] + [("grammar", text) for text in gbnfs]
    assert len(outcomes(make_smoke, tmp_path, cases)) == len(cases)
