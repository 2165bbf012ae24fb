"""Does it pay that a question waits for others to fill its batch? By discrete events.

python -m tests.measuring.batching_model      prints questions a second by rule

A call takes the same time whatever its fill. Questions are answered in order, as many as fit, as
soon as the policy is free; with a rule w, only when the batch is full, nobody simulates, or the
first of them has waited for w calls.
"""

import heapq
import itertools
import random

RULES = (0.0, 0.25, 0.5, 1.0, 2.0)
CASES = (  # workers, batch, seconds of a call
    *((16, 16, 0.013), (16, 8, 0.064), (16, 8, 0.112), (16, 16, 0.224)),
    *((32, 16, 0.128), (32, 16, 0.224), (24, 8, 0.064), (8, 8, 0.112)),
)
TURNS, RESET, CHUNK, SECONDS = 13, 0.4, 0.15, 300.0


def questions_per_s(workers: int, batch: int, call: float, wait: float) -> float:
    """Answered questions a second; a chunk is simulated for `CHUNK` seconds, a third off."""
    rng, order = random.Random(0), itertools.count()
    events: list[tuple[float, int, int]] = []  # time, order, worker (-1: a batch ends, -2: look)
    left = [rng.randint(1, TURNS) for _ in range(workers)]
    for worker in range(workers):
        heapq.heappush(events, (rng.uniform(0, CHUNK), next(order), worker))
    waiting: list[tuple[float, int]] = []
    asked: list[int] = []
    simulating, answered = workers, 0
    while True:
        now, _, who = heapq.heappop(events)
        if now > SECONDS:
            return answered / SECONDS
        if who >= 0:
            simulating -= 1
            waiting.append((now, who))
            heapq.heappush(events, (now + wait * call + 1e-9, next(order), -2))
        elif who == -1:
            for worker in asked:
                simulating, left[worker] = simulating + 1, left[worker] - 1
                until = now + CHUNK * rng.uniform(2 / 3, 4 / 3)
                if not left[worker]:
                    left[worker], until = TURNS, until + RESET
                heapq.heappush(events, (until, next(order), worker))
            answered, asked = answered + len(asked), []
        if waiting and not asked:
            waited = now - waiting[0][0] >= wait * call
            if waited or not simulating or len(waiting) >= batch:
                asked = [worker for _, worker in waiting[:batch]]
                del waiting[:batch]
                heapq.heappush(events, (now + call, next(order), -1))


def main() -> None:
    """Prints one line for each case."""
    print("workers batch call/ms  " + "".join(f"w={rule:<6g}" for rule in RULES))
    for workers, batch, call in CASES:
        rates = [questions_per_s(workers, batch, call, rule) for rule in RULES]
        print(f"{workers:7} {batch:5} {1e3 * call:7.0f}  " + "".join(f"{r:<8.1f}" for r in rates))


if __name__ == "__main__":
    main()
