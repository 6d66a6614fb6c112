# Builds keepwarm from its lock files. docs/how-to/container.md says how to build, check and run it.
#
# The base is an argument: give the digest that you have checked, or a mirror. It needs `python` with venv, no pip.
ARG BASE=docker.io/library/python:3.13-slim-trixie

FROM ${BASE} AS dependencies
WORKDIR /build
COPY requirements/build.txt requirements/run.txt requirements/
RUN python -m venv /opt/build \
 && /opt/build/bin/python -m pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements/build.txt
# Nothing is compiled but to byte code, once and for all: the result cannot write any.
RUN python -m venv --without-pip /opt/keepwarm \
 && /opt/build/bin/python -m pip --python /opt/keepwarm/bin/python install --no-cache-dir --no-compile \
      --require-hashes --only-binary :all: -r requirements/run.txt
# Of the 400 services that botocore describes, those that keepwarm or its credentials can ask.
COPY deploy/container/keep_services.py deploy/container/
RUN /opt/keepwarm/bin/python -B deploy/container/keep_services.py \
 && find /opt/keepwarm -name __pycache__ -prune -exec rm -rf {} + \
 && /opt/keepwarm/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/keepwarm/lib

FROM dependencies AS program
# The same sources and lock files give the same layers, bit for bit (time stamps apart, which the builder sets).
ARG SOURCE_DATE_EPOCH=1577836800
COPY pyproject.toml README.md LICENSE ./
COPY keepwarm keepwarm
COPY deploy/container/licences.py deploy/container/
ARG REVISION=unknown
RUN echo "$REVISION" > keepwarm/data/build \
 && /opt/build/bin/python -m pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir dist . \
 && for root in /program /; do \
      /opt/build/bin/python -m pip --python /opt/keepwarm/bin/python install --no-cache-dir --no-compile --no-deps \
        --root-user-action ignore --root "$root" dist/*.whl; done \
 && /opt/keepwarm/bin/python -m compileall -q --invalidation-mode unchecked-hash -s /program -p / /program \
 && mkdir -p /program/usr/share/keepwarm /program/etc/keepwarm /program/var/lib/keepwarm \
 && /opt/build/bin/cyclonedx-py environment --output-reproducible --of JSON --validate \
      -o /program/usr/share/keepwarm/sbom.cdx.json /opt/keepwarm/bin/python \
 && /opt/build/bin/python deploy/container/licences.py /program/usr/share/keepwarm/sbom.cdx.json \
      > /program/usr/share/keepwarm/licences.txt \
 && chown 10001:10001 /program/var/lib/keepwarm

FROM ${BASE}
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="keepwarm" \
      org.opencontainers.image.description="Keeps Amazon Bedrock prompt caches warm while it pays, and proves what that saved." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=dependencies /opt/keepwarm /opt/keepwarm
COPY --from=program /program/ /
ENV PATH=/opt/keepwarm/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/var/lib/keepwarm \
    KEEPWARM_REGISTRY=/etc/keepwarm/registry.yaml \
    KEEPWARM_STATE_DIR=/var/lib/keepwarm \
    KEEPWARM_LOG_FORMAT=json
USER 10001:10001
WORKDIR /var/lib/keepwarm
VOLUME /var/lib/keepwarm
EXPOSE 8378
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=20s CMD ["keepwarm", "health"]
ENTRYPOINT ["keepwarm"]
CMD ["run"]
