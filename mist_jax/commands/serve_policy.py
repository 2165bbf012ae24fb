"""Serves a policy under one arm to clients of openpi and of vla-evaluation-harness.

    python -m experiments.serve_policy --risk_head=runs/risk --causal_bank=runs/steering \
        --interventions=mist --port=8000

What it answers and what it takes for granted: docs/serving.md. Ctrl-C stops it.
"""

import asyncio
import signal
import sys
from typing import Any

from absl import flags

from mist_jax.commands.flags import arm_flags, extension_flags, policy_flags
from mist_jax.errors import UserError
from mist_jax.evaluation.arms.checks import check_arms
from mist_jax.serving.extra import check_installed
from mist_jax.serving.settings import DIALECTS, OPENPI_EPISODES, ServeSettings

flags.adopt_module_key_flags(policy_flags)
flags.adopt_module_key_flags(arm_flags)
flags.adopt_module_key_flags(extension_flags)

_OWN = ServeSettings()
_INTERVENTIONS = flags.DEFINE_string(
    "interventions", "none", "The arm that acts, one of those that run_evaluation --help lists."
)
_HOST = flags.DEFINE_string(
    "host", _OWN.host, "Address to listen on; 0.0.0.0: everyone who reaches this machine may ask."
)
_PORT = flags.DEFINE_integer("port", _OWN.port, "Port to listen on; 0: any that is free.", 0, 65535)
_PROTOCOL: flags.FlagHolder[Any] = flags.DEFINE_enum(
    "protocol", _OWN.protocol, DIALECTS, "What clients speak; both: told apart by the first frame."
)
_MAX_WAIT_MS = flags.DEFINE_float(
    "max_wait_ms",
    1e3 * _OWN.wait,
    "Milliseconds that a question waits for other clients' to share its batch.",
    0.0,
    10_000.0,
)
_MAX_MESSAGE_MB = flags.DEFINE_float(
    "max_message_mb", _OWN.max_message / 2**20, "MiB of one message, at most.", 0.01, 1024.0
)
_MAX_STEPS = flags.DEFINE_integer(
    "max_steps",
    _OWN.max_steps,
    "Control steps of the longest episode, where a client does not name its suite; the phases of a "
    "causal bank are shares of it.",
    1,
)
_REPLAN_STEPS = flags.DEFINE_integer(
    "replan_steps",
    _OWN.replan_steps,
    "Actions of a chunk that an openpi client executes before it asks again.",
    1,
)
_OPENPI_EPISODE: flags.FlagHolder[Any] = flags.DEFINE_enum(
    "openpi_episode",
    _OWN.openpi_episode,
    OPENPI_EPISODES,
    "When an openpi client's episode begins. connection: with its connection, another prompt, or "
    "reset=True in a request; request: with every request, so that nothing is remembered.",
)


def main() -> None:
    """Checks the flags, loads, compiles, and serves until Ctrl-C."""
    check_installed()
    arm = _INTERVENTIONS.value.strip()
    from mist_jax.serving.served_policy import ServedPolicy, check_servable

    check_servable(arm)
    check_arms([arm], [need for need, flag in arm_flags.parts().items() if flag.value])
    if policy_flags.MODEL_NAME.value == "expert":
        raise UserError("--model_name=expert: the expert acts in a simulator alone")
    settings = ServeSettings(
        host=_HOST.value,
        port=_PORT.value,
        protocol=_PROTOCOL.value,
        wait=_MAX_WAIT_MS.value / 1e3,
        max_message=int(_MAX_MESSAGE_MB.value * 2**20),
        max_steps=_MAX_STEPS.value,
        replan_steps=_REPLAN_STEPS.value,
        openpi_episode=_OPENPI_EPISODE.value,
    )

    asked = arm_flags.asked_threshold()
    policy = policy_flags.load()
    learnt = arm_flags.learnt_parts(policy, [arm])
    threshold = learnt.threshold if asked is None else asked
    served = ServedPolicy.of(
        policy,
        arm,
        policy_flags.batch_size(),
        risk_head=learnt.risk_head,
        numbers=arm_flags.run_numbers(learnt, threshold, policy.model.chunk),
        parts={
            "risk_head": learnt.risk_digest,
            "causal_bank": learnt.causal_digest,
            "steering_vectors": learnt.directions_digest,
        },
    )
    print(f"{policy.identity}, arm {arm}: compiling", flush=True)
    served.warm_up()
    print(asyncio.run(_serve(served, settings)))


async def _serve(served: Any, settings: ServeSettings) -> str:
    """Serves until SIGINT or SIGTERM; the sentence to end with."""
    from mist_jax.serving.server import PolicyServer

    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for caught in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(caught, stop.set)
    server = PolicyServer(served, settings, lambda line: print(line, file=sys.stderr, flush=True))

    def ready(host: str, port: int) -> None:
        speaks = "openpi and vla-eval" if settings.protocol == "both" else settings.protocol
        where = f"[{host}]" if ":" in host else host
        print(
            f"serving {speaks} on ws://{where}:{port}, {served.actor.batch_size} queries a batch; "
            "Ctrl-C stops",
            flush=True,
        )

    await server.run(stop, ready)
    told = server.batcher
    return f"stopped: {told.answered} queries answered in {told.batches} batches"
