"""What the contact monitor costs beside bare stepping, without the type checks of the tests.

python -m tests.measuring.monitor_cost      prints its share of the time
"""

import time

from mist_jax.simulator.contacts.monitor import ContactMonitor
from mist_jax.simulator.environment.environment import Environment
from mist_jax.simulator.expert.expert import Expert
from mist_jax.simulator.libero.assets import find_assets
from mist_jax.simulator.libero.suites import load_task

STEPS = 60


def main() -> None:
    """Steps through an expert's grasp; times the monitor's own calls and all of it."""
    task = load_task("libero_spatial", 0)
    environment = Environment(task, find_assets("auto", allow_download=False), render="none")
    environment.reset(0, 0)
    monitor, expert = ContactMonitor(environment), Expert(environment)
    monitor.begin_episode()
    spent, total = [0.0], 0.0

    def timed(function):
        def call(*arguments):
            begin = time.process_time()
            result = function(*arguments)
            spent[0] += time.process_time() - begin
            return result

        return call

    environment.substep_observers[:] = [timed(environment.substep_observers[0])]
    begin_step, end_step = timed(monitor.begin_step), timed(monitor.end_step)
    for step in range(STEPS):
        action = expert.action()
        begin = time.process_time()
        begin_step()
        environment.step(action)
        end_step(step)
        total += time.process_time() - begin
    assert monitor.grasped >= 0 or environment.success()
    print(spent[0] / total)


if __name__ == "__main__":
    main()
