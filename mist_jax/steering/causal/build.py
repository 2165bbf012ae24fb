"""From states to a causal bank: Jacobians, choices on some scenes, measured effects on others."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from mist_jax.checkpoint import code_version
from mist_jax.counterfactual.fitting.components import principal_components
from mist_jax.errors import UserError
from mist_jax.intervention.gate import AlwaysOpen
from mist_jax.intervention.operator import Operator
from mist_jax.intervention.site import DEFAULT_SITE, join_site
from mist_jax.intervention.tokens import ACTION_TOKENS
from mist_jax.policy.policy import Policy
from mist_jax.policy.preprocessing.preprocessor import PolicyInputs
from mist_jax.steering.causal.bank import FORMS, CausalBank, CausalMetadata, Form
from mist_jax.steering.causal.choose import FormChoice, JacobianData, choose, fit_table
from mist_jax.steering.causal.covariance import covariance_factor
from mist_jax.steering.causal.effects import SIZES, Effects, batches, measure_effects
from mist_jax.steering.causal.own_motion import commanded, explained, regress_motion
from mist_jax.steering.causal.regress import regress_jacobians
from mist_jax.steering.causal.states import CHOOSE, FIT, TEST, CausalStates, split_states

Progress = Callable[[str], None]
COVARIANCE_STATES = 128  # enough for its few dozen directions


@dataclass(frozen=True)
class CausalConfig:
    """What to make: of several `layers` the one whose pushes do best on held-out scenes is kept.

    `tokens` is the role of the tokens pushed. `measured` states at most are pushed to see what it
    does; `sizes` are the changes wanted of them, in action units.
    """

    layers: tuple[int, ...]
    site: str = DEFAULT_SITE
    tokens: str = ACTION_TOKENS
    per_token: bool = True
    reads: tuple[str, ...] = (ACTION_TOKENS, "image", "proprio")
    measured: int = 60
    sizes: tuple[float, ...] = SIZES
    batch_size: int = 16
    seed: int = 0


@dataclass(frozen=True)
class CausalFindings:
    """Beside the bank: what was tried (by layer and form), and the states by use."""

    choices: Mapping[int, Mapping[Form, FormChoice]]
    states: tuple[int, int, int]  # fitted to, chosen on, tested on


def make_causal_bank(
    policy: Policy,
    states: CausalStates,
    config: CausalConfig,
    dataset_hash: str = "",
    say: Progress = lambda text: None,
) -> tuple[CausalBank, CausalFindings]:
    """The bank, with the effects of its three forms on scenes that nothing in it has seen.

    Layer, damping, shrinkage and regression are chosen on a fifth of the scenes by what is fitted
    to three fifths; the bank is then fitted to these four, and measured on the last.

    Raises:
        UserError: an unknown layer, site or role, or a policy that cannot be differentiated.
    """
    part = split_states(states, config.seed)
    known = part != TEST
    choices: dict[int, dict[Form, FormChoice]] = {}
    kept: tuple[float, int, JacobianData] | None = None
    for layer in config.layers:
        say(f"jacobians of {known.sum()} states at layer {layer}")
        data = jacobian_data(policy, states.part(known), config, layer)
        fit = part[known] == FIT
        choices[layer] = choose(data.part(fit), data.part(~fit))
        loss = min(choices[layer][form].loss for form in ("table", "linear"))
        if kept is None or loss < kept[0]:
            kept = loss, layer, data
    assert kept is not None
    _, layer, data = kept
    bank = _fit(policy, data, config, layer, choices[layer], dataset_hash)
    fit = part[known] == FIT
    kept_features = choices[layer]["linear"].components
    r2 = explained(commanded(data.states.raw_actions), data.features, fit, ~fit, kept_features)
    own_r2 = tuple(value if np.isfinite(value) else None for value in r2)
    bank = dataclasses.replace(bank, metadata=dataclasses.replace(bank.metadata, own_r2=own_r2))
    say(f"effects at layer {layer}")
    test = states.part(part == TEST)
    some = np.random.default_rng(config.seed).permutation(len(test))[: config.measured]
    held_out = test.part(np.sort(some))
    effects = {
        form: bank_effects(policy, bank, held_out, form, config.sizes, config.batch_size)
        for form in FORMS
    }
    fit, chosen_on, tested = (int((part == which).sum()) for which in (FIT, CHOOSE, TEST))
    found = CausalFindings(choices, (fit, chosen_on, tested))
    return dataclasses.replace(bank, effects=effects), found


def jacobian_data(
    policy: Policy, states: CausalStates, config: CausalConfig, layer: int
) -> JacobianData:
    """What averages and regressions are made from, at one layer.

    Raises:
        UserError: an unknown layer, site or role, or a policy that cannot be differentiated.
    """
    sites = tuple(join_site(config.site, role) for role in config.reads)
    features: np.ndarray | None = None
    jacobians: np.ndarray | None = None
    for rows in batches(policy, states.inputs, config.batch_size):
        inputs = [states.inputs[row] for row in rows]
        read = policy.predict_inputs(inputs, sites=sites).activations
        z = np.concatenate([read[site][:, layer] for site in sites], axis=-1)
        slope = policy.jacobian(
            inputs, layer=layer, tokens=(config.tokens,), per_token=config.per_token,
            site=config.site,
        )  # fmt: skip
        if features is None or jacobians is None:
            features = np.zeros((len(states), z.shape[1]), np.float32)
            jacobians = np.zeros((len(states), *slope.shape[1:]), np.float32)
        if slope.shape[1:] != jacobians.shape[1:]:
            raise UserError(
                f"there are not equally many {config.tokens} tokens in every prompt; push other "
                "tokens, or all alike"
            )
        features[rows], jacobians[rows] = z, slope
    assert features is not None
    assert jacobians is not None
    return JacobianData(states, features, jacobians)


def bank_effects(
    policy: Policy,
    bank: CausalBank,
    states: CausalStates,
    form: Form,
    sizes: Sequence[float] = SIZES,
    batch_size: int = 32,
) -> Effects:
    """What one form's pushes do to the executed actions of these states."""
    rows = np.asarray(
        [
            bank.row(str(text), int(step), int(most))
            for text, step, most in zip(
                states.instruction, states.step, states.max_steps, strict=True
            )
        ]
    )
    exact: np.ndarray | None = None
    if form == "exact":
        exact = _exact(policy, bank, states.inputs, batch_size)

    def pushed(batch: np.ndarray, wanted: np.ndarray) -> Operator:
        operator = bank.operator(
            len(batch), form, "given", gate=AlwaysOpen(), rows=rows[batch],
            transform=np.tile(np.eye(wanted.shape[1]), (len(batch), 1, 1)),
            jacobian=None if exact is None else exact[batch],
        )  # fmt: skip
        intent = dataclasses.replace(operator.intent, change=jnp.asarray(wanted))  # type: ignore[type-var]
        return dataclasses.replace(operator, intent=intent)

    return measure_effects(policy, states.inputs, pushed, sizes=sizes, batch_size=batch_size)


