# One image for receiver, worker and the examples; what runs is the command (see docker-compose.yml).
FROM python:3.11-slim

WORKDIR /app
COPY requirements.lock .
RUN pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
COPY receiver receiver
COPY worker worker
COPY examples examples

# .data holds the spool, and the audit log when it is SQLite: mount a volume there.
RUN useradd --uid 1000 kit && mkdir .data && chown kit .data
USER kit
ENV HOST=0.0.0.0 PYTHONUNBUFFERED=1
EXPOSE 8000
CMD ["python", "-m", "receiver"]
