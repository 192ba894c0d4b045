# Runs the project as an unprivileged user, with the locked dependencies. It has not been built or tested yet.
#
#   docker build -t igl-dt .
#   docker run --rm -v igl-dt-data:/project/data igl-dt                               # the built-in images
#   docker run --rm -v igl-dt-data:/project/data -v PATH:/images:ro igl-dt \
#       kedro run --env=folder --pipelines=full --params=dataset.root=/images
#
# For a GPU, add --gpus=all. Loader workers exchange tensors in shared memory: with large crops, add --shm-size=8g.
FROM python:3.11-slim

RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home user \
    && install --directory --owner=user /project

USER user
WORKDIR /project

# Dependencies first: they change less often than the code.
COPY --chown=user requirements.lock ./
RUN python -m venv .venv \
    && .venv/bin/pip install --no-cache-dir uv==0.13.9 \
    && .venv/bin/uv pip sync --no-cache --compile-bytecode --python .venv/bin/python requirements.lock

COPY --chown=user . .
RUN .venv/bin/uv pip install --no-cache --python .venv/bin/python --no-deps --no-build-isolation --editable . \
    && touch .venv/.complete

ENV PATH=/project/.venv/bin:$PATH KEDRO_DISABLE_TELEMETRY=1
CMD ["kedro", "run", "--pipelines=full"]