def _exact(
    policy: Policy, bank: CausalBank, inputs: Sequence[PolicyInputs], batch_size: int
) -> np.ndarray:
    found = np.zeros((len(inputs), *bank.table.shape[1:]), np.float32)
    for rows in batches(policy, inputs, batch_size):
        found[rows] = bank.jacobian(policy, [inputs[row] for row in rows])
    return found


def _fit(
    policy: Policy,
    data: JacobianData,
    config: CausalConfig,
    layer: int,
    chosen: Mapping[Form, FormChoice],
    dataset_hash: str,
) -> CausalBank:
    table = fit_table(data, chosen["table"].phases, chosen["table"].prior)
    components = principal_components(data.features, chosen["linear"].components)
    z = components(data.features)
    terms = regress_jacobians(data.jacobians, z, chosen["linear"].ridge)
    forms: tuple[Form, ...] = ("table", "linear")
    metadata = CausalMetadata(
        model=policy.identity,
        layer=layer,
        layers=policy.sites[config.site].layers,
        chunk=policy.model.chunk,
        instructions=table.instructions,
        edges=table.edges,
        damping={form: choice.damping for form, choice in chosen.items()},
        form=min(forms, key=lambda form: chosen[form].loss),
        site=config.site,
        tokens=(config.tokens,),
        per_token=config.per_token,
        reads=config.reads,
        states=len(data.states),
        scenes=len(np.unique(data.states.scene)),
        seed=config.seed,
        dataset_hash=dataset_hash,
        code_version=code_version(),
    )
    return CausalBank(
        table=jnp.asarray(table.table),
        projection=components.projection(),
        terms=jnp.asarray(terms),
        covariance=jnp.asarray(_covariance(policy, data.states, config, layer)),
        own=jnp.asarray(regress_motion(commanded(data.states.raw_actions), z)),
        intents={},
        effects={},
        metadata=metadata,
    )


def _covariance(
    policy: Policy, states: CausalStates, config: CausalConfig, layer: int
) -> np.ndarray:
    """Of the pushed tokens' activations, [rank, S, D], in some of the states."""
    some = np.random.default_rng(config.seed).permutation(len(states))[:COVARIANCE_STATES]
    states = states.part(np.sort(some))
    site = join_site(config.site, config.tokens)
    pool = "tokens" if config.per_token else "mean"
    found: np.ndarray | None = None
    for rows in batches(policy, states.inputs, config.batch_size):
        inputs = [states.inputs[row] for row in rows]
        read = policy.predict_inputs(inputs, sites=(site,), pool=pool).activations[site][:, layer]
        read = read if config.per_token else read[:, None]
        if found is None:
            found = np.zeros((len(states), *read.shape[1:]), np.float32)
        found[rows] = read
    assert found is not None
    return covariance_factor(found)
