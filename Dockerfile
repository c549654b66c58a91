# A worker's image: the command elsa and Prefect, on CPU. Mount the warehouse, the events and the configuration:
#   docker run --rm -v "$PWD/warehouse:/app/warehouse" -v "$PWD/data:/app/data:ro" elsa-nightly \
#     elsa nightly --config config/movielens.yaml
FROM python:3.11-slim

RUN useradd --create-home --uid 1000 elsa
WORKDIR /app
COPY pyproject.toml constraints.txt README.md ./
COPY elsa_core elsa_core
COPY tasks tasks
COPY flows flows
COPY sql sql
RUN pip install --no-cache-dir -c constraints.txt --editable .
COPY config config
COPY prefect.yaml ./
RUN mkdir warehouse data && chown elsa warehouse data

USER 1000
ENV DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false
CMD ["elsa", "--help"]
