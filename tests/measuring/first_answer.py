"""How long a process takes to its first answer: mist-nano, with what it may have compiled before.

XDG_CACHE_HOME=FOLDER python -m tests.measuring.first_answer    # twice: empty cache, full cache
"""

import time

BEGAN = time.perf_counter()

from mist_jax.compiled_programs import keep_compiled_programs  # noqa: E402

keep_compiled_programs()

import mist_jax  # noqa: E402
from tests.helpers.serving_samples import TEXT, observation  # noqa: E402

if __name__ == "__main__":
    policy = mist_jax.load_policy("mist-nano")
    loaded = time.perf_counter()
    policy.predict([observation(0)], [TEXT])
    answered = time.perf_counter()
    print(f"imports and loading {loaded - BEGAN:.2f} s, first answer {answered - BEGAN:.2f} s")
