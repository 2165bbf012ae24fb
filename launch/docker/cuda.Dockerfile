# mist_jax on an NVIDIA GPU, rendering included. CUDA comes as wheels; the host brings the driver and
# the NVIDIA container toolkit. In the checkout:
#   docker build -f launch/docker/cuda.Dockerfile -t mist_jax:cuda .
#   docker run --rm --gpus=all --shm-size=8g -v "$PWD/runs:/app/runs" mist_jax:cuda run_evaluation \
#     --interventions=none --n_episodes=1 --num_workers=16 --batch_size=16 --output_dir=runs/first
FROM debian:12-slim
RUN apt-get update && apt-get install -y --no-install-recommends \
      ca-certificates git libegl1 libgl1 libglvnd0 libopengl0 libosmesa6 python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY pyproject.toml README.md LICENSE ./
COPY launch/install.sh launch/constraints.txt launch/
COPY mist_jax mist_jax
ARG CUDA=cuda13
RUN launch/install.sh "$CUDA"
# The toolkit mounts the driver's EGL where `graphics` is among its capabilities.
ENV NVIDIA_DRIVER_CAPABILITIES=compute,graphics,utility XLA_PYTHON_CLIENT_PREALLOCATE=false \
    PATH=/app/.venv/bin:$PATH
ENTRYPOINT ["mist-jax"]
