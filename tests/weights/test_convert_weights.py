"""Conversion is total, streamed, resumable and refuses what it would compute otherwise."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import torch
from flax import nnx, traverse_util
from safetensors.numpy import load_file, save_file

from mist_jax.checkpoint import digest_of
from mist_jax.errors import UserError
from mist_jax.loading import load_policy
from mist_jax.policy.checkpoint import is_policy, read_card, restore_parameters
from mist_jax.policy.openvla_oft.model import abstract_model
from mist_jax.policy.openvla_oft.network.config import OPENVLA_OFT_7B
from mist_jax.policy.openvla_oft.policy_model import OpenVLAOFTModel
from mist_jax.weights import convert
from mist_jax.weights.checkpoint_config import build_config
from mist_jax.weights.convert import convert_checkpoint
from mist_jax.weights.film_backbone import read_film_backbone
from mist_jax.weights.key_table import Contents, evaluate, rules_for
from mist_jax.weights.parameter_store import ParameterStore
from mist_jax.weights.plan import PublishedTensor, make_plan
from mist_jax.weights.torch_pickle import read_torch_file
from tests.helpers.published import published_folder
from tests.helpers.published_checkpoint import edit_json, write_checkpoint
from tests.helpers.torch_reference import Sizes, TorchReference
from tests.measuring.random_7b import SIZES

FIRST, SECOND = "model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors"
NORM = "language_model.model.norm.weight"


def refused(source: Path, output: Path, match: str) -> str:
    """The message of a refused conversion, which leaves nothing that looks like a policy."""
    with pytest.raises(UserError, match=match) as error:
        convert_checkpoint(source, output, "float32")
    assert not output.exists()
    return str(error.value)


SHAPES_7B = {  # openvla_oft.md, measured
    "vision_backbone.featurizer.reg_token": (1, 4, 1024),
    "vision_backbone.featurizer.blocks.23.attn.qkv.weight": (3072, 1024),
    "vision_backbone.fused_featurizer.patch_embed.proj.weight": (1152, 3, 14, 14),
    "vision_backbone.fused_featurizer.blocks.26.mlp.fc1.weight": (4304, 1152),
    "projector.fc1.weight": (8704, 2176),
    "language_model.model.layers.31.mlp.down_proj.weight": (4096, 11008),
    "language_model.lm_head.weight": (32064, 4096),
}
HEADS_7B = {
    "action_head": {
        "model.layer_norm1": (28672,),
        "model.fc1": (4096, 28672),
        "model.mlp_resnet_blocks.0.ffn.0": (4096,),
        "model.mlp_resnet_blocks.0.ffn.1": (4096, 4096),
        "model.mlp_resnet_blocks.1.ffn.0": (4096,),
        "model.mlp_resnet_blocks.1.ffn.1": (4096, 4096),
        "model.layer_norm2": (4096,),
        "model.fc2": (7, 4096),
    },
    "proprio_projector": {"fc1": (4096, 8), "fc2": (4096, 4096)},
}


def test_all_982_published_keys_fill_the_7b_model() -> None:
    folder = published_folder()
    keys = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    assert len(keys) == 982
    contents = Contents(head="l1", proprio=True, film=False)
    rules = rules_for(contents)
    tensors = []
    for key in keys:
        (rule,) = [r for r in rules if r.source == "model" and r.pattern.fullmatch(key)]
        shape = evaluate(rule.shape, SIZES)
        assert shape is not None
        assert shape == SHAPES_7B.get(key, shape)
        tensors.append(PublishedTensor("model", key, shape))
    assert sum(int(np.prod(tensor.shape)) for tensor in tensors) == 7_541_237_184
    for source, layers in HEADS_7B.items():
        for layer, shape in layers.items():
            for part, size in (("weight", shape), ("bias", shape[:1])):
                tensors.append(PublishedTensor(source, f"{layer}.{part}", size))  # type: ignore[arg-type]
    plan = make_plan(tensors, rules)
    config = build_config(
        json.loads((folder / "config.json").read_text()),
        plan.sizes,
        contents,
        action_dim=plan.sizes["action_dim"],
        processor=json.loads((folder / "preprocessor_config.json").read_text()),
    )
    assert config == OPENVLA_OFT_7B
    _, abstract = abstract_model(config)  # jax.eval_shape: nothing is allocated
    parameters: Any = traverse_util.flatten_dict(nnx.to_pure_dict(abstract), sep="/")
    shapes = {(t.source, t.key): t.shape for t in tensors}
    filled = dict.fromkeys(parameters, 0)
    for placed in plan.placements:
        shape = shapes[placed.source, placed.key]
        arranged = placed.arrange(np.broadcast_to(np.zeros((), np.int8), shape)).shape
        target = parameters[placed.path].shape
        if placed.block is not None:
            assert placed.block < target[0]
            target = target[1:]
        assert arranged[1:] == target[1:], placed
        assert arranged[0] + placed.row <= target[0], placed
        filled[placed.path] += int(np.prod(shape))
    assert filled == {path: int(np.prod(leaf.shape)) for path, leaf in parameters.items()}
    unused = {tensor.key for tensor in plan.unused}
    assert "language_model.lm_head.weight" in unused
    assert "vision_backbone.featurizer.blocks.23.attn.qkv.weight" in unused
    assert "vision_backbone.fused_featurizer.attn_pool.kv.weight" in unused
    assert len(unused) == 14 + 12 + 4 + 13 + 1


def test_every_misfit_key_is_listed_at_once(copy: Path, tmp_path: Path) -> None:
    first, second = load_file(copy / FIRST), load_file(copy / SECOND)
    stolen = next(iter(first))
    second[stolen] = first[stolen]
    gone = sorted(second)[-1]
    bent = sorted(first)[-1]
    del second[gone]
    first[bent] = np.zeros((2, 3), np.float32)
    first["language_model.model.layers.7.self_attn.q_proj.weight"] = np.zeros((64, 64), np.float32)
    first["vision_backbone.surprise"] = np.zeros(1, np.float32)
    save_file(first, copy / FIRST)
    save_file(second, copy / SECOND)
    message = refused(copy, tmp_path / "policy", "keys do not fit")
    for problem in (
        f"duplicate: {stolen}",
        f"missing: {gone}",
        f"mis-shaped: {bent} is (2, 3)",
        "unmapped: language_model.model.layers.7.self_attn.q_proj.weight",
        "unmapped: vision_backbone.surprise",
    ):
        assert problem in message
    assert "2 unmapped, 1 missing, 1 duplicate, 1 mis-shaped" in message


def test_head_keys_are_checked_too(copy: Path, tmp_path: Path) -> None:
    path = copy / "action_head--150000_checkpoint.pt"
    tensors = torch.load(path, weights_only=True)
    del tensors["module.model.fc2.bias"]
    torch.save(tensors, path)
    message = refused(copy, tmp_path / "policy", "1 missing")
    assert "missing: action_head: model.fc2.bias" in message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("arch_specifier", "no-align+gelu-mlp"),
        ("use_fused_vision_backbone", False),
        ("image_resize_strategy", "letterbox"),
        ("timm_override_act_layers", ["quick_gelu", None]),
        ("timm_model_ids", ["vit_so400m_patch14_siglip_224", "vit_large_patch14_reg4_dinov2"]),
        ("vision_backbone_id", "siglip-vit-so400m"),
        ("llm_backbone_id", "phi-2-3b"),
        ("image_sizes", [56, 56]),
        ("model_type", "llava"),
        ("speculative_field", 3),
        ("vision_num_heads", [7, 7]),
        ("text_config.rope_scaling", {"type": "linear", "factor": 2.0}),
        ("text_config.hidden_act", "gelu"),
        ("text_config.attention_bias", True),
        ("text_config.num_key_value_heads", 1),
        ("text_config.num_attention_heads", 7),
        ("text_config.hidden_size", 128),
        ("text_config.tie_word_embeddings", True),
        ("text_config.sliding_window", 64),
    ],
)
def test_a_config_that_asks_for_another_computation_is_refused(
    copy: Path, tmp_path: Path, field: str, value: object
) -> None:
    *parents, name = field.split(".")

    def change(values: dict[str, Any]) -> None:
        for parent in parents:
            values = values[parent]
        values[name] = value

    edit_json(copy, "config.json", change)
    assert name.split("_")[0] in refused(copy, tmp_path / "policy", "cannot be computed")


def test_what_config_says_of_eps_and_theta_is_used(copy: Path, tmp_path: Path) -> None:
    edit_json(
        copy,
        "config.json",
        lambda c: c["text_config"].update(rms_norm_eps=1e-5, rope_theta=5e5, max_length=20),
    )
    card = read_card(convert_checkpoint(copy, tmp_path / "policy", "float32"))
    assert isinstance(card.model, OpenVLAOFTModel)
    config = card.model.config
    assert (config.rms_norm_eps, config.rope_theta) == (1e-5, 5e5)


def test_float8_is_what_quantising_the_converted_policy_gives(
    published: Path, tmp_path: Path
) -> None:
    plain = load_policy(convert_checkpoint(published, tmp_path / "plain", "float32"), dtype="f4")
    small = convert_checkpoint(published, tmp_path / "small", "float8")
    assert read_card(small).dtype == "float8"
    jax.tree.map(
        lambda ours, wanted: np.testing.assert_array_equal(
            np.asarray(ours).view(np.uint8), np.asarray(wanted).view(np.uint8)
        ),
        load_policy(small).parameters,
        plain.model.quantise(plain.parameters),
    )


def test_eps_is_llama_configs_default_where_config_is_silent(
    published: Path, tmp_path: Path
) -> None:
    card = read_card(convert_checkpoint(published, tmp_path / "policy", "float32"))
    assert isinstance(card.model, OpenVLAOFTModel)
    config = card.model.config
    assert (config.rms_norm_eps, config.rope_theta) == (1e-6, 1e4)
    assert (config.dino.heads, config.siglip.heads) == (16, 16)
    assert (config.dino.blocks, config.siglip.blocks) == (2, 2)
    assert config.dino.mean == (0.484375, 0.455078125, 0.40625)


def test_a_damaged_shard_is_named(copy: Path, tmp_path: Path) -> None:
    shard = copy / SECOND
    shard.write_bytes(shard.read_bytes()[:-100])
    refused(copy, tmp_path / "policy", f"{SECOND} is damaged")
    shard.unlink()
    refused(copy, tmp_path / "policy", f"lacks {SECOND}")


def test_values_that_are_not_finite_are_damage(copy: Path, tmp_path: Path) -> None:
    shard = load_file(copy / SECOND)
    name = sorted(shard)[3]
    shard[name] = np.full_like(shard[name], np.nan)
    save_file(shard, copy / SECOND)
    assert name in refused(copy, tmp_path / "policy", "not finite")


def test_two_steps_of_one_head_are_ambiguous(copy: Path, tmp_path: Path) -> None:
    head = copy / "action_head--150000_checkpoint.pt"
    (copy / "action_head--50000_checkpoint.pt").write_bytes(head.read_bytes())
    refused(copy, tmp_path / "policy", "2 files of its action_head")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "preprocessor_config.json"])
def test_a_broken_json_is_named(copy: Path, tmp_path: Path, name: str) -> None:
    (copy / name).write_text("{")
    refused(copy, tmp_path / "policy", name)


def test_the_lora_adapter_is_ignored(copy: Path, tmp_path: Path) -> None:
    before = read_card(convert_checkpoint(copy, tmp_path / "one", "float32")).digest
    (copy / "lora_adapter").mkdir()
    (copy / "lora_adapter" / "adapter_model.safetensors").write_bytes(b"never opened")
    assert read_card(convert_checkpoint(copy, tmp_path / "two", "float32")).digest == before


class Payload:
    def __reduce__(self):
        return os.mkdir, (os.environ["MIST_PAYLOAD"],)


def test_pickled_code_is_never_run(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIST_PAYLOAD", str(tmp_path / "executed"))
    head = copy / "action_head--150000_checkpoint.pt"
    torch.save({**torch.load(head, weights_only=True), "module.x": Payload()}, head)
    refused(copy, tmp_path / "policy", "something other than tensors")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.int64])
def test_pt_files_are_read_as_torch_reads_them(tmp_path: Path, dtype: torch.dtype) -> None:
    base = (torch.randn(6, 8) * 10).to(dtype)
    tensors = {"module.a": base, "module.transposed": base.t(), "module.view": base[1:4, ::2]}
    tensors |= {"module.parameter": torch.tensor(3).to(dtype), "module.empty": base[:0]}
    torch.save(tensors, tmp_path / "x.pt")
    ours = read_torch_file(tmp_path / "x.pt")
    for name, tensor in tensors.items():
        read = ours[name.removeprefix("module.")].read()
        np.testing.assert_array_equal(read.astype(np.float64), tensor.double().numpy())


def test_a_cut_pt_file_is_damaged(copy: Path, tmp_path: Path) -> None:
    head = copy / "action_head--150000_checkpoint.pt"
    head.write_bytes(head.read_bytes()[:-400])
    refused(copy, tmp_path / "policy", r"action_head--150000_checkpoint\.pt")


def test_film_adapters_without_a_partner_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "vision_backbone--1_checkpoint.pt"
    layer = "vision_backbone.featurizer.blocks.0.block.attn.qkv"
    torch.save(
        {
            f"{layer}.base_layer.weight": torch.zeros(6, 2),
            f"{layer}.lora_A.default.weight": torch.zeros(1, 2),
        },
        path,
    )
    with pytest.raises(UserError, match="no lora_B"):
        read_film_backbone(path)


def test_bfloat16_and_digest(published: Path, tmp_path: Path) -> None:
    exact = convert_checkpoint(published, tmp_path / "exact", "float32")
    half = convert_checkpoint(published, tmp_path / "half", "bfloat16")
    trees: Any = {
        path: traverse_util.flatten_dict(restore_parameters(path, read_card(path)))
        for path in (exact, half)
    }
    for path, tree in trees.items():
        assert digest_of(tree) == read_card(path).digest
    for name, values in trees[half].items():
        assert values.dtype == jnp.bfloat16
        rounded = np.asarray(trees[exact][name]).astype(ml_dtypes.bfloat16)
        np.testing.assert_array_equal(np.asarray(values), rounded)


def test_an_existing_conversion_is_kept_and_anything_else_is_refused(
    published: Path, tmp_path: Path
) -> None:
    policy = convert_checkpoint(published, tmp_path / "policy", "float32")
    stamp = (policy / "config.json").stat().st_mtime_ns
    assert convert_checkpoint(published, tmp_path / "policy", "float32") == policy
    assert (policy / "config.json").stat().st_mtime_ns == stamp
    with pytest.raises(UserError, match="not this conversion"):
        convert_checkpoint(published, tmp_path / "policy", "bfloat16")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match="not this conversion"):
        convert_checkpoint(published, tmp_path / "notes", "float32")


def test_an_interrupted_conversion_resumes_and_is_never_mistaken(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read_card(convert_checkpoint(published, tmp_path / "whole", "float32")).digest
    writes: list[str] = []
    plain = ParameterStore.write

    def counted(store: ParameterStore, path: str, *rest: Any) -> None:
        writes.append(path)
        if len(writes) == limit:
            raise KeyboardInterrupt
        plain(store, path, *rest)

    monkeypatch.setattr(ParameterStore, "write", counted)
    limit = 100
    with pytest.raises(KeyboardInterrupt):
        convert_checkpoint(published, tmp_path / "policy", "float32")
    assert not (tmp_path / "policy").exists()
    work = tmp_path / ".policy.converting"
    assert not is_policy(work)
    done = json.loads((work / convert.PROGRESS).read_text())["done"]
    assert 0 < len(done) < 5
    limit, writes = -1, []
    resumed = convert_checkpoint(published, tmp_path / "policy", "float32")
    total = len(load_file(published / FIRST)) + len(load_file(published / SECOND))
    assert 0 < len(writes) < total
    assert read_card(resumed).digest == whole
    assert not work.exists()
    assert not (resumed / convert.PROGRESS).exists()


@pytest.mark.slow
def test_a_killed_conversion_resumes(published: Path, tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "experiments.convert_weights", "--dtype=float32"),
        *(f"--hf_checkpoint={published}", f"--output_dir={tmp_path / 'policy'}"),
    ]
    root = Path(__file__).parents[2]
    child = subprocess.Popen(command, cwd=root, stderr=subprocess.DEVNULL)
    progress = tmp_path / ".policy.converting" / convert.PROGRESS
    until = time.monotonic() + 120
    while time.monotonic() < until and not progress.exists() and child.poll() is None:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (tmp_path / "policy").exists()
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    whole = convert_checkpoint(published, tmp_path / "whole", "float32")
    assert read_card(tmp_path / "policy").digest == read_card(whole).digest


@pytest.mark.slow
def test_memory_does_not_grow_with_the_checkpoint(tmp_path: Path) -> None:
    wide = Sizes(layers=12, width=1024, hidden=4096, heads=8)
    source = write_checkpoint(tmp_path / "published", TorchReference(wide), dtype=torch.bfloat16)
    stored = sum(path.stat().st_size for path in source.glob("*.safetensors"))
    peak = 0
    command = [
        *(sys.executable, "-m", "experiments.convert_weights"),
        *(f"--hf_checkpoint={source}", f"--output_dir={tmp_path / 'policy'}"),
    ]
    child = subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL)
    statm = Path(f"/proc/{child.pid}/statm")
    stop = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not stop.is_set() and child.poll() is None:
            try:
                peak = max(peak, int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
            except (OSError, ValueError, IndexError):
                return
            time.sleep(0.02)

    watcher = threading.Thread(target=watch)
    watcher.start()
    assert child.wait() == 0
    stop.set()
    watcher.join()
    print(f"checkpoint {stored / 2**20:.0f} MiB, peak resident {peak / 2**20:.0f} MiB")
    assert peak < 1.6 * 2**30
