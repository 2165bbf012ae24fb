# mist_jax on a CPU. In the checkout:
#   docker build -f launch/docker/cpu.Dockerfile -t mist_jax .
#   docker run --rm -v "$PWD/runs:/app/runs" mist_jax run_evaluation --interventions=none \
#     --n_episodes=1 --output_dir=runs/first
FROM debian:12-slim
RUN apt-get update && apt-get install -y --no-install-recommends \
      ca-certificates git libosmesa6 python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /app
# What the installation depends on comes first, so that a change of the code keeps its layer.
COPY pyproject.toml README.md LICENSE ./
COPY launch/install.sh launch/constraints.txt launch/
COPY mist_jax mist_jax
RUN launch/install.sh
ENV MUJOCO_GL=osmesa PATH=/app/.venv/bin:$PATH
ENTRYPOINT ["mist-jax"]
