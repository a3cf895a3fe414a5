"""CUDA evidence, fallbacks, and what device expressions name."""

from __future__ import annotations

import pytest

from cudalint.model import PackageFacts
from tests.facts.asking import expression, facts_of, statements


@pytest.mark.parametrize(
    "text",
    [
        "model.cuda()",
        'device = "cuda"',
        'x.to(f"cuda:{rank}")',
        "torch.cuda.set_device(0)",
        'def f(device="cuda:1"): pass',
        'parser.add_argument("--device", default="cuda")',
        "from accelerate import Accelerator",
        "import pytorch_lightning as pl",
        "from transformers import Trainer",
        "device = torch.accelerator.current_accelerator()",
        'dist.init_process_group("nccl")',
    ],
)
def test_evidence(text: str) -> None:
    assert facts_of(f"import torch\n{text}\n").devices.evidence


@pytest.mark.parametrize(
    "text",
    [
        "model.cpu()",
        '"""Runs on cuda as well."""',
        "# model.cuda()",
        'print("cuda is not used here")',
        "x.to(device)",
        'trainer = Trainer(accelerator="cpu")',
        "use_cudagraphs = False",
    ],
)
def test_no_evidence(text: str) -> None:
    assert not facts_of(f"import torch\n{text}\n").devices.evidence


def test_evidence_of_the_package_counts() -> None:
    assert facts_of("import torch\n", names_cuda=True).devices.evidence
    assert not facts_of("import mxnet\n", names_cuda=True).devices.evidence


@pytest.mark.parametrize(
    ("text", "believed"),
    [
        ("x = x.to(device)", True),
        ("y = torch.zeros(3).to(x.device)", True),
        ("y = torch.zeros(3)", False),
        ('x = x.to("cpu")\ny = y.to(x.device)', False),
        ('y = x.to(device, "npu")', False),
        ("# of any device", False),
    ],
)
def test_evidence_of_the_project_counts_where_a_device_is_handed_on(
    text: str, believed: bool
) -> None:
    facts = facts_of(f"import torch\n{text}\n")
    facts.package = PackageFacts(project_names_cuda=True)
    assert facts.devices.evidence is believed


@pytest.mark.parametrize(
    ("text", "unconditional"),
    [
        ("model.cuda()", True),
        ('device = torch.device("cuda")', True),
        ("assert torch.cuda.is_available()\nmodel.cuda()", True),
        ('if not torch.cuda.is_available():\n    raise SystemExit("no GPU")\nmodel.cuda()', True),
        ('model.cuda()\nstate = torch.load(p, map_location="cpu")', True),
        ('device = "cuda" if torch.cuda.is_available() else "cpu"', False),
        ("if args.cuda:\n    model.cuda()", False),
        ('parser.add_argument("--device", default="cuda")', False),
        ("from accelerate import Accelerator", False),
        ("model.to(device)", False),
    ],
)
def test_unconditional(text: str, unconditional: bool) -> None:
    assert facts_of(f"import torch\n{text}\n").devices.is_unconditional is unconditional


EXPRESSIONS = """
import torch
a = "cuda"  # cuda
b = "cpu"  # cpu
c = torch.device("cuda:1")  # cuda
d = torch.device("cpu")  # cpu
e = "cuda" if torch.cuda.is_available() else "cpu"  # cuda
f = f"cuda:{rank}"  # cuda
g = torch.device(f"{kind}:{rank}")  # unknown
h = "mps"  # cpu
i = 0  # cuda
j = args.device  # cuda
k = accelerator.device  # cuda
l = torch.cuda.current_device()  # cuda
m = e  # cuda
n = torch.float16  # None
o = local_rank  # unknown
p = int(os.environ["LOCAL_RANK"])  # None
q = "xpu:0"  # cpu
parser.add_argument("--device", type=str, default="cuda")
"""


def test_expressions() -> None:
    facts = facts_of(EXPRESSIONS)
    for statement, expected in statements(facts):
        assert str(facts.devices.of(expression(statement))) == expected, facts.code(statement)
