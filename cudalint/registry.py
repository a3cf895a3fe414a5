"""Every rule, one line each: all that is known about a rule without importing it.

A rule's modules follow from its code and name: `CUS001 item-in-step-loop` is found by
`cudalint.checks.sync.item_in_step_loop` and rewritten by `cudalint.fixes.sync.item_in_step_loop`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Protocol

from cudalint.rare import Leading, Rare
from cudalint.records import NamedTuple

if TYPE_CHECKING:
    from cudalint.facts import Facts
    from cudalint.model import Finding, Language, Patch, Plan, Refusal, Safety, Severity

FAMILIES = {
    "CUE": "own",
    "CUS": "sync",
    "CUD": "data",
    "CUP": "precision",
    "CUF": "fusion",
    "CUM": "memory",
    "CUL": "launch",
    "CUX": "distributed",
    "CUB": "benchmark",
    "CUN": "numerics",
    "CUA": "interfaces",
    "CUT": "triton",
    "CUK": "cuda",
}
URL = "https://github.com/cudalint/cudalint/blob/main/docs/rules.md#{name}"

Words = tuple[tuple[bytes | Rare, ...], ...]


class Check(Protocol):
    """The module that finds a rule's pattern; its docstring is the rule's page."""

    __doc__: str

    def check(self, facts: Facts) -> Iterator[Finding]: ...


class Fixer(Protocol):
    """The module that mends what its check found, in two halves: proof, then edits."""

    def plan(self, finding: Finding, facts: Facts) -> Plan | Refusal: ...

    def write(self, plan: Plan) -> Patch: ...


class Rule(NamedTuple):
    """A registry line.

    `words`: the sieve's groups; of every group one word must occur in the file, asked in order. `within`: groups
    that must meet in one top-level definition (or in the code between definitions) as well.
    `hot`: only code that runs every step counts, so that definition must be reached from one that
    holds a word of `HOT`.
    `fix`: the best safety that the rule's fix can have, None for advice.
    """

    code: str
    name: str
    on: bool
    languages: tuple[Language, ...]
    words: Words
    fix: Safety | None
    within: Words = ()
    hot: bool = False
    severity: Severity = "warning"

    @property
    def family(self) -> str:
        return FAMILIES[self.code[:3]]

    @property
    def by_engine(self) -> bool:
        """Whether the engine itself finds it: what it says of suppressions and of fixes."""
        return self.code in ("CUE002", "CUE003", "CUE004")

    @property
    def module(self) -> str:
        return f"{self.family}.{self.name.replace('-', '_')}"

    @property
    def url(self) -> str:
        return URL.format(name=self.name)

    def load_check(self) -> Check:
        return importlib.import_module(f"cudalint.checks.{self.module}")

    def load_fix(self) -> Fixer | None:
        if self.fix is None:
            return None
        return importlib.import_module(f"cudalint.fixes.{self.module}")


PY: tuple[Language, ...] = ("python",)
CU: tuple[Language, ...] = ("cuda",)

TORCH = (b"torch",)
CUDA = (b"cuda", b"accelerat")
# How a large number is written: 10000, 65504, 2**32, 1e9, 3.4E+38. It is taken off, multiplied, a
# string, or what a name stands for.
_NUMBER = (
    rb"(?:\d[\d_]*\.?\d*[eE]\+?\d+|\d[\d_]*000(?:\.\d*)?|655\d\d(?:\.\d*)?|9{4,}\.?\d*"
    rb"|2\s*\*\*\s*\d+)"
)
_FLOAT = rb"(?:\d[\d_]*\.?\d*[eE]\+?\d+|\d[\d_]*000\.\d*|655\d\d\.?\d*|9{4,}\.\d*|2\s*\*\*\s*\d+)"
NUMBER_WORDS = (
    *(b"000", b"655", b"9999", b"2**", b"2 **"),
    *(b"%d%c" % (digit, letter) for letter in b"eE" for digit in range(10)),
    *(b".e%c" % power for power in b"+123456789"),
)
LARGE = (
    Rare(
        NUMBER_WORDS,
        rb"-\s*(?:float\()?[(+]*\s*%b|[*=]\s*[(+]*\s*%b|(?<![\w.])%b\s*\*[^*]|[\"']-?\d[\d.]*e\d+[\"']"
        % (_NUMBER, _FLOAT, _FLOAT),
    ),
)
# What makes a loop hot (see facts.loops): a step of training, code without gradients, a loader that
# is iterated.
TRAINS = (
    Rare((b"backward(",), rb"\.(?:manual_)?backward\("),
    Rare((b"step(",), rb"(?<!heduler)(?<!self)\.step\(|optimizer_step\("),
    Rare((b"scaler(",), rb"\b(?:loss_)?scaler\("),
)
WITHOUT_GRAD = (
    Rare(
        (b"no_grad", b"inference_mode", b"set_grad_enabled"),
        rb"(?:@|\bwith\b)[^\n]*?\b_?(?:no_grad|inference_mode)\b"
        rb"|^[ \t]*(?:[\w.]+\.)?_?(?:no_grad|inference_mode)\("
        rb"|\bset_grad_enabled\((?:mode=)?False",
    ),
)
LOADERS: tuple[bytes | Rare, ...] = (
    Rare((b"oader",), rb"\b(?:in|next)\b[^\n]*oader"),
    *(b" dl:", b" dl)", b"_dl:", b"_dl)", b"(dl)", b"dls:"),
)
MARKERS = (*TRAINS, *WITHOUT_GRAD, *LOADERS)
# A loader that is handed to a function, which may call it otherwise.
HANDED_ON = (Rare((b"oader",), rb"oader\w*[ \t]*[,)]"),)
# A decoding loop chooses a token and appends it: a function that holds both.
DECODES: Words = (
    (
        Rare(
            (b"argmax(", b"multinomial(", b"topk(", b"sample(", b"max("),
            rb"(?:\b|_)(?:argmax|multinomial|topk|sample)\(|\.max\(",
        ),
    ),
    (b"cat(", b"hstack("),
)
LOOPS = (b"for ", b"while ", b"while(")
WHOLE_STEP = ((b"backward(",), (b"step(",))  # a function that holds both needs no loop
HOT = (MARKERS, HANDED_ON, *DECODES, LOOPS, *WHOLE_STEP)
# Casts, and what prints: formatting alone is not seen by anybody. No tensor is a text, a length,
# a variable of the environment; `math.log` and `x.log()` print nothing.
CASTS = (
    Rare(
        (b"float(", b"int(", b"bool(", b"round("),
        rb"(?<![\w.])(?:float|int|bool|round)\((?![\"'][^\"'\n]*[\"']\)|os\.(?:environ|getenv)\b"
        rb"|(?:len|math\.\w+)\([^()\n]*\)\))",
    ),
    Rare((b".log(",), rb"(?<!math)(?<!np)(?<!torch)\.log\((?!\))"),
    *(b"print(", b".info(", b".debug(", b".warning(", b".write(", b"set_description"),
    *(b"set_postfix", b"log_dict", b"log_metrics", b".add_text(", b"tqdm", b"progress"),
)
# What is filled there: a mask, or what a softmax takes.
MASKED = (b"mask", b"Mask", b"MASK", b"oftmax", b"tril", b"triu")
# What a program that runs steps on a device cannot be written without.
STEP = (*MARKERS[:4], b"no_grad", b"inference_mode", b".eval()", b"training_step")
DEVICE = (b"cuda", b"device", b"gpu", b"ccelerat", b"Trainer")
PLACED = (
    *(b".cuda(", b".to(", b"device=", b"device_map", b"Trainer(", b"prepare(", b"set_default"),
    *(b"Fabric(", b"Accelerator("),
)
# What runs when a file is started.
RUNS = (
    b"__main__",
    Leading(
        rb"(?:for|while|with)\b|if\b(?! (?:TYPE_CHECKING|typing\.|hasattr|sys\.|not |TEST_|HAS_|has_))"
        rb"|(?!__all__|log|warnings|register|_?add_|torch\._|sys\.|_register)[A-Za-z_][\w.]*\(",
    ),
)
# `torch.cuda.amp`, by whatever name `torch.cuda` goes.
AMP = (*(b"cuda.amp", b"cpu.amp", b"cuda import", b"cpu import"), *(b"cuda as ", b"cpu as "))
# A row that gives a name a sum, or what goes on in the next row.
SUMMED = (Leading(rb"[ \t]+\w+ ?(?:\+=|=[^=\n][^\n]*(?:\+|add\(|\($))"),)
# Weights in integers: their dtype, else their name.
INTEGERS = (b"int8", b"int4", b"int32", b"CharTensor", b"ByteTensor")
STORED = Rare(
    (b"eight", b"EIGHT", b"int_data", b"w_int", b"quantized_w"),
    rb"(?i)qweight|weight_(?:int|packed)|(?:int|packed|quant\w*)_weight|w_int[48]|int_data|quantized_w",
)
NARROW = (*INTEGERS, STORED)
# The parts of a root mean square: its root, its mean.
ROOT = (
    Rare((b"sqrt",), rb"(?<!math\.)(?<!np\.)(?<!numpy\.)(?<!\bi)sqrt"),
    Rare((b".5",), rb"(?:-|\*\*)\s*0?\.5"),
    *(b"1/2", b"1 / 2"),
)
MEAN = (b"mean(", b"mean,", b"mean as", b"mean\n", b"sum(", b"sum,", b"sum as", b"sum\n")
SQUARE = (b"pow", b"**", b"square", Rare((b"*",), rb"\b(\w+) ?\* ?\1\b"))
PRODUCT = (
    *(b"matmul", b"bmm", b"einsum", b"mm("),
    Rare((b"@",), rb"[\w)\]][ \t]*@|@[ \t=]"),
)
EXP = (b"exp(", b"exp_(")
TRIANGLE = (b"tril", b"triu", b"subsequent_mask")
UNITS = (b"silu", b"SiLU", b"gelu", b"GELU", b"swish")
# How pairs are put back into one tensor.
JOINED = (b"cat(", b"concat", b"stack(", b"as_real", b"empty_like(", b"zeros_like(")
# Cosines and sines in names, and no costs, accounts, uses or classes.
COSINE = Rare((b"cos",), rb"(?<![b-zB-Z])cos(?!t|i?ne_|mo)")
SINE = Rare((b"sin",), rb"(?<![b-zB-Z])sin(?![cgkt])")
COS = (COSINE, b"COS", b"Cos", b"as_complex")
SIN = (SINE, b"SIN", b"Sin", b"as_complex")
# Pairs that were turned as complex numbers, with no cosine in sight, are made one dim again.
FLATTENED = (b"flatten", b"reshape", b"view(", b"rearrange")
CURVES = (b"erf(", b"tanh(", b"igmoid(", b"igmoid_(", b"ndtr(")
# What a norm cannot be written without: the name of its class or function, or its root.
NORM = (Rare((b"Norm",), rb"Norm(?!al(?!ize))"), b"norm(", *ROOT)
# `1 + scale`, in the file: a helper may hold it.
ONE_MORE = Rare(
    (b"1 +", b"1+", b"+ 1", b"+1", b"1.0 +", b"1.0+", b"1. +", b"1.+", b"add(1", b"ada_"),
    rb"(?:^|[(=*\[, ])1(?:\.0?)? ?\+|\+ ?1(?:\.0?)?[ \t]*(?:[)*#]|\r?$)|add\(1\b|\bada_(?:layer|rms)_norm\(",
)
# A mean or variance that is called, or gets another name.
SPREAD = (
    *(b"var(", b"var_mean(", b"mean(", b"sum("),
    Rare((b"var", b"mean"), rb"(?:var|mean)\w*\s+as\b|=\s*[\w.]*(?:var|mean)\w*\s*$"),
)
CONVOLUTION = (
    Rare(
        (b"Conv",),
        rb"\b(?:Lazy)?Conv(?:Transpose)?[123]d\b|Conv\w*\s+as\b|=\s*[\w.]*Conv\w*\s*$",
    ),
)
# The logarithm of a softmax, or its likelihood; a loss, or a wide copy for it: of each pair of these
# a file holds one, because it holds both halves of one of two pairs.
SOFTMAX = (b"oftmax",)
ENTROPY = (b"ross_entropy", b"CrossEntropyLoss")
LIKELIHOOD = (
    Rare(
        (b"log(",), rb"log(?<!math\.log)(?<!np\.log)(?<!logger\.log)(?<!self\.log)(?<!wandb\.log)\("
    ),
    *(b"nll_loss", b"NLLLoss", b"one_hot"),
)
WIDE = (b".float(", b"float32", b"torch.float")
LOSSES = (
    *((*SOFTMAX, *ENTROPY), (*SOFTMAX, *WIDE)),
    *((*LIKELIHOOD, *ENTROPY), (*LIKELIHOOD, *WIDE)),
)

# fmt: off
RULES: tuple[Rule, ...] = (
    Rule("CUE001", "source-not-understood", False, ("python", "cuda"), (), None),
    Rule("CUE002", "unused-suppression", True, ("python", "cuda"), (), "safe"),
    Rule("CUE003", "unknown-suppression-code", True, ("python", "cuda"), (), "safe"),
    Rule("CUE004", "fix-withdrawn", True, ("python", "cuda"), (), None),
    Rule("CUS001", "item-in-step-loop", True, PY, (TORCH,), "unsafe", within=((b".item(",),), hot=True),
    Rule("CUS004", "scalar-cast-in-step-loop", True, PY, (TORCH,), "unsafe", within=(CASTS,), hot=True),
    Rule("CUD001", "unpinned-dataloader", True, PY, (TORCH,), "safe", within=((b"DataLoader",),)),
    Rule("CUD004", "blocking-host-to-device-copy", True, PY, (TORCH, (b"pin_memory",)), "safe", within=((b".to(", b".cuda("),), hot=True),
    Rule("CUP001", "full-fp32-by-default", True, PY, (TORCH, DEVICE, PLACED, RUNS), "unsafe", within=(STEP,)),
    Rule("CUP002", "deprecated-cuda-autocast", True, PY, (TORCH, AMP), "safe", within=((b"autocast", b"custom_fwd", b"custom_bwd"),)),
    Rule("CUP003", "deprecated-cuda-gradscaler", True, PY, (TORCH, AMP), "safe", within=((b"GradScaler",),)),
    Rule("CUF001", "unfused-attention", True, PY, (TORCH,), "safe", within=((b"oftmax(",), (b".mat(", *PRODUCT))),
    Rule("CUF002", "softmax-without-max", True, PY, (TORCH,), "safe", within=(EXP, (b"sum",)), severity="error"),
    Rule("CUF003", "hand-written-softmax", True, PY, (TORCH,), "safe", within=(EXP, (b"max", b"logsumexp"), (b"sum",))),
    Rule("CUF004", "hand-written-rms-norm", True, PY, (TORCH,), "safe", within=(ROOT, MEAN, SQUARE)),
    Rule("CUF005", "hand-written-layer-norm", True, PY, (TORCH,), "safe", within=(ROOT, SPREAD)),
    Rule("CUF006", "unfused-residual-norm", True, PY, (TORCH,), "unsafe", within=((b"Norm", b"norm("), SUMMED)),
    Rule("CUF007", "hand-written-gelu", True, PY, (TORCH,), "safe", within=(CURVES, (b"*", b".mul", b"multiply"))),
    Rule("CUF008", "unfused-gated-activation", True, PY, (TORCH,), "safe", within=(UNITS, (b"*", b".mul", b"multiply"))),
    Rule("CUF009", "unfused-rotary-embedding", True, PY, (TORCH, JOINED), "safe", within=(COS, SIN, (*COS[:3], *FLATTENED))),
    Rule("CUF010", "log-of-softmax", True, PY, (TORCH, *LOSSES), "safe"),
    Rule("CUF011", "materialized-lm-head-logits", True, PY, (TORCH, ENTROPY, (b"inear", b"weight")), "safe"),
    Rule("CUF012", "unfused-optimizer", True, PY, (TORCH, (b"optim",), (Rare((b"Adam", b"SGD"), rb"\b(?:AdamW?|SGD)\b(?:\(| as\b)|=[ \t]*[\w.]*\b(?:AdamW?|SGD)\b"),)), "safe"),
    Rule("CUF013", "separate-qkv-projections", False, PY, (TORCH, (b"Linear",)), None, within=((b"self.",), (b"q", b"Q"), (b"k", b"K"), (b"v", b"V"))),
    Rule("CUF014", "unfused-adaptive-norm", True, PY, (TORCH, (ONE_MORE,)), "safe", within=(NORM,)),
    Rule("CUF015", "dequantize-then-matmul", True, PY, (TORCH,), "unsafe", within=(NARROW, (b"linear(", *PRODUCT), (b"scale", b"absmax", b"delta", b"dequant"))),
    Rule("CUF016", "repeated-kv-heads", True, PY, (TORCH, (b"scaled_dot_product",), (b"repeat_interleave", b"expand(", b"repeat_kv")), "safe"),
    Rule("CUF017", "pinned-attention-backend", True, PY, (TORCH, (b"sdpa_kernel", b"sdp_kernel", b"enable_flash_sdp")), "safe"),
    Rule("CUF018", "explicit-causal-mask", True, PY, (TORCH, (b"scaled_dot_product",), TRIANGLE), "safe"),
    Rule("CUF019", "attention-weights-computed-unused", True, PY, (TORCH, (b"MultiheadAttention",)), "safe"),
    Rule("CUF020", "conv-bias-before-batchnorm", True, PY, (TORCH, CONVOLUTION, (b"BatchNorm",)), "unsafe"),
    Rule("CUF021", "isolated-pointwise-chain", False, PY, (TORCH, DEVICE), None, hot=True),
    Rule("CUF022", "unaligned-tensor-core-shape", False, PY, (TORCH, (b"Linear",), (b"16", b"half", b"autocast", b"mixed_precision")), None),
    Rule("CUF023", "attention-backends-never-compared", False, PY, (TORCH, (b"scaled_dot_product",)), None, hot=True),
    Rule("CUN001", "finite-mask-fill", True, PY, (TORCH, MASKED, LARGE), "unsafe", within=(MASKED,)),
    Rule("CUT001", "triton-softmax-without-max", True, PY, ((b"triton",), (Rare((b"jit",), rb"(?<!torch\.)\bjit\b(?!\.)"),)), "safe", within=((b"exp(", b"exp2(", b"exp,", b"exp2,", b"exp)"),), severity="error"),
    Rule("CUK001", "unvectorized-global-access", True, CU, ((b"__global__",), (b"threadIdx", b"_rank(", b"LOOP")), "unsafe"),
    Rule("CUK002", "cuda-softmax-without-max", True, CU, ((b"__global__", b"__device__"), (b"exp", b"ex2", b"EXP")), "safe", severity="error"),
    Rule("CUK007", "unchecked-launch", True, CU, ((b"<<<",),), "safe"),
)
# fmt: on


@cache
def by_code() -> dict[str, Rule]:
    return {rule.code: rule for rule in RULES}


@cache
def by_name() -> dict[str, Rule]:
    return {rule.name: rule for rule in RULES}


def find(selector: str) -> tuple[Rule, ...]:
    """The rules that a code, a prefix of codes, a name or `ALL` stands for; none: empty."""
    if selector.upper() == "ALL":
        return RULES
    if rule := by_name().get(selector.lower()):
        return (rule,)
    prefix = selector.upper()
    return tuple(rule for rule in RULES if prefix[:2] == "CU" and rule.code.startswith(prefix))
