# Builds keepwarm from its lock file. The base is an argument, so that a mirror or a digest can be given.
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
WORKDIR /build
COPY requirements/run.txt requirements/run.txt
RUN python -m venv /opt/keepwarm \
 && /opt/keepwarm/bin/pip install --no-cache-dir --require-hashes -r requirements/run.txt
COPY pyproject.toml README.md LICENSE ./
COPY keepwarm keepwarm
RUN /opt/keepwarm/bin/pip install --no-cache-dir --no-deps .

FROM ${BASE}
COPY --from=build /opt/keepwarm /opt/keepwarm
RUN mkdir -p /var/lib/keepwarm /etc/keepwarm && chown 10001:10001 /var/lib/keepwarm
USER 10001:10001
ENV PATH=/opt/keepwarm/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    KEEPWARM_REGISTRY=/etc/keepwarm/registry.yaml \
    KEEPWARM_STATE_DIR=/var/lib/keepwarm \
    KEEPWARM_LOG_FORMAT=json
VOLUME /var/lib/keepwarm
STOPSIGNAL SIGTERM
ENTRYPOINT ["keepwarm"]
CMD ["run"]
