"""What clients of a server wait for an answer, over openpi's own client, with random pictures.

python -m experiments.serve_policy --model_name=mist-nano --interventions=none --port=8000
python -m tests.measuring.serving_latency --port=8000 --clients=4
"""

import argparse
import threading
import time

import numpy as np
from openpi_client.websocket_client_policy import WebsocketClientPolicy

from tests.helpers.serving_samples import observation, openpi_request

WARM_UP = 3  # questions of each client that are not counted


def ask(port: int, seed: int, count: int, seconds: list[float]) -> None:
    """One client's questions, one after another."""
    client, request = WebsocketClientPolicy("127.0.0.1", port), openpi_request(observation(seed))
    for query in range(WARM_UP + count):
        began = time.perf_counter()
        client.infer(request)
        if query >= WARM_UP:
            seconds.append(time.perf_counter() - began)


def main() -> None:
    """Prints one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--queries", type=int, default=40, help="of each client")
    asked = parser.parse_args()
    seconds: list[float] = []
    clients = [
        threading.Thread(target=ask, args=(asked.port, seed, asked.queries, seconds))
        for seed in range(asked.clients)
    ]
    began = time.perf_counter()
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    rate = asked.clients * (WARM_UP + asked.queries) / (time.perf_counter() - began)
    median, late = 1e3 * np.quantile(seconds, [0.5, 0.9])
    print(
        f"{asked.clients} clients: median {median:.0f} ms, 90% {late:.0f} ms, {rate:.1f} a second"
    )


if __name__ == "__main__":
    main()
