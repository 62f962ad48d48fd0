"""Splits keys into words, and measures how similar two names are."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import permutations
from types import MappingProxyType

from pytest_ckpt_compat._core.heads import WORD

#: Word -> the word that represents its synonyms. Other words represent themselves.
SYNONYMS: Mapping[str, str] = MappingProxyType(
    {
        word: meaning
        for meaning, words in {
            "q": "query queries wq",
            "k": "key keys wk",
            "v": "value values wv",
            "o": "out output wo",
            "attn": "attention mha multihead",
            "norm": "ln bn gn layernorm batchnorm groupnorm rmsnorm normalization n",
            "linear": "fc lin dense",
            "mlp": "ffn ff feedforward intermediate",
            "proj": "projection projector c",
            "conv": "convolution cnn",
            "embed": "emb embedding embeddings embedder",
            "pos": "position positions positional wpe",
            "cls": "class classes",
            "head": "heads logits",
            "token": "tok tokens word vocab wte",
            "block": "blocks layer layers resblocks resnets stage stages h",
            "image": "img vision visual",
            "text": "txt context language",
            "scale": "gamma ls lambda",
            "shift": "beta",
            "down": "downsample downsampling downsampler downsamplers",
            "up": "upsample upsampling upsampler upsamplers",
            "shortcut": "skip residual",
            "enc": "encoder",
            "dec": "decoder",
            "dw": "depthwise",
            "pw": "pointwise",
            "sa": "self",
            "ca": "cross",
            "rel": "relative",
            "temp": "temporal",
            "expand": "exp",
            "reduce": "squeeze",
        }.items()
        for word in words.split()
    }
)

#: Groups of words that exclude each other.
ALTERNATIVES: tuple[frozenset[str], ...] = tuple(
    frozenset(words.split())
    for words in (
        "q k v o",
        "gate up down",
        "enc dec",
        "in o",
        "image text",
        "dw pw",
        "expand reduce",
        "sa ca",
    )
)

#: The same, of parts that take each other's place in a model: one is no new name of the other. Words of a
#: projection (``v``, ``output``) stand in names of modules, too, and say nothing there.
OPPOSITES: tuple[frozenset[str], ...] = (
    *(group for group in ALTERNATIVES if "o" not in group),
    *(
        frozenset(words.split())
        for words in (
            "image text audio",
            "image text speech",
            "video text audio",
            "actor critic",
            "policy v",
            "student teacher",
            "generator discriminator",
            "online target",
            "left right",
            "start end",
            "first last",
            "local global",
            "fine coarse",
            "spatial temp",
            "q passage",
            "source target",
            "src tgt",
            "positive negative",
            "user item",
            "prior posterior",
            "past future",
            "question answer",
            "forward backward inverse",
            "fast slow",
            "rgb depth flow thermal",
            "camera lidar radar",
            "node edge",
            "mu logvar",
            "mu var",
            "mu std",
            "mean logvar",
            "mean var",
            "mean std",
        )
    ),
)

#: Reduction in similarity for each group of which two names hold different words.
CONTRADICTION = 0.3

#: Words often joined to others without a separator (``dwconv``, ``layernorm1``), longest first.
_GLUED = ("layer", "batch", "group", "norm", "conv", "attn", "proj", "embed", "linear", "block", "dw", "pw")
_GLUE = re.compile(f"({'|'.join(_GLUED)})")

#: Word -> the several words that it means: names of joint layers, those of their parts.
_SPELT: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "classifier": ("cls", "head"),
        **{
            f"{before}{''.join(letters)}": letters
            for number in (2, 3)
            for letters in permutations("qkv", number)
            for before in ("", "w")
        },
    }
)

#: Weight of a word in the last segment of a name, and in the segments before.
_LAST_SEGMENT, _OTHER_SEGMENTS = 2.0, 1.0

#: Share of a word's weight that counts as different if the other side never uses the word.
_UNKNOWN = 0.5


@lru_cache(maxsize=65536)
def segment_tokens(segment: str) -> tuple[str, ...]:
    """Splits one segment into words and replaces synonyms; a bare number has no words.

    ``q_proj`` gives ``q proj``, ``layernorm1`` gives ``norm 1``, ``3`` gives nothing.
    """
    if segment.isdigit():
        return ()
    words: list[str] = []
    for part in WORD.findall(segment):
        word = part.lower()
        if word in SYNONYMS or word.isdigit():
            words.append(SYNONYMS.get(word, word))
            continue
        if word in _SPELT:
            words += _SPELT[word]
            continue
        words += [SYNONYMS.get(piece, piece) for piece in _GLUE.split(word) if piece]
    if "norm" in words:
        words = [word for word in words if word not in ("block", "batch", "group")] or words
    for index in range(len(words) - 1, 0, -1):
        if words[index - 1] in ("post", "after"):
            words[index - 1 : index + 1] = [f"post {words[index]}"]  # what comes after it is another layer
    return tuple(words)


@lru_cache(maxsize=1 << 16)
def path_tokens(path: str) -> tuple[tuple[str, float], ...]:
    """Returns the distinct words of a path, each with the weight of its position."""
    segments = path.split(".")
    worth: dict[str, float] = {}
    named = [words for words in map(segment_tokens, segments) if words]
    for index, words in enumerate(named):
        # The words together, so that their order counts: image_to_token is not token_to_image.
        together = [word for word in words if not word.isdigit()]
        for word in (*words, "+".join(together)):
            worth[word] = _LAST_SEGMENT if index == len(named) - 1 else _OTHER_SEGMENTS
    return tuple(worth.items())


#: Similarity of a word and its abbreviation, of at least so many letters, and the most of two spellings.
SIMILAR, PREFIX = 0.8, 3

#: Share of common pairs of letters above which two spellings are similar.
SPELT_ALIKE = 0.5


@lru_cache(maxsize=262144)
def token_similarity(a: str, b: str) -> float:
    """Returns 1 for equal words, less for an abbreviation or a similar spelling, 0 for different words."""
    if a == b:
        return 1.0
    if not is_spelt(a) or not is_spelt(b):
        return 0.0
    short, long = sorted((a, b), key=len)
    if len(short) >= PREFIX and long.startswith(short):
        return SIMILAR
    pairs_a, pairs_b = bigrams(a), bigrams(b)
    if not pairs_a or not pairs_b:
        return 0.0
    dice = 2 * len(pairs_a & pairs_b) / (len(pairs_a) + len(pairs_b))
    return SIMILAR * dice if dice > SPELT_ALIKE else 0.0


def is_spelt(word: str) -> bool:
    """Whether a word can be similar to another: not a number, and not several words together."""
    return not (word.isdigit() or "+" in word or " " in word)


def bigrams(word: str) -> set[str]:
    """Returns the pairs of letters that stand beside each other in a word."""
    return {word[i : i + 2] for i in range(len(word) - 1)}


class Names:
    """Similarity of names, weighed by how often both sides use each word.

    A word in many names counts little. A word that the other side never uses counts half as
    different: it was renamed, and other evidence must show to what. A word that the other side uses
    elsewhere counts fully.
    """

    def __init__(self, old: Iterable[str], new: Iterable[str]) -> None:
        spreads = [Counter(word for path in paths for word, _ in path_tokens(path)) for paths in (old, new)]
        both = spreads[0] + spreads[1]
        most = max(both.values(), default=1)
        self.weight = {word: math.log(1 + most / number) for word, number in both.items()}
        self.known = spreads[0].keys() & spreads[1].keys()

    def similarity(self, old: str, new: str) -> float:
        """Measures two paths: 1 for equal words, 0 for different words, below 0 for exclusive words."""
        a, b = path_tokens(old), path_tokens(new)
        total = found = 0.0
        for words, others in ((a, dict(b)), (b, dict(a))):
            for word, weight in words:
                best = 1.0 if word in others else _most_similar(word, others)
                worth = weight * self.weight[word]
                found += worth * best
                total += worth * (best + (1 - best) * unknown_share(self, word))
        return (found / total if total else 0.0) - CONTRADICTION * _contradictions(a, b)


def unknown_share(names: Names, word: str) -> float:
    """Returns how far a word counts as different."""
    return 1.0 if word in names.known else _UNKNOWN


def _most_similar(word: str, others: Iterable[str]) -> float:
    return max((token_similarity(word, other) for other in others), default=0.0)


@lru_cache(maxsize=1 << 16)
def opposed(a: str, b: str) -> bool:
    """Whether two paths have words that exclude each other, as an encoder and a decoder have."""
    return _contradictions(path_tokens(a), path_tokens(b), OPPOSITES) > 0


def _contradictions(
    a: Iterable[tuple[str, float]],
    b: Iterable[tuple[str, float]],
    groups: Iterable[frozenset[str]] = ALTERNATIVES,
) -> int:
    ours, theirs = {word for word, _ in a}, {word for word, _ in b}
    return sum(bool(ours & group and theirs & group) and not ours & theirs & group for group in groups)
