# One image for receiver, worker, the examples and your own package: every module and package of the top folder but the
# tests. What runs is the command (see docker-compose.yml).
#
# By digest, so that a commit is always the same image. To move on:
#   docker buildx imagetools inspect python:3.11-slim-bookworm
FROM python:3.11-slim-bookworm@sha256:0bee7276f83efd4a1ee05bbbf4281d95ed28e079220a9457f25a93e3f1e3c31b AS base

FROM base AS build
COPY requirements.lock /source/
RUN python -m venv --without-pip /app/.venv && \
    pip --python /app/.venv install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes -r /source/requirements.lock
COPY . /source/
RUN for found in /source/*.py /source/*/__init__.py; do \
        if [ -e "$found" ]; then cp -R "${found%/__init__.py}" /app/; fi; \
    done && \
    python -m compileall -q -x '/\.venv/' /app

FROM base
RUN pip uninstall --yes --quiet --root-user-action=ignore pip setuptools wheel && \
    useradd --uid 1000 --no-create-home --shell /usr/sbin/nologin kit && \
    install -d -o kit -g kit /app/.data
COPY --from=build /app/ /app/
WORKDIR /app
# .data holds the spool, and the audit log when it is SQLite: mount a volume there. Nothing else is written.
USER 1000:1000
ENV PATH=/app/.venv/bin:$PATH HOST=0.0.0.0 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
EXPOSE 8000
CMD ["python", "-m", "receiver"]
